#include "layer/layer_file.h"

#include <fmt/format.h>

#include "base/check.h"
#include "layer/key_filter.h"

namespace helium::layer {

LayerFile::LayerFile(std::shared_ptr<Disk> disk, std::shared_ptr<BlockCache> cache, const std::filesystem::path& folder,
                     const LayerDesc& desc)
    : disk_(std::move(disk)),
      cache_(std::move(cache)),
      desc_(desc),
      path_(folder / layer_name(desc.range)),
      file_id_(BlockCache::new_file_id()) {}

std::string LayerFile::at(const char* part, uint64_t offset) const {
  return fmt::format("read layer '{}': {} at {}", path_.string(), part, offset);
}

Result<Bytes> LayerFile::read(uint64_t offset, size_t size) const {
  Bytes bytes(size);
  if (Status done = disk_->read(path_, offset, bytes); !done) {
    if (done.error().code == ErrorCode::kNotFound) return fail(ErrorCode::kCorrupt, "the file is missing");
    return fail(std::move(done).error());
  }
  return bytes;
}

Result<LayerHeader> LayerFile::header() const {
  HELIUM_ASSIGN(const LayerHeader* header, loaded_header());
  return *header;
}

Result<const LayerHeader*> LayerFile::loaded_header() const {
  if (header_loaded_.load(std::memory_order_acquire)) return &header_;
  const std::lock_guard lock(mutex_);
  if (header_loaded_.load(std::memory_order_relaxed)) return &header_;
  Result<Bytes> bytes = read(0, kLayerHeaderSize);
  if (!bytes) return fail(std::move(bytes).error().context(at("header", 0)));
  Result<LayerHeader> header = decode_layer_header(*bytes);
  if (!header) return fail(std::move(header).error().context(at("header", 0)));
  if (header->range != desc_.range || header->file_size != desc_.file_size) {
    return fail(ErrorCode::kCorrupt, at("header", 0) + ": the timeline's index describes another file");
  }
  header_ = *header;
  header_loaded_.store(true, std::memory_order_release);
  return &header_;
}

Result<BlockCache::Block> LayerFile::index_page(const LayerHeader& header, uint32_t page_no) const {
  const uint64_t offset = header.index_offset + uint64_t{page_no} * kIndexPageSize;
  if (auto block = cache_->find(file_id_, offset)) return block;
  Result<Bytes> page = read(offset, kIndexPageSize);
  if (!page) return fail(std::move(page).error().context(at("index page", offset)));
  if (Status valid = IndexPage::validate(*page, page_no); !valid) {
    return fail(std::move(valid).error().context(at("index page", offset)));
  }
  auto block = std::make_shared<const Bytes>(std::move(*page));
  cache_->insert(file_id_, offset, block);
  return block;
}

Result<BlockCache::Block> LayerFile::filter_page(const LayerHeader& header, uint32_t page_no) const {
  const uint64_t offset = header.filter_offset + uint64_t{page_no} * kFilterPageSize;
  if (auto block = cache_->find(file_id_, offset)) return block;
  Result<Bytes> page = read(offset, kFilterPageSize);
  if (!page) return fail(std::move(page).error().context(at("key filter", offset)));
  if (Status valid = validate_filter_page(*page, page_no); !valid) {
    return fail(std::move(valid).error().context(at("key filter", offset)));
  }
  auto block = std::make_shared<const Bytes>(std::move(*page));
  cache_->insert(file_id_, offset, block);
  return block;
}

Result<BlockCache::Block> LayerFile::data_block(const LayerHeader& header, const BlockRef& ref) const {
  if (auto block = cache_->find(file_id_, ref.offset)) return block;
  if (ref.offset < kLayerHeaderSize || ref.size <= kBlockHeaderSize || ref.offset > header.index_offset ||
      ref.size > header.index_offset - ref.offset) {
    return fail(ErrorCode::kCorrupt, at("data block", ref.offset) + ": lies outside of the data");
  }
  Result<Bytes> sealed = read(ref.offset, ref.size);
  if (!sealed) return fail(std::move(sealed).error().context(at("data block", ref.offset)));
  Result<Bytes> raw = unseal_block(*sealed, ref.offset);
  if (!raw) return fail(std::move(raw).error().context(at("data block", ref.offset)));
  if (Status valid = DataBlock::validate(*raw, ref.offset); !valid) {
    return fail(std::move(valid).error().context(at("data block", ref.offset)));
  }
  auto block = std::make_shared<const Bytes>(std::move(*raw));
  cache_->insert(file_id_, ref.offset, block);
  return block;
}

Result<bool> LayerFile::may_contain(const Key& key) const {
  HELIUM_ASSIGN(const LayerHeader* header, loaded_header());
  const uint64_t hash = key.hash();
  HELIUM_ASSIGN(const BlockCache::Block page, filter_page(*header, filter_page_of(hash, header->filter_pages)));
  return filter_may_contain(*page, hash, header->filter_pages);
}

Result<LayerFile::Place> LayerFile::find_place(const LayerHeader& header, const Position& position) const {
  uint32_t page_no = header.index_pages - 1;
  for (uint32_t level = header.index_levels; level-- > 0;) {
    HELIUM_ASSIGN(BlockCache::Block block, index_page(header, page_no));
    const IndexPage page(*block);
    if (page.level() != level) {
      return fail(ErrorCode::kCorrupt, at("index page", header.index_offset + uint64_t{page_no} * kIndexPageSize) +
                                           ": not on the level that its parent says");
    }
    const size_t up_to = page.count_up_to(position);
    if (up_to == 0) return Place{};
    if (level == 0) return Place{std::move(block), page_no, up_to - 1};
    page_no = page.child_page(up_to - 1);
  }
  CHECK(!"an index has at least one level");
  return Place{};
}

Result<LayerFile::Place> LayerFile::first_place(const LayerHeader& header) const {
  HELIUM_ASSIGN(BlockCache::Block block, index_page(header, 0));
  if (!IndexPage(*block).is_leaf()) return fail(ErrorCode::kCorrupt, at("index page", header.index_offset) + ": no leaf");
  return Place{std::move(block), 0, 0};
}

Result<bool> LayerFile::move_back(const LayerHeader& header, Place& place) const {
  if (place.slot > 0) {
    --place.slot;
    return true;
  }
  if (place.page_no == 0) return false;
  HELIUM_ASSIGN(place.page, index_page(header, place.page_no - 1));
  if (!IndexPage(*place.page).is_leaf()) {
    return fail(ErrorCode::kCorrupt, at("index page", header.index_offset) + ": leaves are not together");
  }
  --place.page_no;
  place.slot = IndexPage(*place.page).count() - 1;
  return true;
}

Result<bool> LayerFile::move_on(const LayerHeader& header, Place& place) const {
  if (place.slot + 1 < IndexPage(*place.page).count()) {
    ++place.slot;
    return true;
  }
  if (place.page_no + 1 >= header.index_pages) return false;
  HELIUM_ASSIGN(BlockCache::Block page, index_page(header, place.page_no + 1));
  if (!IndexPage(*page).is_leaf()) return false;
  place = {std::move(page), place.page_no + 1, 0};
  return true;
}

Result<SharedBytes> LayerFile::value_of(const LayerHeader& header, const BlockCache::Block& block,
                                        const EntryView& entry) const {
  if (!entry.reference) return SharedBytes(block, entry.value);
  BlockCache::Block target = block;
  if (entry.reference->block.size != 0) {
    HELIUM_ASSIGN(target, data_block(header, entry.reference->block));
  }
  Result<ByteView> value = DataBlock(*target).value_at(entry.reference->value_offset, entry.value_size);
  if (!value) return fail(std::move(value).error().context(at("data block", entry.reference->block.offset)));
  return SharedBytes(std::move(target), *value);
}

Result<bool> LayerFile::collect(const VersionQuery& query, std::vector<Version>& found) const {
  HELIUM_ASSIGN(const LayerHeader* loaded, loaded_header());
  const LayerHeader& header = *loaded;
  const Position newest{query.key, query.at};
  HELIUM_ASSIGN(Place place, find_place(header, newest));
  if (!place.page) return false;
  while (true) {
    HELIUM_ASSIGN(const BlockCache::Block block, data_block(header, IndexPage(*place.page).block(place.slot)));
    const DataBlock entries(*block);
    for (size_t i = entries.upper_bound(newest); i-- > 0;) {
      const EntryView entry = entries.entry(i);
      if (entry.position.key != query.key || entry.position.lsn <= query.after) return false;
      HELIUM_ASSIGN(SharedBytes value, value_of(header, block, entry));
      found.push_back({entry.position.lsn, entry.kind, entry.will_init, std::move(value)});
      if (query.ends_at(found.back())) return true;
    }
    HELIUM_ASSIGN(const bool moved, move_back(header, place));
    if (!moved) return false;
  }
}

Status LayerFile::verify() const {
  HELIUM_ASSIGN(const LayerHeader header, this->header());
  for (uint32_t i = 0; i < header.index_pages; ++i) HELIUM_TRY(index_page(header, i));
  for (uint32_t i = 0; i < header.filter_pages; ++i) HELIUM_TRY(filter_page(header, i));
  const auto corrupt = [this](const char* what) {
    return fail(ErrorCode::kCorrupt, fmt::format("read layer '{}': {}", path_.string(), what));
  };

  HELIUM_ASSIGN(Place place, first_place(header));
  uint64_t expected_offset = kLayerHeaderSize;
  uint64_t entry_count = 0;
  uint64_t key_count = 0;
  Position last;
  for (bool more = true; more;) {
    const IndexPage page(*place.page);
    const BlockRef ref = page.block(place.slot);
    if (ref.offset != expected_offset) return corrupt("data blocks are not contiguous");
    expected_offset += ref.size;
    HELIUM_ASSIGN(const BlockCache::Block block, data_block(header, ref));
    const DataBlock entries(*block);
    if (entries.entry(0).position != page.position(place.slot)) return corrupt("index and data block differ");
    HELIUM_ASSIGN(const Place found, find_place(header, page.position(place.slot)));
    if (!found.page || found.page_no != place.page_no || found.slot != place.slot) {
      return corrupt("a data block that the index does not lead to");
    }
    for (size_t i = 0; i < entries.count(); ++i) {
      const EntryView entry = entries.entry(i);
      if (!range().keys.contains(entry.position.key) || !range().lsns.contains(entry.position.lsn)) {
        return corrupt("a version outside of the layer's range");
      }
      if (entry_count > 0 && !(last < entry.position)) return corrupt("data blocks are not sorted");
      if (entry_count == 0 || entry.position.key != last.key) {
        ++key_count;
        HELIUM_ASSIGN(const bool in_filter, may_contain(entry.position.key));
        if (!in_filter) return corrupt("a key that the filter lacks");
      }
      HELIUM_TRY(value_of(header, block, entry));
      last = entry.position;
      ++entry_count;
    }
    HELIUM_ASSIGN(more, move_on(header, place));
  }
  if (expected_offset != header.index_offset || entry_count != header.entry_count || key_count != header.key_count) {
    return corrupt("the header's counts differ from the content");
  }
  return {};
}

Status LayerCursor::seek(const Position& from) {
  block_ = nullptr;
  HELIUM_ASSIGN(header_, file_->header());
  HELIUM_ASSIGN(place_, file_->find_place(header_, from));
  if (!place_.page) {
    HELIUM_ASSIGN(place_, file_->first_place(header_));
  }
  HELIUM_TRY(load_block());
  i_ = DataBlock(*block_).lower_bound(from);
  return skip_to_entry();
}

Status LayerCursor::load_block() {
  HELIUM_ASSIGN(block_, file_->data_block(header_, IndexPage(*place_.page).block(place_.slot)));
  return {};
}

Status LayerCursor::skip_to_entry() {
  if (i_ == DataBlock(*block_).count()) {
    block_ = nullptr;
    HELIUM_ASSIGN(const bool moved, file_->move_on(header_, place_));
    if (!moved) return {};
    HELIUM_TRY(load_block());
    i_ = 0;
  }
  entry_ = DataBlock(*block_).entry(i_);
  return {};
}

Result<SharedBytes> LayerCursor::value() const { return file_->value_of(header_, block_, entry_); }

Status LayerCursor::next() {
  CHECK(valid());
  ++i_;
  return skip_to_entry();
}

}  // namespace helium::layer
