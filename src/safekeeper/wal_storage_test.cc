// WAL on disk: what recovery finds after a crash at any place, truncation, segments, damage.

#include "safekeeper/wal_storage.h"

#include <gtest/gtest.h>

#include <random>

#include "io/durable_file.h"
#include "safekeeper/test_support.h"

namespace helium::safekeeper {
namespace {

using test::kStart;
using test::WalMaker;

std::unique_ptr<WalStorage> open(const test::TempFolder& folder, Lsn verify = kStart, Lsn flushed = kStart) {
  auto storage = WalStorage::open(real_disk(), folder.path(), {verify, flushed});
  EXPECT_TRUE(storage.has_value()) << storage.error().message;
  return storage ? std::move(*storage) : nullptr;
}
void create(const test::TempFolder& folder, Lsn start = kStart) {
  ASSERT_TRUE(WalStorage::create(*real_disk(), folder.path(), start, test::kSystemId, test::kPgVersion).has_value());
}
Bytes segment(const test::TempFolder& folder, uint64_t segno) { return *read_file(segment_path(folder.path(), segno)); }
void patch(const test::TempFolder& folder, Lsn at, ByteView bytes) {
  const auto file = open_file(segment_path(folder.path(), pg::wal_segment_number(at)), O_RDWR);
  ASSERT_TRUE(pwrite_all(*file, bytes, pg::wal_segment_offset(at)));
}

TEST(WalStorage, FindsTheLastCompleteRecordWhereverTheWritingStopped) {
  WalMaker maker(kStart);
  std::vector<Lsn> ends{kStart};
  Bytes wal;
  for (const size_t size : {10, 300, 9000, 1, 20000}) {
    const Bytes record = maker.record(size);
    wal.insert(wal.end(), record.begin(), record.end());
    ends.push_back(maker.end());
  }
  std::mt19937 random(7);
  for (int round = 0; round < 30; ++round) {
    const size_t cut = round == 0 ? wal.size() : random() % wal.size();
    test::TempFolder folder;
    create(folder);
    {
      auto storage = open(folder);
      ASSERT_TRUE(storage->write(ByteView(wal).first(cut)));
      storage->sync();
    }
    const Lsn expected = *std::prev(std::upper_bound(ends.begin(), ends.end(), kStart + cut));
    auto storage = open(folder);
    EXPECT_EQ(storage->record_end(), expected) << "cut at " << cut;
    EXPECT_EQ(storage->end_of_bytes(), expected);
    // It goes on from there.
    ASSERT_TRUE(storage->write(ByteView(wal).subspan(expected - kStart)));
    EXPECT_EQ(storage->record_end(), maker.end());
  }
}

TEST(WalStorage, WalOfAnotherVersionIsRefusedAtItsFirstPage) {
  WalMaker maker(kStart);
  const Bytes wal = maker.record(20000);
  for (const int wanted : {15, 17}) {
    test::TempFolder folder;
    create(folder);
    auto storage = WalStorage::open(real_disk(), folder.path(),
                                    {.verify_lsn = kStart, .flushed_lsn = kStart, .is_exact = true, .pg_version = wanted});
    ASSERT_TRUE(storage.has_value());
    const Status written = (*storage)->write(wal);
    if (wanted == test::kPgVersion) {
      EXPECT_TRUE(written.has_value());
      continue;
    }
    ASSERT_FALSE(written.has_value());
    EXPECT_NE(written.error().message.find("is of PostgreSQL 15, this is WAL of 17"), std::string::npos)
        << written.error().message;
    EXPECT_EQ((*storage)->record_end(), kStart) << "nothing of it counts";
  }
}

// The real disk, with a count of syncs of files that are open for writing.
class CountingDisk : public Disk {
 public:
  int syncs = 0;

  Result<std::unique_ptr<WritableFile>> create_file(const std::filesystem::path& path) override {
    return disk_->create_file(path);
  }
  Status rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return disk_->rename(from, to);
  }
  Status remove_file(const std::filesystem::path& path) override { return disk_->remove_file(path); }
  Status make_folder(const std::filesystem::path& path) override { return disk_->make_folder(path); }
  Status sync_folder(const std::filesystem::path& path) override { return disk_->sync_folder(path); }
  Result<std::unique_ptr<OpenFile>> open_file(const std::filesystem::path& path, Access access) override {
    HELIUM_ASSIGN(auto file, disk_->open_file(path, access));
    return std::make_unique<File>(std::move(file), *this);
  }

 private:
  class File : public OpenFile {
   public:
    File(std::unique_ptr<OpenFile> file, CountingDisk& disk) : file_(std::move(file)), disk_(disk) {}
    Status read_at(uint64_t offset, MutableByteView to) const override { return file_->read_at(offset, to); }
    Status write_at(uint64_t offset, ByteView bytes) override { return file_->write_at(offset, bytes); }
    void sync() override {
      file_->sync();
      ++disk_.syncs;
    }

