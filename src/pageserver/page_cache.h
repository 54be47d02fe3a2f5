// PageCache: pages that were rebuilt from records, by (timeline, key, LSN of the newest version in them).
//
// A later read of the same version is a lookup, one of a newer version starts from here. Entries never become wrong:
// a version is immutable, and so is what it rebuilds to.
// Memory: bounded by `capacity_bytes`, least recently used goes first. Threads: safe from any; sharded locks.

#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "layer/key.h"
#include "layer/value.h"

namespace helium::pageserver {

struct PageVersionId {
  uint64_t timeline = 0;  // PageCache::new_timeline()
  layer::Key key;
  Lsn lsn;
  friend bool operator==(const PageVersionId&, const PageVersionId&) = default;
};

class PageCache {
 public:
  explicit PageCache(size_t capacity_bytes);

  uint64_t new_timeline();  // an id of this process's life, for PageVersionId

  layer::SharedBytes find(const PageVersionId& id);  // empty if it is not there
  void insert(const PageVersionId& id, layer::SharedBytes page);

  uint64_t hits() const;
  uint64_t misses() const;

 private:
  struct Hash {
    size_t operator()(const PageVersionId& id) const noexcept {
      return id.key.hash() ^ (id.lsn.bytes() * 0x9E3779B97F4A7C15u) ^ (id.timeline << 17);
    }
  };
  struct Entry {
    PageVersionId id;
    layer::SharedBytes page;
  };
  struct Shard {
    std::mutex mutex;
    std::list<Entry> by_use;  // newest use first
    std::unordered_map<PageVersionId, std::list<Entry>::iterator, Hash> by_id;
    uint64_t hits = 0;
    uint64_t misses = 0;
  };
  static constexpr size_t kShards = 16;

  Shard& shard_of(const PageVersionId& id) { return shards_[(Hash()(id) >> 7) % kShards]; }

  const size_t pages_per_shard_;
  mutable std::vector<Shard> shards_;
  std::mutex next_mutex_;
  uint64_t next_timeline_ = 1;
};

}  // namespace helium::pageserver
