#include "pageserver/page_cache.h"

#include <algorithm>

#include "pg/constants.h"

namespace helium::pageserver {

PageCache::PageCache(size_t capacity_bytes)
    : pages_per_shard_(std::max<size_t>(1, capacity_bytes / pg::kBlockSize / kShards)), shards_(kShards) {}

uint64_t PageCache::new_timeline() {
  std::lock_guard lock(next_mutex_);
  return next_timeline_++;
}

layer::SharedBytes PageCache::find(const PageVersionId& id) {
  Shard& shard = shard_of(id);
  std::lock_guard lock(shard.mutex);
  const auto found = shard.by_id.find(id);
  if (found == shard.by_id.end()) {
    ++shard.misses;
    return {};
  }
  ++shard.hits;
  shard.by_use.splice(shard.by_use.begin(), shard.by_use, found->second);
  return found->second->page;
}

void PageCache::insert(const PageVersionId& id, layer::SharedBytes page) {
  Shard& shard = shard_of(id);
  std::lock_guard lock(shard.mutex);
  if (shard.by_id.contains(id)) return;
  shard.by_use.push_front({id, std::move(page)});
  shard.by_id.emplace(id, shard.by_use.begin());
  while (shard.by_use.size() > pages_per_shard_) {
    shard.by_id.erase(shard.by_use.back().id);
    shard.by_use.pop_back();
  }
}

uint64_t PageCache::hits() const {
  uint64_t sum = 0;
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    sum += shard.hits;
  }
  return sum;
}

uint64_t PageCache::misses() const {
  uint64_t sum = 0;
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    sum += shard.misses;
  }
  return sum;
}

}  // namespace helium::pageserver
