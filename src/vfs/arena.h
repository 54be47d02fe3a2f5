// The shared arena: one memfd, mapped by the agent and by every PostgreSQL process. Metadata only.
//
// Layout (docs/formats/compute_shared_memory.md has the table with offsets):
//   header, 4 KiB     identity, end words, WAL words, doorbell, table of parts
//   mail bitmap       one bit per process slot: it has posted a request
//   process slots     64 bytes each: pid and mailbox
//   hash heads        u32 per bucket: first entry of the chain
//   entries           64 bytes each: files, relations, databases; never removed, entry 0 unused
//   units             1 KiB each: chunks of 64 block cells, and chunk directories (8 units); unit 0 unused
// Positions inside are indexes, never pointers: processes map the arena where they like.
// Ownership: an Arena views a mapping that it does not own. Nothing is freed; the arena lives as long as one
//   life of a compute.
// Errors: a full arena shows as index 0 (entry, chunk); the caller reports ENOSPC.
// Threads: every field that changes is atomic. No allocation, no exception: used inside PostgreSQL.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vfs/block_state.h"
#include "vfs/path_map.h"

namespace helium::vfs {

inline constexpr uint64_t kArenaMagic = 0x3153465648494C48;  // "HLIHVFS1" in memory order
inline constexpr uint32_t kBlockSize = 8192;
inline constexpr uint32_t kSegmentBlocks = 131072;  // RELSEG_SIZE: 1 GiB
inline constexpr uint32_t kSlruSegmentBlocks = 32;
inline constexpr uint32_t kProcessSlots = 4096;
inline constexpr uint32_t kChunkBlocks = 64;
inline constexpr uint32_t kUnitSize = 1024;
inline constexpr uint32_t kChunksPerFile = kSegmentBlocks / kChunkBlocks;  // 2048, so a directory is 8 KiB
inline constexpr uint32_t kDirectoryUnits = kChunksPerFile * 4 / kUnitSize;

// --- mailbox: one word = ticket << 16 | errno << 8 | MailState ---
enum class MailState : uint8_t { kIdle = 0, kPosted = 1, kTaken = 2, kDone = 3 };
enum class MailKind : uint32_t {
  kResolve = 1,  // entry: a relation; make all of its forks known
  kFetch = 2,    // entry: a file; make block `blkno` present
  kList = 3,     // entry: a database; make all of its relations known
};
struct MailWord {
  uint32_t raw = 0;
  static constexpr MailWord make(uint16_t ticket, MailState state, uint8_t error = 0) {
    return {uint32_t{ticket} << 16 | uint32_t{error} << 8 | static_cast<uint32_t>(state)};
  }
  constexpr uint16_t ticket() const { return static_cast<uint16_t>(raw >> 16); }
  constexpr MailState state() const { return static_cast<MailState>(raw & 0xFF); }
  constexpr uint8_t error() const { return static_cast<uint8_t>(raw >> 8); }
};

struct alignas(64) ProcessSlot {
  std::atomic<uint32_t> pid;   // 0: free
  std::atomic<uint32_t> mail;  // MailWord; the futex its owner waits on
  std::atomic<uint32_t> kind;  // MailKind; this and the next two belong to the request that is posted
  std::atomic<uint32_t> entry;
  std::atomic<uint32_t> blkno;
};
static_assert(sizeof(ProcessSlot) == 64);

// --- entries ---
enum class EntryKind : uint8_t { kRelFile = 1, kSlruFile = 2, kRelation = 3, kDatabase = 4 };
struct EntryKey {
  EntryKind kind{};
  uint8_t sub = 0;  // fork or SLRU kind
  uint32_t spcnode = 0;
  uint32_t dbnode = 0;
  uint32_t relnode = 0;
  uint32_t segno = 0;
  friend bool operator==(const EntryKey&, const EntryKey&) = default;
};

inline constexpr uint32_t kFlagResolved = 1;   // relation: every fork is known; database: all relations are
inline constexpr uint32_t kFlagLocal = 2;      // file: created here; database: made here, storage has nothing
inline constexpr uint32_t kFlagUnlogged = 4;   // main fork that was made from the init fork

struct alignas(64) Entry {
  EntryKey key;                         // constant once the entry is reachable
  std::atomic<uint32_t> next;           // in the bucket
  std::atomic<uint32_t> flags;
  std::atomic<uint32_t> lock;           // pid that changes the file's shape (create, truncate, remove); 0 free
  std::atomic<uint32_t> life;           // odd while the file is being removed; an fd of an earlier life is stale
  std::atomic<uint32_t> shape;          // odd while the file is being shortened or removed: readers wait
  std::atomic<uint32_t> limit;          // leading blocks of this file that storage provides; only ever falls
  std::atomic<uint32_t> first_chunk;    // unit of the chunk of blocks 0..63
  std::atomic<uint32_t> directory;      // first unit of the directory: u32 per chunk, for all others
  std::atomic<uint64_t> size_lsn;       // insert position at the last change of size
};
static_assert(sizeof(Entry) == 64);

struct BlockCell {
  std::atomic<uint64_t> word;          // BlockWord
  std::atomic<uint64_t> required_lsn;  // insert position at the last write
};
static_assert(sizeof(BlockCell) * kChunkBlocks == kUnitSize);

struct ArenaHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t agent_pid;
  uint64_t arena_bytes;
  uint64_t slots_offset, heads_offset, entries_offset, units_offset;
  uint32_t bucket_count, entry_count, unit_count;  // capacities
  uint32_t wal_segment_bytes;
  uint32_t expect_parent;

