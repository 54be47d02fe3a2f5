// Any bytes as a layer file, a raw data block or an index page: an error or an answer, never a crash.
// Checksums are repaired where the structure allows it, or nothing would get past them.

#include "base/crc32c.h"
#include "layer/key_filter.h"
#include "layer/layer_file.h"
#include "layer/memory_disk.h"

namespace helium::layer {
namespace {

void walk_block(ByteView raw) {
  if (!DataBlock::validate(raw, 128)) return;
  const DataBlock block(raw);
  for (size_t i = 0; i < block.count(); ++i) {
    const EntryView entry = block.entry(i);
    CHECK(block.upper_bound(entry.position) == i + 1 && block.lower_bound(entry.position) == i);
    if (entry.reference) (void)block.value_at(entry.reference->value_offset, entry.value_size);
  }
}

void repair(Bytes& file) {
  if (file.size() < kLayerHeaderSize) return;
  store(&file[0], kLayerMagic);
  store(&file[4], kLayerFormatVersion);
  store(&file[124], crc32c(ByteView(file).first(124)));
  const auto header = decode_layer_header(file);
  if (!header || header->file_size > file.size()) return;
  for (uint32_t i = 0; i < header->index_pages; ++i) {
    std::byte* page = &file[header->index_offset + uint64_t{i} * kIndexPageSize];
    store(page, crc32c({page + 4, kIndexPageSize - 4}));
    if (!IndexPage::validate({page, kIndexPageSize}, i)) continue;
    const IndexPage view({page, kIndexPageSize});
    for (size_t slot = 0; view.is_leaf() && slot < view.count(); ++slot) {
      const BlockRef ref = view.block(slot);
      if (ref.offset > header->index_offset || ref.size > header->index_offset - ref.offset) continue;
      std::byte* block = &file[ref.offset];
      store(block, ref.size - static_cast<uint32_t>(kBlockHeaderSize));
      store(block + 12, Crc32c().add(&ref.offset, 8).add(block, 12).add(block + 16, ref.size - 16).value());
    }
  }
  for (uint32_t i = 0; i < header->filter_pages; ++i) {
    std::byte* page = &file[header->filter_offset + uint64_t{i} * kFilterPageSize];
    store(page + kFilterPageSize - 4, Crc32c().add(&i, 4).add(page, kFilterPageSize - 4).value());
  }
}

void read_file(Bytes file) {
  const auto header = decode_layer_header(file);
  if (!header) return;
  const auto layer =
      std::make_shared<LayerFile>(std::make_shared<MemoryDisk>(std::move(file)), std::make_shared<BlockCache>(1 << 20),
                                  "fuzz", LayerDesc{header->range, header->file_size});
  (void)layer->verify();
  LayerCursor cursor(layer);
  if (!cursor.seek({Key(), Lsn()})) return;
  for (int i = 0; i < 1000 && cursor.valid(); ++i) {
    std::vector<Version> found;
    (void)layer->may_contain(cursor.entry().position.key);
    (void)layer->collect({cursor.entry().position.key, cursor.entry().position.lsn, Lsn(), Until::kAll}, found);
    (void)cursor.value();
    if (!cursor.next()) return;
  }
}

}  // namespace
}  // namespace helium::layer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace helium;
  using namespace helium::layer;
  if (size == 0) return 0;
  const ByteView input = std::as_bytes(std::span(data, size)).subspan(1);
  switch (data[0] % 4) {
    case 0: walk_block(input); break;
    case 1: (void)unseal_block(input, 128); break;
    case 2: layer::read_file({input.begin(), input.end()}); break;
    default: {
      Bytes file(input.begin(), input.end());
      repair(file);
      layer::read_file(std::move(file));
    }
  }
  return 0;
}
