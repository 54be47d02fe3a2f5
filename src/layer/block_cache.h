// BlockCache: recently used blocks of layer files, decoded and checked, shared by all timelines of a process.
//
// Bounded in bytes: the least recently used go first. A block that a reader still holds lives on with the reader.
// A block larger than a shard's part is not kept. Threads: all functions are safe from any thread.

#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/bytes.h"

namespace helium::layer {

class BlockCache {
 public:
  using Block = std::shared_ptr<const Bytes>;

  struct Stats {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t bytes = 0;
    uint64_t capacity_bytes = 0;
  };

  explicit BlockCache(uint64_t capacity_bytes);

  // The one that stores use unless told otherwise: 64 MB, or HELIUM_BLOCK_CACHE_BYTES.
  static const std::shared_ptr<BlockCache>& process_wide();
  // A number for one open layer file, never given twice in a process.
  static uint64_t new_file_id();

  Block find(uint64_t file_id, uint64_t offset);  // empty: not here
  void insert(uint64_t file_id, uint64_t offset, Block block);
  Stats stats() const;

 private:
  struct Id {
    uint64_t file_id;
    uint64_t offset;
    friend bool operator==(const Id&, const Id&) = default;
  };
  struct IdHash {
    size_t operator()(const Id& id) const noexcept {
      return (id.file_id * 0x9E3779B97F4A7C15u) ^ ((id.offset + 1) * 0xC2B2AE3D27D4EB4Fu);
    }
  };
  struct Item {
    Id id;
    Block block;
  };
  struct Shard {
    mutable std::mutex mutex;
    std::list<Item> items;  // most recently used first
    std::unordered_map<Id, std::list<Item>::iterator, IdHash> by_id;
    uint64_t bytes = 0;
    uint64_t hits = 0;
    uint64_t misses = 0;
  };
  static constexpr size_t kShards = 16;

  Shard& shard_of(const Id& id) { return shards_[(IdHash()(id) >> 40) % kShards]; }

  const uint64_t shard_capacity_;
  std::array<Shard, kShards> shards_;
};

}  // namespace helium::layer