  alignas(64) std::atomic<uint32_t> fence;  // not zero: end yourself
  std::atomic<uint32_t> interception;       // not zero: a postgres saw that its calls come to us
  std::atomic<uint32_t> disk_full;          // not zero: the reserve for WAL is gone, no file of blocks may grow

  alignas(64) std::atomic<uint32_t> doorbell;  // raised with every post; futex of the agent's workers
  std::atomic<uint32_t> workers_asleep;
  std::atomic<uint32_t> slots_used;            // slots ever used, from the front

  alignas(64) std::atomic<uint64_t> wal_seq;   // writes to WAL; futex (low half) of the agent's shipper
  std::atomic<uint64_t> wal_written_upto;
  std::atomic<uint32_t> wal_seq_waiters;
  alignas(64) std::atomic<uint64_t> flushed_seq;  // futex (low half) of those in fdatasync
  std::atomic<uint64_t> wanted_seq;
  std::atomic<uint32_t> flushed_waiters;
  std::atomic<uint64_t> wal_syncs;

  alignas(64) std::atomic<uint32_t> entries_used;
  std::atomic<uint32_t> units_used;

  alignas(64) std::atomic<uint64_t> mail_bits[kProcessSlots / 64];

  // Advice on what will be read soon: entry << 32 | blkno, 0 empty. Lost when full.
  static constexpr uint32_t kHints = 256;
  alignas(64) std::atomic<uint32_t> hint_head;
  std::atomic<uint64_t> hints[kHints];

  // What auxiliary files are signed with (pg/auxiliary_file.h); written by the agent before the first process.
  alignas(64) std::byte auxiliary_key[32];
  std::atomic<uint32_t> auxiliary_ready;  // not zero: the key is there
};
inline constexpr uint64_t kHeaderBytes = 4096;
static_assert(sizeof(ArenaHeader) <= kHeaderBytes);

// Agent and library must agree on every offset: one of another build would read states from the wrong place, and
// holes as zeros. So the version is a fingerprint (FNV-1a) of the layout, and changes by itself.
constexpr uint32_t arena_fingerprint() {
  const size_t facts[] = {
      kProcessSlots, kChunkBlocks, kUnitSize, kDirectoryUnits, sizeof(ArenaHeader), sizeof(ProcessSlot), sizeof(Entry),
      sizeof(BlockCell), offsetof(ArenaHeader, slots_offset), offsetof(ArenaHeader, bucket_count),
      offsetof(ArenaHeader, fence), offsetof(ArenaHeader, disk_full), offsetof(ArenaHeader, doorbell),
      offsetof(ArenaHeader, slots_used), offsetof(ArenaHeader, wal_seq), offsetof(ArenaHeader, wal_seq_waiters),
      offsetof(ArenaHeader, flushed_seq), offsetof(ArenaHeader, flushed_waiters), offsetof(ArenaHeader, entries_used),
      offsetof(ArenaHeader, mail_bits), offsetof(ArenaHeader, hint_head), offsetof(ArenaHeader, hints), offsetof(ArenaHeader, auxiliary_key), offsetof(ArenaHeader, auxiliary_ready),
      offsetof(ProcessSlot, mail), offsetof(ProcessSlot, entry), offsetof(ProcessSlot, blkno), offsetof(Entry, next),
      offsetof(Entry, lock), offsetof(Entry, life), offsetof(Entry, shape), offsetof(Entry, limit),
      offsetof(Entry, first_chunk), offsetof(Entry, directory), offsetof(Entry, size_lsn)};
  uint32_t hash = 2166136261u;
  for (const size_t fact : facts) hash = (hash ^ static_cast<uint32_t>(fact)) * 16777619u;
  return hash;
}
inline constexpr uint32_t kArenaVersion = arena_fingerprint();
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

