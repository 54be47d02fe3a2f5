#include "vfs/arena.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

namespace helium::vfs {
namespace {

uint64_t align_up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

uint32_t hash(const EntryKey& key) {
  uint64_t h = 0x9E3779B97F4A7C15;
  const auto mix = [&h](uint64_t value) {
    h ^= value;
    h *= 0xFF51AFD7ED558CCD;
    h ^= h >> 32;
  };
  mix(uint64_t{static_cast<uint8_t>(key.kind)} << 40 | uint64_t{key.sub} << 32 | key.segno);
  mix(uint64_t{key.spcnode} << 32 | key.dbnode);
  mix(key.relnode);
  return static_cast<uint32_t>(h);
}

}  // namespace

void Arena::format(void* base, uint64_t bytes, uint32_t wal_segment_bytes) {
  auto& header = *static_cast<ArenaHeader*>(base);
  // An eighth of the space for entries, an eighth of those in buckets; the rest are block cells.
  uint64_t entries = bytes / 8 / sizeof(Entry);
  if (entries > (1u << 26)) entries = 1u << 26;
  uint32_t buckets = 1024;
  while (buckets < entries / 8) buckets *= 2;
  header.arena_bytes = bytes;
  header.bucket_count = buckets;
  header.entry_count = static_cast<uint32_t>(entries);
  header.slots_offset = kHeaderBytes;
  header.heads_offset = align_up(header.slots_offset + sizeof(ProcessSlot) * kProcessSlots, 4096);
  header.entries_offset = align_up(header.heads_offset + uint64_t{buckets} * 4, 4096);
  header.units_offset = align_up(header.entries_offset + entries * sizeof(Entry), 4096);
  header.unit_count = static_cast<uint32_t>((bytes - header.units_offset) / kUnitSize);
  header.wal_segment_bytes = wal_segment_bytes;
  header.entries_used.store(1);
  header.units_used.store(1);
  header.version = kArenaVersion;
  header.magic = kArenaMagic;
}

uint32_t Arena::find(const EntryKey& key) const {
  const auto& head = at<std::atomic<uint32_t>>(header().heads_offset, hash(key) & (header().bucket_count - 1));
  uint32_t index = head.load(std::memory_order_acquire);
  while (index != 0 && !(entry(index).key == key)) index = entry(index).next.load(std::memory_order_acquire);
  return index;
}

uint32_t Arena::find_or_add(const EntryKey& key) const {
  auto& head = at<std::atomic<uint32_t>>(header().heads_offset, hash(key) & (header().bucket_count - 1));
  uint32_t first = head.load(std::memory_order_acquire);
  uint32_t searched_to = 0;  // chains grow at the front only: what was searched once stays searched
  uint32_t mine = 0;
  for (;;) {
    for (uint32_t index = first; index != searched_to; index = entry(index).next.load(std::memory_order_acquire))
      if (entry(index).key == key) {
        if (mine != 0) entry(mine).key = {};  // somebody was faster; ours stays unused
        return index;
      }
    searched_to = first;
    if (mine == 0) {
      if (header().entries_used.load(std::memory_order_relaxed) >= header().entry_count) return 0;
      mine = header().entries_used.fetch_add(1, std::memory_order_relaxed);
      if (mine >= header().entry_count) return 0;
      entry(mine).key = key;
    }
    entry(mine).next.store(first, std::memory_order_relaxed);
    if (head.compare_exchange_strong(first, mine, std::memory_order_acq_rel)) return mine;
  }
}

uint32_t Arena::allocate_units(uint32_t count) const {
  if (header().units_used.load(std::memory_order_relaxed) > header().unit_count - count) return 0;
  const uint32_t unit = header().units_used.fetch_add(count, std::memory_order_relaxed);
  return unit > header().unit_count - count ? 0 : unit;
}

std::atomic<uint32_t>* Arena::chunk_slot(Entry& entry, uint32_t chunk) const {
  if (chunk == 0) return &entry.first_chunk;
  if (chunk >= kChunksPerFile) return nullptr;
  uint32_t directory = entry.directory.load(std::memory_order_acquire);
  if (directory == 0) {
    const uint32_t fresh = allocate_units(kDirectoryUnits);
    if (fresh == 0) return nullptr;
    // Who loses the race leaves its units unused.
    if (entry.directory.compare_exchange_strong(directory, fresh, std::memory_order_acq_rel)) directory = fresh;
  }
  return &directory_slot(directory, chunk);
}

BlockCell* Arena::touch_cell(Entry& entry, uint32_t blkno) const {
  if (BlockCell* known = cell(entry, blkno)) return known;
  std::atomic<uint32_t>* slot = chunk_slot(entry, blkno / kChunkBlocks);
  if (slot == nullptr) return nullptr;
  uint32_t unit = slot->load(std::memory_order_acquire);
  if (unit == 0) {
    const uint32_t fresh = allocate_units(1);
    if (fresh == 0) return nullptr;
    if (slot->compare_exchange_strong(unit, fresh, std::memory_order_seq_cst)) unit = fresh;
  }
  return chunk_cells(unit) + blkno % kChunkBlocks;
}

uint64_t Arena::bytes_used() const {
  return header().entries_used.load() * sizeof(Entry) + uint64_t{header().units_used.load()} * kUnitSize;
}

MappedPath path_of(const EntryKey& key) {
  MappedPath path;
  path.sub = key.sub;
  path.spcnode = key.spcnode;
  path.dbnode = key.dbnode;
  path.relnode = key.relnode;
  path.segno = key.segno;
  switch (key.kind) {
    case EntryKind::kSlruFile: path.kind = PathKind::kSlruFile; break;
    case EntryKind::kRelFile: path.kind = PathKind::kRelFile; break;
    default: path.kind = PathKind::kRelDir; break;
  }
  return path;
}

void futex_wait(const std::atomic<uint32_t>& word, uint32_t expected, uint32_t micros) {
  const timespec timeout{micros / 1000000, static_cast<long>(micros % 1000000) * 1000};
  syscall(SYS_futex, reinterpret_cast<const uint32_t*>(&word), FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

void futex_wake(const std::atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, reinterpret_cast<const uint32_t*>(&word), FUTEX_WAKE, count, nullptr, nullptr, 0);
}

}  // namespace helium::vfs