   private:
    const std::unique_ptr<OpenFile> file_;
    CountingDisk& disk_;
  };
  const std::shared_ptr<Disk> disk_ = real_disk();
};

// A process that is killed between a write and its sync leaves WAL in the kernel's memory. Its successor reads it and
// counts it as flushed, in votes and answers: it must not vanish with the power afterwards.
TEST(WalStorage, WhatRecoveryFindsBehindTheSyncedPositionIsSyncedBeforeItCounts) {
  test::TempFolder folder;
  create(folder);
  WalMaker maker(kStart);
  const auto disk = std::make_shared<CountingDisk>();
  {
    auto storage = open(folder);
    ASSERT_TRUE(storage->write(maker.records(20'000'000, 1'000'000)));  // two segments; the first is synced on the way
  }
  auto storage = WalStorage::open(disk, folder.path(), {kStart, kStart});
  ASSERT_TRUE(storage.has_value());
  EXPECT_EQ((*storage)->record_end(), maker.end());
  EXPECT_EQ(disk->syncs, 2);
  disk->syncs = 0;
  storage = WalStorage::open(disk, folder.path(), {kStart, maker.end()});
  ASSERT_TRUE(storage.has_value());
  EXPECT_EQ(disk->syncs, 0) << "it was synced before for sure";
}

// While one batch is synced the next one is written; what is durable then is the first.
TEST(WalStorage, ASyncBesideWritesCoversWhatWasWrittenBeforeItAndIsVoidAfterATruncation) {
  test::TempFolder folder;
  create(folder);
  WalMaker maker(kStart);
  auto storage = open(folder);
  ASSERT_TRUE(storage->write(maker.records(1000, 100)));
  const Lsn first = maker.end();
  const auto pending = storage->begin_sync();
  ASSERT_TRUE(storage->write(maker.records(5000, 100)));
  const uint64_t behind = maker.end() - first;
  storage->run_sync(pending);
  EXPECT_EQ(storage->finish_sync(pending), first);
  EXPECT_EQ(storage->unsynced_bytes(), behind);
  EXPECT_EQ(storage->record_end(), maker.end());

  const auto outrun = storage->begin_sync();
  ASSERT_TRUE(storage->truncate(first));
  storage->run_sync(outrun);
  EXPECT_EQ(storage->finish_sync(outrun), std::nullopt);
  EXPECT_EQ(storage->begin_sync().segment, nullptr);
}

TEST(WalStorage, TruncationLeavesZerosUpToTheEndOfAllThatWasWrittenAlsoInLaterSegments) {
  for (const bool reopened : {false, true}) {
    test::TempFolder folder;
    create(folder);
    WalMaker maker(kStart);
    auto storage = open(folder);
    ASSERT_TRUE(storage->write(maker.records(1000, 100)));
    const Lsn fork = maker.end();
    WalMaker old = maker.fork('o');
    const Bytes tail = old.records(33 * 1024 * 1024, 1'000'000);
    for (size_t at = 0; at < tail.size(); at += 1 << 20) {
      ASSERT_TRUE(storage->write(ByteView(tail).subspan(at, std::min<size_t>(1 << 20, tail.size() - at))));
      storage->sync();
    }
    if (reopened) storage = open(folder);
    ASSERT_TRUE(storage->truncate(fork));
    EXPECT_EQ(storage->record_end(), fork);
    const Bytes first = segment(folder, 1);
    EXPECT_TRUE(std::all_of(first.begin() + pg::wal_segment_offset(fork), first.end(),
                            [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_FALSE(std::filesystem::exists(segment_path(folder.path(), 2)));
    EXPECT_FALSE(std::filesystem::exists(segment_path(folder.path(), 3)));
    // An equally long record of the new term: nothing of the old one shines through.
    WalMaker fresh = maker.fork('n');
    ASSERT_TRUE(storage->write(fresh.record(1'000'000)));
    storage->sync();
    storage.reset();
    EXPECT_EQ(open(folder)->record_end(), fresh.end());
  }
}

TEST(WalStorage, DamageInSyncedWalIsToldWithSegmentAndOffset) {
  test::TempFolder folder;
  create(folder);
  WalMaker maker(kStart);
  auto storage = open(folder);
  ASSERT_TRUE(storage->write(maker.records(100'000, 100)));
  const Lsn broken = maker.end();
  ASSERT_TRUE(storage->write(maker.records(100'000, 100)));
  storage->sync();
  storage.reset();
  patch(folder, broken + 40, as_bytes("damage"));
  const auto opened = WalStorage::open(real_disk(), folder.path(), {kStart, maker.end()});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(opened.error().message.find(
                fmt::format("segment 000000010000000000000001 offset {}", pg::wal_segment_offset(broken))),
            std::string::npos)
      << opened.error().message;
  // Behind what was synced for sure, it is a torn end.
  EXPECT_EQ(open(folder, kStart, broken)->record_end(), broken);
}

TEST(WalStorage, DamageIsFoundWithoutAHintIfMoreThanABatchFollows) {
  test::TempFolder folder;
  create(folder);
  WalMaker maker(kStart);
  auto storage = open(folder);
  ASSERT_TRUE(storage->write(maker.records(1000, 100)));
  const Lsn broken = maker.end();
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(storage->write(maker.records(1 << 20, 5000)));
    storage->sync();
  }
  storage.reset();
  patch(folder, broken + 40, as_bytes("damage"));
  EXPECT_EQ(WalStorage::open(real_disk(), folder.path(), {kStart, kStart}).error().code, ErrorCode::kCorrupt);
}

TEST(WalStorage, ALongTornRecordIsNoDamage) {
  test::TempFolder folder;
  create(folder);
  WalMaker maker(kStart);
  auto storage = open(folder);
  ASSERT_TRUE(storage->write(maker.record(10)));
  const Lsn before = maker.end();
  const Bytes huge = maker.record(12 << 20);
  for (size_t at = 0; at + (1 << 20) < huge.size(); at += 1 << 20) {
    ASSERT_TRUE(storage->write(ByteView(huge).subspan(at, 1 << 20)));
    storage->sync();
  }
  storage.reset();
  EXPECT_EQ(open(folder)->record_end(), before);
}

TEST(WalStorage, RecoveryMayBeginNearTheLastSegment) {
  test::TempFolder folder;
  create(folder);
  WalMaker maker(kStart);
  auto storage = open(folder);
  const Bytes wal = maker.records(20 * 1024 * 1024, 100'000);
  for (size_t at = 0; at < wal.size(); at += 1 << 20) {
    ASSERT_TRUE(storage->write(ByteView(wal).subspan(at, std::min<size_t>(1 << 20, wal.size() - at))));
    storage->sync();
  }
  const Lsn verify = storage->verify_lsn();
  EXPECT_EQ(pg::wal_segment_number(verify), 2u);
  storage.reset();
  EXPECT_EQ(open(folder, verify, maker.end())->record_end(), maker.end());
}

TEST(WalStorage, WhatIsNoWalIsRefusedAndForgotten) {
  test::TempFolder folder;
  create(folder);
  WalMaker maker(kStart);
  auto storage = open(folder);
  ASSERT_TRUE(storage->write(maker.record(100)));
  const Lsn end = maker.end();
  EXPECT_EQ(storage->write(Bytes(500, std::byte{0x77})).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(storage->record_end(), end);
  EXPECT_EQ(storage->end_of_bytes(), end);
  ASSERT_TRUE(storage->write(maker.record(100)));
  EXPECT_EQ(storage->record_end(), maker.end());
}

TEST(WalStorage, EveryPlaceOfAPageCanBeTheStart) {
  for (const uint64_t at : {0x1000000u + 40u, 0x1002000u, 0x1002018u, 0x1003ff8u, 0x2000000u, 0x1ffe000u}) {
    test::TempFolder folder;
    create(folder, Lsn(at));
    WalMaker maker{Lsn(at)};
    {
      auto storage = open(folder, Lsn(at), Lsn(at));
      EXPECT_EQ(storage->record_end(), Lsn(at));
      ASSERT_TRUE(storage->truncate(Lsn(at)));
      ASSERT_TRUE(storage->write(maker.records(20000, 50)));
      storage->sync();
    }
    EXPECT_EQ(open(folder, Lsn(at), Lsn(at))->record_end(), maker.end()) << to_string(Lsn(at));
  }
}

// Method: the next segment's temporary name leads to /dev/full, until the first attempt has removed it.
TEST(WalStorage, AFullDiskIsAnOrdinaryErrorAndWritingGoesOnWhenThereIsRoom) {
  test::TempFolder folder;
  create(folder);
  WalMaker maker(kStart);
  auto storage = open(folder);
  std::filesystem::create_symlink("/dev/full", segment_path(folder.path(), 2).string() + ".tmp");
  Status written;
  Lsn before;
  Bytes record;
  while (written) {
    before = maker.end();
    record = maker.record(500'000);
    written = storage->write(record);
    storage->sync();
  }
  EXPECT_EQ(written.error().code, ErrorCode::kNoSpace) << written.error().message;
  EXPECT_NE(written.error().message.find("000000010000000000000002"), std::string::npos) << written.error().message;
  EXPECT_EQ(storage->record_end(), before);
  EXPECT_EQ(storage->end_of_bytes(), before);
  ASSERT_TRUE(storage->write(record));
  EXPECT_EQ(storage->record_end(), maker.end());
  storage->sync();
  storage.reset();
  EXPECT_EQ(open(folder)->record_end(), maker.end());
}

TEST(WalStorage, TheNextSegmentIsPreparedOnceHalfOfOneIsWritten) {
  test::TempFolder folder;
  create(folder);
  WalMaker maker(kStart);
  auto storage = open(folder);
  ASSERT_TRUE(storage->write(maker.record(100)));
  EXPECT_FALSE(storage->wants_next_segment());
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(storage->write(maker.records(1 << 20, 5000)));
  EXPECT_TRUE(storage->wants_next_segment());
  EXPECT_FALSE(storage->wants_next_segment()) << "asked once";
  ASSERT_TRUE(storage->prepare_next_segment());
  EXPECT_EQ(std::filesystem::file_size(segment_path(folder.path(), 2)), pg::kWalSegmentSize);
}

}  // namespace
}  // namespace helium::safekeeper