class Arena {
 public:
  Arena() = default;
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}

  // Fills in the header of a zeroed mapping of `bytes`.
  static void format(void* base, uint64_t bytes, uint32_t wal_segment_bytes);

  explicit operator bool() const { return base_ != nullptr; }
  ArenaHeader& header() const { return *reinterpret_cast<ArenaHeader*>(base_); }
  ProcessSlot& slot(uint32_t index) const { return at<ProcessSlot>(header().slots_offset, index); }
  Entry& entry(uint32_t index) const { return at<Entry>(header().entries_offset, index); }

  // The entry's index, 0 if there is none. find_or_add: 0 only when the arena is full.
  uint32_t find(const EntryKey& key) const;
  uint32_t find_or_add(const EntryKey& key) const;

  // The cell of a block; null if its chunk was never touched. touch: null only when the arena is full, or
  // blkno lies beyond a segment.
  BlockCell* cell(const Entry& entry, uint32_t blkno) const;
  BlockCell* touch_cell(Entry& entry, uint32_t blkno) const;
  BlockCell* chunk_cells(uint32_t unit) const { return &at<BlockCell>(header().units_offset, uint64_t{unit} * kChunkBlocks); }

  uint64_t bytes_used() const;

 private:
  template <typename T>
  T& at(uint64_t offset, uint64_t index) const {
    return *reinterpret_cast<T*>(base_ + offset + index * sizeof(T));
  }
  std::atomic<uint32_t>& directory_slot(uint32_t unit, uint32_t chunk) const;
  uint32_t allocate_units(uint32_t count) const;
  std::atomic<uint32_t>* chunk_slot(Entry& entry, uint32_t chunk) const;

  char* base_ = nullptr;
};

inline BlockCell* Arena::cell(const Entry& entry, uint32_t blkno) const {
  const uint32_t chunk = blkno / kChunkBlocks;
  uint32_t unit = 0;
  if (chunk == 0) {
    unit = entry.first_chunk.load(std::memory_order_acquire);
  } else if (chunk < kChunksPerFile) {
    const uint32_t directory = entry.directory.load(std::memory_order_acquire);
    if (directory != 0) unit = directory_slot(directory, chunk).load(std::memory_order_acquire);
  }
  return unit == 0 ? nullptr : chunk_cells(unit) + blkno % kChunkBlocks;
}
inline std::atomic<uint32_t>& Arena::directory_slot(uint32_t unit, uint32_t chunk) const {
  return at<std::atomic<uint32_t>>(header().units_offset, uint64_t{unit} * (kUnitSize / 4) + chunk);
}

inline EntryKey file_key(const MappedPath& path) {
  if (path.kind == PathKind::kSlruFile) return {EntryKind::kSlruFile, path.sub, 0, 0, 0, path.segno};
  return {EntryKind::kRelFile, path.sub, path.spcnode, path.dbnode, path.relnode, path.segno};
}
inline EntryKey relation_key(uint32_t spcnode, uint32_t dbnode, uint32_t relnode) {
  return {EntryKind::kRelation, 0, spcnode, dbnode, relnode, 0};
}
inline EntryKey database_key(uint32_t spcnode, uint32_t dbnode) { return {EntryKind::kDatabase, 0, spcnode, dbnode, 0, 0}; }
MappedPath path_of(const EntryKey& key);

// --- futexes on shared memory ---
// Sleeps while the word holds `expected`, at most `micros`. Spurious returns are normal.
void futex_wait(const std::atomic<uint32_t>& word, uint32_t expected, uint32_t micros);
void futex_wake(const std::atomic<uint32_t>& word, int count);
// The low half of a 64-bit counter.
inline const std::atomic<uint32_t>& low_half(const std::atomic<uint64_t>& counter) {
  return *reinterpret_cast<const std::atomic<uint32_t>*>(&counter);
}

}  // namespace helium::vfs
