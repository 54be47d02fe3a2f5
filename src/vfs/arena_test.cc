#include "vfs/arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace helium::vfs {
namespace {

class ArenaTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kBytes = uint64_t{16} << 20;
  void SetUp() override {
    base_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(base_, MAP_FAILED);
    Arena::format(base_, kBytes, 16 << 20);
    arena_ = Arena(base_);
  }
  void TearDown() override { munmap(base_, kBytes); }

  void* base_ = nullptr;
  Arena arena_;
};

EntryKey file(uint32_t relnode) { return {EntryKind::kRelFile, 0, 1663, 5, relnode, 0}; }

TEST_F(ArenaTest, PartsLieBehindEachOtherWithinTheArena) {
  const ArenaHeader& header = arena_.header();
  EXPECT_EQ(header.magic, kArenaMagic);
  EXPECT_GE(header.heads_offset, header.slots_offset + kProcessSlots * sizeof(ProcessSlot));
  EXPECT_GE(header.entries_offset, header.heads_offset + header.bucket_count * 4);
  EXPECT_GE(header.units_offset, header.entries_offset + header.entry_count * sizeof(Entry));
  EXPECT_LE(header.units_offset + uint64_t{header.unit_count} * kUnitSize, kBytes);
}

TEST_F(ArenaTest, AnEntryIsFoundByItsWholeKey) {
  EXPECT_EQ(arena_.find(file(1)), 0u);
  const uint32_t index = arena_.find_or_add(file(1));
  EXPECT_NE(index, 0u);
  EXPECT_EQ(arena_.find(file(1)), index);
  EXPECT_EQ(arena_.find_or_add(file(1)), index);
  EntryKey fork = file(1), segment = file(1);
  fork.sub = 2;
  segment.segno = 1;
  EXPECT_EQ(arena_.find(fork), 0u);
  EXPECT_EQ(arena_.find(segment), 0u);
  EXPECT_EQ(arena_.find(relation_key(1663, 5, 1)), 0u);
}

TEST_F(ArenaTest, CellsOfAFileLieApartAndStay) {
  Entry& entry = arena_.entry(arena_.find_or_add(file(1)));
  EXPECT_EQ(arena_.cell(entry, 0), nullptr);
  std::set<BlockCell*> cells;
  for (const uint32_t blkno : {0u, 1u, 63u, 64u, 65u, 4096u, kSegmentBlocks - 1}) {
    BlockCell* cell = arena_.touch_cell(entry, blkno);
    ASSERT_NE(cell, nullptr);
    EXPECT_TRUE(cells.insert(cell).second);
    EXPECT_EQ(arena_.cell(entry, blkno), cell);
  }
  EXPECT_EQ(arena_.touch_cell(entry, kSegmentBlocks), nullptr);
  EXPECT_EQ(arena_.cell(entry, kSegmentBlocks), nullptr);
  EXPECT_EQ(arena_.cell(entry, UINT32_MAX), nullptr);
}

TEST_F(ArenaTest, AFullArenaSaysSoAndStaysWhole) {
  uint32_t relnode = 1;
  while (arena_.find_or_add(file(relnode)) != 0) ++relnode;
  EXPECT_EQ(arena_.find_or_add(file(relnode + 1)), 0u);
  EXPECT_NE(arena_.find(file(1)), 0u);
  Entry& entry = arena_.entry(arena_.find(file(1)));
  Entry& other = arena_.entry(arena_.find(file(2)));
  uint32_t blkno = 0;
  while (blkno < kSegmentBlocks && arena_.touch_cell(entry, blkno) != nullptr) blkno += kChunkBlocks;
  for (uint32_t i = 0; i < kSegmentBlocks && arena_.touch_cell(other, i) != nullptr; i += kChunkBlocks) {
  }
  for (uint32_t i = 3; i < relnode; ++i) arena_.touch_cell(arena_.entry(arena_.find(file(i))), 0);
  Entry& late = arena_.entry(arena_.find(file(relnode - 1)));
  EXPECT_EQ(arena_.touch_cell(late, kSegmentBlocks - 1), nullptr);
  EXPECT_LE(arena_.bytes_used(), kBytes);
}

// Many processes meet the same new files and blocks at once: each gets the same one.
TEST_F(ArenaTest, RacingProcessesAgree) {
  constexpr int kThreads = 4;
  constexpr uint32_t kFiles = 300;
  std::vector<std::vector<std::pair<uint32_t, BlockCell*>>> seen(kThreads);
  std::vector<std::thread> threads;
  std::atomic<bool> go = false;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      while (!go.load()) {
      }
      for (uint32_t i = 1; i <= kFiles; ++i) {
        const uint32_t index = arena_.find_or_add(file(i));
        seen[static_cast<size_t>(t)].emplace_back(index, arena_.touch_cell(arena_.entry(index), 64 + i));
      }
    });
  go.store(true);
  for (std::thread& thread : threads) thread.join();
  for (const auto& other : seen) EXPECT_EQ(other, seen.front());
}

// The table of docs/formats/compute_shared_memory.md.
static_assert(offsetof(ArenaHeader, agent_pid) == 12 && offsetof(ArenaHeader, units_offset) == 48);
static_assert(offsetof(ArenaHeader, expect_parent) == 72 && offsetof(ArenaHeader, fence) == 128);
static_assert(offsetof(ArenaHeader, disk_full) == 136);
static_assert(offsetof(ArenaHeader, doorbell) == 192 && offsetof(ArenaHeader, wal_seq) == 256);
static_assert(offsetof(ArenaHeader, flushed_seq) == 320 && offsetof(ArenaHeader, wal_syncs) == 344);
static_assert(offsetof(ArenaHeader, entries_used) == 384 && offsetof(ArenaHeader, mail_bits) == 448);
static_assert(offsetof(ArenaHeader, hint_head) == 960 && offsetof(ArenaHeader, hints) == 968);
static_assert(offsetof(ArenaHeader, auxiliary_key) == 3072 && offsetof(ArenaHeader, auxiliary_ready) == 3104);
static_assert(offsetof(ProcessSlot, mail) == 4 && offsetof(ProcessSlot, blkno) == 16);
static_assert(offsetof(Entry, flags) == 24 && offsetof(Entry, shape) == 36 && offsetof(Entry, size_lsn) == 56);

TEST(BlockWord, TheWorkedExampleOfTheDocument) {
  const BlockWord word{0x18000B};
  EXPECT_EQ(word.state(), BlockState::kPresent);
  EXPECT_EQ(word.pins(), 1u);
  EXPECT_TRUE(word.written());
  EXPECT_EQ(word.generation(), 1u);
}

TEST(MailWord, FieldsComeBack) {
  const MailWord word = MailWord::make(0xFFFF, MailState::kDone, 28);
  EXPECT_EQ(word.ticket(), 0xFFFF);
  EXPECT_EQ(word.state(), MailState::kDone);
  EXPECT_EQ(word.error(), 28);
}

}  // namespace
}  // namespace helium::vfs
