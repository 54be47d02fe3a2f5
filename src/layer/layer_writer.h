// LayerWriter: writes one layer file from sorted input.
//
// Versions are added in ascending (key, LSN) order; finish() adds index, filter and header and syncs the file. The
// caller syncs the folder and publishes the layer in the timeline's index. Destroyed unfinished, it removes the file.
// Memory: one data block, a 1 MB buffer, 38 bytes a block, 8 bytes a key, and a map of values shared by several keys.
// Not thread safe. Errors: those of Disk; after one, only destruction is left.

#pragma once

#include <filesystem>
#include <memory>
#include <unordered_map>
#include <vector>

#include "layer/data_block.h"
#include "io/disk.h"
#include "layer/index_page.h"
#include "layer/layer_header.h"

namespace helium::layer {

// Smaller values are repeated: a reference would cost about as much, and a second block read.
inline constexpr size_t kSharedValueSizeMin = 64;

class LayerWriter {
 public:
  static Result<std::unique_ptr<LayerWriter>> create(std::shared_ptr<Disk> disk, const std::filesystem::path& path,
                                                     const LayerRange& range);
  ~LayerWriter();
  LayerWriter(const LayerWriter&) = delete;
  LayerWriter& operator=(const LayerWriter&) = delete;

  // `share_id`, if not null: the same for all versions of this layer whose value is the same bytes.
  Status add(const Position& position, ValueKind kind, bool will_init, ByteView value, const void* share_id = nullptr);
  uint64_t entry_count() const { return header_.entry_count; }
  // Precondition: something was added.
  Result<LayerHeader> finish();

 private:
  struct SharedValue {
    size_t block_index;
    uint32_t value_offset;
    uint32_t value_size;
  };
  LayerWriter(std::shared_ptr<Disk> disk, std::filesystem::path path, std::unique_ptr<WritableFile> file);
  Status close_block();
  Status put(ByteView bytes);  // at file_offset_
  Status write_out();

  const std::shared_ptr<Disk> disk_;
  const std::filesystem::path path_;
  std::unique_ptr<WritableFile> file_;
  LayerHeader header_;
  bool finished_ = false;
  Bytes buffer_;             // not yet handed to file_
  uint64_t file_offset_ = 0;  // behind everything put; the open block will lie here
  DataBlockBuilder block_;
  Position block_first_;
  Position last_;
  std::vector<LeafEntry> leaves_;
  std::vector<uint64_t> key_hashes_;
  std::unordered_map<const void*, SharedValue> shared_;
};

}  // namespace helium::layer
