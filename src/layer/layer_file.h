// LayerFile: a handle to one immutable layer file on local disk.
//
// Knows its range and size from the timeline's index and touches the file only when a read needs it: the header at
// first use, then one filter page, one path of the index and one data block for a key. Blocks go through the
// BlockCache. Nothing stays open between reads, so that thousands of layers need no descriptors.
// Ownership: shared_ptr, held by layer maps (layer_map.h) and by the reads that use them; so a layer that a newer map
// no longer lists stays readable until the last read is done.
// Threads: all const functions are safe from any thread; a LayerCursor belongs to one.
// Errors: kCorrupt, kTruncated, kTooNew, kIo, naming the file and the offset. A missing file is kCorrupt.

#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "layer/block_cache.h"
#include "layer/data_block.h"
#include "io/disk.h"
#include "layer/index_page.h"
#include "layer/layer_header.h"
#include "layer/version_query.h"

namespace helium::layer {

// What the timeline's index says about a layer.
struct LayerDesc {
  LayerRange range;
  uint64_t file_size = 0;
  friend bool operator==(const LayerDesc&, const LayerDesc&) = default;
};

class LayerFile {
 public:
  LayerFile(std::shared_ptr<Disk> disk, std::shared_ptr<BlockCache> cache, const std::filesystem::path& folder,
            const LayerDesc& desc);

  const LayerDesc& desc() const { return desc_; }
  const LayerRange& range() const { return desc_.range; }
  const std::filesystem::path& path() const { return path_; }

  // False: no version of the key in here. True: probably there is one.
  Result<bool> may_contain(const Key& key) const;

  // Appends the versions that the query wants, newest first. True: the last one ends the query.
  Result<bool> collect(const VersionQuery& query, std::vector<Version>& found) const;

  // Read and checked once.
  Result<LayerHeader> header() const;

  // Reads and checks every byte and every reference of the file.
  Status verify() const;

 private:
  friend class LayerCursor;

  // A data block by its place in the index, which moves to the neighbours.
  struct Place {
    BlockCache::Block page;  // a leaf
    uint32_t page_no = 0;
    size_t slot = 0;
  };

  Result<const LayerHeader*> loaded_header() const;
  Result<BlockCache::Block> index_page(const LayerHeader& header, uint32_t page_no) const;
  Result<BlockCache::Block> filter_page(const LayerHeader& header, uint32_t page_no) const;
  Result<BlockCache::Block> data_block(const LayerHeader& header, const BlockRef& ref) const;
  Result<Bytes> read(uint64_t offset, size_t size) const;

  // The last data block that begins at or before `position`; an empty page if all begin behind it.
  Result<Place> find_place(const LayerHeader& header, const Position& position) const;
  Result<Place> first_place(const LayerHeader& header) const;
  // False at the ends.
  Result<bool> move_back(const LayerHeader& header, Place& place) const;
  Result<bool> move_on(const LayerHeader& header, Place& place) const;
  Result<SharedBytes> value_of(const LayerHeader& header, const BlockCache::Block& block, const EntryView& entry) const;

  std::string at(const char* part, uint64_t offset) const;

  const std::shared_ptr<Disk> disk_;
  const std::shared_ptr<BlockCache> cache_;
  const LayerDesc desc_;
  const std::filesystem::path path_;
  const uint64_t file_id_;
  mutable std::mutex mutex_;                        // for loading the header
  mutable std::atomic<bool> header_loaded_{false};  // header_ does not change any more
  mutable LayerHeader header_;
};

// Walks the versions of a layer in ascending (key, LSN) order. Pins one data block and one index page.
class LayerCursor {
 public:
  explicit LayerCursor(std::shared_ptr<const LayerFile> file) : file_(std::move(file)) {}

  Status seek(const Position& from);  // to the first version that is not below
  bool valid() const { return block_ != nullptr; }
  const EntryView& entry() const { return entry_; }  // while valid()
  Result<SharedBytes> value() const;
  Status next();

 private:
  Status load_block();
  Status skip_to_entry();  // entry i_, in the following block if this one has ended

  std::shared_ptr<const LayerFile> file_;
  LayerHeader header_;
  LayerFile::Place place_;
  BlockCache::Block block_;
  size_t i_ = 0;
  EntryView entry_;
};

}  // namespace helium::layer
