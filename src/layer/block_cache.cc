#include "layer/block_cache.h"

#include <atomic>
#include <cstdlib>

namespace helium::layer {
namespace {

constexpr uint64_t kItemOverhead = 160;  // list and hash nodes, control block

uint64_t charge(const BlockCache::Block& block) { return block->size() + kItemOverhead; }

}  // namespace

BlockCache::BlockCache(uint64_t capacity_bytes) : shard_capacity_(capacity_bytes / kShards) {}

const std::shared_ptr<BlockCache>& BlockCache::process_wide() {
  static const std::shared_ptr<BlockCache> cache = [] {
    uint64_t capacity_bytes = 64 << 20;
    if (const char* text = std::getenv("HELIUM_BLOCK_CACHE_BYTES")) capacity_bytes = std::strtoull(text, nullptr, 10);
    return std::make_shared<BlockCache>(capacity_bytes);
  }();
  return cache;
}

uint64_t BlockCache::new_file_id() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

BlockCache::Block BlockCache::find(uint64_t file_id, uint64_t offset) {
  const Id id{file_id, offset};
  Shard& shard = shard_of(id);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.by_id.find(id);
  if (found == shard.by_id.end()) {
    ++shard.misses;
    return {};
  }
  ++shard.hits;
  shard.items.splice(shard.items.begin(), shard.items, found->second);
  return found->second->block;
}

void BlockCache::insert(uint64_t file_id, uint64_t offset, Block block) {
  if (charge(block) > shard_capacity_) return;
  const Id id{file_id, offset};
  Shard& shard = shard_of(id);
  std::list<Item> evicted;  // freed after the lock
  const std::lock_guard lock(shard.mutex);
  if (shard.by_id.contains(id)) return;  // two readers missed it at once
  shard.bytes += charge(block);
  shard.items.push_front({id, std::move(block)});
  shard.by_id[id] = shard.items.begin();
  while (shard.bytes > shard_capacity_) {
    shard.bytes -= charge(shard.items.back().block);
    shard.by_id.erase(shard.items.back().id);
    evicted.splice(evicted.end(), shard.items, std::prev(shard.items.end()));
  }
}

BlockCache::Stats BlockCache::stats() const {
  Stats sum;
  sum.capacity_bytes = shard_capacity_ * kShards;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    sum.hits += shard.hits;
    sum.misses += shard.misses;
    sum.bytes += shard.bytes;
  }
  return sum;
}

}  // namespace helium::layer
