#include "layer/layer_writer.h"

#include "base/check.h"
#include "layer/key_filter.h"

namespace helium::layer {
namespace {

constexpr size_t kWriteSize = 1 << 20;

}  // namespace

LayerWriter::LayerWriter(std::shared_ptr<Disk> disk, std::filesystem::path path, std::unique_ptr<WritableFile> file)
    : disk_(std::move(disk)), path_(std::move(path)), file_(std::move(file)) {}

LayerWriter::~LayerWriter() {
  if (finished_) return;
  file_.reset();
  (void)disk_->remove_file(path_);  // else it is removed as unlisted by the next open()
}

Result<std::unique_ptr<LayerWriter>> LayerWriter::create(std::shared_ptr<Disk> disk, const std::filesystem::path& path,
                                                         const LayerRange& range) {
  HELIUM_ASSIGN(auto file, disk->create_file(path));
  std::unique_ptr<LayerWriter> writer(new LayerWriter(std::move(disk), path, std::move(file)));
  writer->header_.range = range;
  const Bytes room_for_header(kLayerHeaderSize);
  HELIUM_TRY(writer->put(room_for_header));
  return writer;
}

Status LayerWriter::add(const Position& position, ValueKind kind, bool will_init, ByteView value, const void* share_id) {
  CHECK(header_.range.keys.contains(position.key));
  CHECK(header_.range.lsns.contains(position.lsn));
  CHECK(header_.entry_count == 0 || last_ < position);
  if (!block_.empty() && block_.raw_size() + value.size() > kBlockTargetSize) HELIUM_TRY(close_block());

  if (header_.entry_count == 0 || position.key != last_.key) {
    key_hashes_.push_back(position.key.hash());
    ++header_.key_count;
  }
  ++header_.entry_count;
  last_ = position;
  if (block_.empty()) block_first_ = position;

  const bool share = share_id != nullptr && value.size() >= kSharedValueSizeMin;
  if (share) {
    if (const auto found = shared_.find(share_id); found != shared_.end()) {
      const SharedValue& target = found->second;
      CHECK(target.value_size == value.size());
      const BlockRef block =
          target.block_index == leaves_.size() ? BlockRef{file_offset_, 0} : leaves_[target.block_index].block;
      block_.add_reference(position, kind, will_init, target.value_size, {block, target.value_offset});
      return {};
    }
  }
  const uint32_t value_offset = block_.add(position, kind, will_init, value);
  if (share) shared_[share_id] = {leaves_.size(), value_offset, static_cast<uint32_t>(value.size())};
  return {};
}

Status LayerWriter::close_block() {
  const Bytes sealed = seal_block(block_.finish(), file_offset_);
  leaves_.push_back({block_first_, {file_offset_, static_cast<uint32_t>(sealed.size())}});
  return put(sealed);
}

Status LayerWriter::put(ByteView bytes) {
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  file_offset_ += bytes.size();
  return buffer_.size() >= kWriteSize ? write_out() : Status();
}

Status LayerWriter::write_out() {
  HELIUM_TRY(file_->append(buffer_));
  buffer_.clear();
  return {};
}

Result<LayerHeader> LayerWriter::finish() {
  CHECK(header_.entry_count > 0 && !finished_);
  if (!block_.empty()) HELIUM_TRY(close_block());
  header_.block_count = static_cast<uint32_t>(leaves_.size());
  header_.index_offset = file_offset_;
  const BuiltIndex index = build_index(leaves_);
  header_.index_pages = index.page_count;
  header_.index_levels = index.levels;
  HELIUM_TRY(put(index.pages));
  header_.filter_offset = file_offset_;
  const Bytes filter = build_filter(key_hashes_);
  header_.filter_pages = static_cast<uint32_t>(filter.size() / kFilterPageSize);
  HELIUM_TRY(put(filter));
  header_.file_size = file_offset_;
  HELIUM_TRY(write_out());
  HELIUM_TRY(file_->write_at(0, encode_layer_header(header_)));
  HELIUM_TRY(file_->sync());
  file_.reset();
  finished_ = true;
  return header_;
}

}  // namespace helium::layer
