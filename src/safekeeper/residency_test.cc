// Goal: WAL that leaves memory and disk is there when it is needed, and nothing that was answered is forgotten, whatever
// step a crash or a failing store comes at.
// Method: real files in a folder, a store in memory; disk and store that give up at the n-th operation, for every n.
// (Loss of unsynced bytes at these steps: the simulation, src/sim.)

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <thread>

#include "io/durable_file.h"
#include "safekeeper/offloader.h"
#include "safekeeper/test_support.h"
#include "safekeeper/timeline_reader.h"
#include "store/memory_store.h"

namespace helium::safekeeper {
namespace {

namespace fs = std::filesystem;
using test::kStart;
using test::WalMaker;
using Residency = Timeline::Residency;

constexpr uint64_t kSegment = pg::kWalSegmentSize;
constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

// The real disk, until the power goes before the n-th change: from then on nothing works.
class CutDisk : public Disk {
 public:
  explicit CutDisk(uint64_t changes = kNever) : left_(changes) {}
  bool is_cut() const { return cut_; }

  Result<std::unique_ptr<WritableFile>> create_file(const fs::path& path) override {
    HELIUM_TRY(step());
    return real_->create_file(path);
  }
  Status rename(const fs::path& from, const fs::path& to) override {
    HELIUM_TRY(step());
    return real_->rename(from, to);
  }
  Status remove_file(const fs::path& path) override {
    HELIUM_TRY(step());
    return real_->remove_file(path);
  }
  Status make_folder(const fs::path& path) override { return real_->make_folder(path); }
  Status sync_folder(const fs::path& path) override {
    HELIUM_TRY(step());
    return real_->sync_folder(path);
  }
  Status create_filled(const fs::path& path, std::span<const Piece> pieces, uint64_t size) override {
    HELIUM_TRY(step());
    return real_->create_filled(path, pieces, size);
  }
  bool exists(const fs::path& path) override { return !cut_ && real_->exists(path); }

 private:
  Status step() {
    if (left_ == 0) cut_ = true;
    if (cut_) return fail(ErrorCode::kIo, "the power is out");
    --left_;
    return {};
  }
  const std::shared_ptr<Disk> real_ = real_disk();
  uint64_t left_;
  bool cut_ = false;
};

// One timeline at one safekeeper, what was written to it, and what it promised.
class Box {
 public:
  Box() {
    control_.safekeeper_id = 1;
    control_.id = {random_id<TenantId>(), random_id<TimelineId>()};
    control_.pg_version = test::kPgVersion;
    control_.system_id = test::kSystemId;
    control_.acceptor.membership.generation = 1;
    control_.acceptor.membership.members = {{1, "127.0.0.1", 1, 2}};
    control_.acceptor.start_lsn = control_.acceptor.commit_lsn = kStart;
    control_.flushed_lsn = control_.verify_lsn = control_.local_start_lsn = kStart;
    EXPECT_TRUE(Timeline::create({}, folder(), control_));
  }

  fs::path folder() const { return temp_.path() / "tl"; }
  Status open(std::shared_ptr<Disk> disk = real_disk()) {
    timeline.reset();
    HELIUM_ASSIGN(timeline, Timeline::open({.disk = std::move(disk), .store = store}, folder(), 1, metrics));
    return {};
  }
  // As after a crash: what a destructor would write is not written.
  Status reopen_after_crash() {
    const fs::path copy = temp_.path() / "copy";
    fs::remove_all(copy);
    fs::copy(folder(), copy, fs::copy_options::recursive);
    timeline.reset();
    fs::remove_all(folder());
    fs::rename(copy, folder());
    return open();
  }

  // A new term, as a proposer would begin it.
  Status elect() {
    const uint64_t term = promised_term + 1;
    HELIUM_ASSIGN(const wire::VoteReply vote, timeline->vote({.generation = 1, .term = term, .proposer = proposer_}));
    promised_term = term;
    EXPECT_EQ(vote.flush_lsn, acknowledged) << "it answers with all that it promised, and nothing else";
    history = vote.history;
    history.push_back({term, vote.flush_lsn});
    HELIUM_ASSIGN(const wire::AppendReply adopted,
                  timeline->elected({.generation = 1, .term = term, .proposer = proposer_, .history = history}));
    EXPECT_EQ(adopted.flush_lsn, acknowledged);
    // The only member is the majority: where its term starts is committed.
    HELIUM_TRY(timeline->append({.generation = 1, .term = term, .wants_reply = true, .start_lsn = acknowledged,
                                 .commit_lsn = acknowledged, .wal = {}}));
    // What was not acknowledged is gone.
    wal.resize(acknowledged - kStart);
    maker = acknowledged_maker;
    return {};
  }
  // Writes and commits WAL; acknowledged counts what the timeline said is durable.
  Status write(uint64_t bytes) {
    const Lsn start = maker.end();
    const Bytes made = maker.records(bytes, 40'000);
    wal.insert(wal.end(), made.begin(), made.end());
    for (uint64_t at = 0; at < made.size();) {
      const ByteView part = ByteView(made).subspan(at, std::min<uint64_t>(wire::kMaxAppendBytes, made.size() - at));
      HELIUM_TRY(timeline->append({.generation = 1, .term = promised_term, .wants_reply = true, .start_lsn = start + at,
                                   .commit_lsn = at + part.size() == made.size() ? maker.end() : Lsn(), .wal = part}));
      at += part.size();
    }
    const wire::AppendReply reply = timeline->flush();
    EXPECT_EQ(reply.flush_lsn, maker.end());
    EXPECT_EQ(reply.commit_lsn, maker.end());
    acknowledged = reply.flush_lsn;
    acknowledged_maker = maker;
    return {};
  }

  // Until nothing more happens.
  void rounds(Age idle_after = Age(1'000'000), uint64_t keep_bytes = 0) {
    Offloader offloader({.safekeeper_id = 1, .keep_bytes = keep_bytes, .idle_after = idle_after}, real_time(), metrics);
    while (offloader.round(*timeline, {})) {
    }
  }
  size_t segments_on_disk() const {
    size_t count = 0;
    for (const auto& file : fs::directory_iterator(folder())) count += parse_segment_name(file.path().filename().string()).has_value();
    return count;
  }
  // Everything from the first LSN on, by a reader.
  Bytes read_all(uint64_t piece = 300'000) {
    TimelineReader reader(*timeline);
    Bytes all(acknowledged - kStart);
    for (uint64_t at = 0; at < all.size(); at += piece) {
      const Status got = reader.read(kStart + at, MutableByteView(all).subspan(at, std::min<uint64_t>(piece, all.size() - at)));
      EXPECT_TRUE(got) << got.error().message;
      if (!got) break;
    }
    return all;
  }
  void check_all_is_there() {
    EXPECT_GE(timeline->view().term, promised_term);
    EXPECT_EQ(timeline->view().flush_lsn, acknowledged);
    const Bytes all = read_all();
    EXPECT_TRUE(std::ranges::equal(all, ByteView(wal).first(all.size())));
  }

  Metrics metrics;
  std::shared_ptr<MemoryStore> store = std::make_shared<MemoryStore>();
  std::shared_ptr<Timeline> timeline;
  uint64_t promised_term = 0;
  TermHistory history;
  Lsn acknowledged = kStart;
  WalMaker maker{kStart}, acknowledged_maker{kStart};
  Bytes wal;  // from kStart on

 private:
  test::TempFolder temp_;
  ControlFile control_;
  const ProposerId proposer_ = random_id<ProposerId>();
};

TEST(TimelineResidency, ANewTimelineIsAControlFileUntilSomebodyNeedsItsWal) {
  Box box;
  ASSERT_TRUE(box.open());
  EXPECT_EQ(box.timeline->view().residency, Residency::kEvicted);
  EXPECT_EQ(box.timeline->view().flush_lsn, kStart);
  EXPECT_EQ(box.segments_on_disk(), 0u);
  // A tool that begins at the first segment's start gets its headers.
  TimelineReader reader(*box.timeline);
  Bytes head(pg::wal_segment_offset(kStart));
  ASSERT_TRUE(reader.read(Lsn(kStart.bytes() - head.size()), head));
  EXPECT_NE(head, Bytes(head.size()));
  EXPECT_EQ(box.segments_on_disk(), 1u);
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(100'000));
  box.check_all_is_there();
}

TEST(TimelineResidency, FinishedSegmentsAreOffloadedAndTrimmedAndReadBackFromTheStore) {
  Box box;
  ASSERT_TRUE(box.open());
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(3 * kSegment));
  box.rounds();
  const Timeline::View view = box.timeline->view();
  EXPECT_EQ(view.backup_lsn, pg::wal_segment_start(pg::wal_segment_number(box.acknowledged)));
  EXPECT_EQ(box.store->list("")->size(), pg::wal_segment_number(box.acknowledged) - pg::wal_segment_number(kStart));
  // Recovery's own segment stays; on the disk's word of the last control file that is perhaps not the last one.
  EXPECT_LT(box.segments_on_disk(), 5u);
  box.check_all_is_there();
  // Restart, clean and after a crash; the newest control file lets trimming go on.
  ASSERT_TRUE(box.open());
  EXPECT_TRUE(box.timeline->view().backup_lsn == view.backup_lsn);
  box.rounds();
  EXPECT_EQ(box.segments_on_disk(), 1u);
  EXPECT_EQ(box.timeline->view().local_start_lsn, view.backup_lsn);
  box.check_all_is_there();
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(1000));
  ASSERT_TRUE(box.reopen_after_crash());
  box.check_all_is_there();
}

TEST(TimelineResidency, WithoutAStoreNothingEverLeavesTheDisk) {
  Box box;
  box.store.reset();
  ASSERT_TRUE(box.open());
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(2 * kSegment));
  box.rounds();
  EXPECT_EQ(box.segments_on_disk(), 3u);
  box.rounds(Age(0));
  EXPECT_EQ(box.timeline->view().residency, Residency::kClosed) << "but memory";
  EXPECT_EQ(box.segments_on_disk(), 3u);
  box.check_all_is_there();
  EXPECT_EQ(box.timeline->view().residency, Residency::kClosed) << "reading needs no open files for writing";
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(1000));
  box.check_all_is_there();
}

TEST(TimelineResidency, AnIdleTimelineLeavesTheDiskAndComesBackByItself) {
  Box box;
  ASSERT_TRUE(box.open());
  for (int life = 0; life < 3; ++life) {
    ASSERT_TRUE(box.elect());
    ASSERT_TRUE(box.write(kSegment + 12345));
    box.rounds(Age(0));
    EXPECT_EQ(box.timeline->view().residency, Residency::kEvicted);
    EXPECT_EQ(box.segments_on_disk(), 0u);
    EXPECT_EQ(box.timeline->view().flush_lsn, box.acknowledged);
    if (life == 1) {
      ASSERT_TRUE(box.open());  // a restart does not wake it
      EXPECT_EQ(box.timeline->view().residency, Residency::kEvicted);
    }
    if (life == 2) {
      box.check_all_is_there();  // a reader does
      EXPECT_EQ(box.timeline->view().residency, Residency::kOpen);
    }
    size_t partials = 0;
    const auto objects = *box.store->list("");
    for (const ObjectInfo& object : objects) partials += object.key.ends_with(".partial");
    EXPECT_LE(partials, 1u) << "old ones are cleaned up";
  }
}

TEST(TimelineResidency, NobodyIsPutToSleepWhileSomebodyWrites) {
  Box box;
  ASSERT_TRUE(box.open());
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(1000));
  {
    const Timeline::Writer writer(*box.timeline);
    box.rounds(Age(0));
    EXPECT_EQ(box.timeline->view().residency, Residency::kOpen);
  }
  box.rounds(Age(0));
  EXPECT_EQ(box.timeline->view().residency, Residency::kEvicted);
}

TEST(TimelineResidency, WhatWasClosedCleanlyIsNotReadBeforeItsFirstUse) {
  Box box;
  box.store.reset();
  ASSERT_TRUE(box.open());
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(100'000));
  ASSERT_TRUE(box.open());  // the destructor closed it
  EXPECT_EQ(box.timeline->view().residency, Residency::kClosed);
  box.check_all_is_there();
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.reopen_after_crash()) << "the first use made it unclean";
  EXPECT_EQ(box.timeline->view().residency, Residency::kOpen) << "it was read";
  box.check_all_is_there();
}

// Goal: an acceptor whose WAL was damaged while it was closed does not vote with it.
TEST(TimelineResidency, DamageUnderACleanCloseIsFoundAtTheFirstUse) {
  Box box;
  box.store.reset();
  ASSERT_TRUE(box.open());
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(300'000));
  box.rounds(Age(0));
  ASSERT_EQ(box.timeline->view().residency, Residency::kClosed);
  {
    const auto file = open_file(segment_path(box.folder(), pg::wal_segment_number(kStart)), O_RDWR);
    ASSERT_TRUE(pwrite_all(*file, as_bytes("damage"), pg::wal_segment_offset(kStart) + 100'000));
  }
  const wire::VoteRequest request{.generation = 1, .term = 50, .proposer = random_id<ProposerId>()};
  EXPECT_EQ(box.timeline->vote(request).error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(box.timeline->recovered()) << "nobody hears of it any more";
}

// Goal: a member whose files vanished refuses; it does not begin anew.
TEST(TimelineResidency, AMissingFirstSegmentIsDamage) {
  Box box;
  ASSERT_TRUE(box.open());
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(1000));
  const fs::path copy = box.folder().string() + ".copy";
  fs::copy(box.folder(), copy, fs::copy_options::recursive);
  fs::remove(segment_path(copy, pg::wal_segment_number(kStart)));
  box.timeline.reset();
  fs::remove_all(box.folder());
  fs::rename(copy, box.folder());
  EXPECT_EQ(box.open().error().code, ErrorCode::kCorrupt);
}

TEST(TimelineResidency, WhatIsSaidToBeInTheStoreIsLookedForBeforeItLeaves) {
  Box box;
  ASSERT_TRUE(box.open());
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(3 * kSegment));
  box.timeline->note_backup(Lsn(kNever));
  EXPECT_LE(box.timeline->view().backup_lsn, box.acknowledged) << "never above what is committed";
  box.rounds();
  box.rounds(Age(0));
  ASSERT_TRUE(box.open());
  box.rounds(Age(0));
  EXPECT_EQ(box.segments_on_disk(), 4u);
  box.check_all_is_there();
}

TEST(TimelineResidency, OtherBytesInTheStoreAreNeitherOverwrittenNorTrusted) {
  Box box;
  const Bytes others(kSegment, std::byte{'x'});
  ASSERT_TRUE(box.open());
  const std::string key = fmt::format("wal/{}/{}/{}", to_string(box.timeline->id().tenant),
                                      to_string(box.timeline->id().timeline),
                                      pg::wal_segment_name(1, pg::wal_segment_number(kStart)));
  ASSERT_TRUE(box.store->put(key, others, PutMode::kReplace));
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(2 * kSegment));
  box.rounds();
  EXPECT_FALSE(box.timeline->view().backup_lsn.is_valid());
  EXPECT_EQ(box.segments_on_disk(), 3u);
  EXPECT_EQ(*box.store->get(key), others);
}

TEST(TimelineResidency, AnAcceptorWhosePartIsDamagedInTheStoreDoesNotAnswer) {
  Box box;
  ASSERT_TRUE(box.open());
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(100'000));
  box.rounds(Age(0));
  const auto objects = box.store->list("");
  ASSERT_EQ(objects->size(), 1u);
  const Bytes good = *box.store->get(objects->front().key);
  Bytes damaged = good;
  damaged[good.size() - 100] ^= std::byte{1};
  const wire::VoteRequest request{.generation = 1, .term = 50, .proposer = random_id<ProposerId>()};

  ASSERT_TRUE(box.store->put(objects->front().key, damaged, PutMode::kReplace));
  EXPECT_EQ(box.timeline->vote(request).error().code, ErrorCode::kCorrupt);
  ASSERT_TRUE(box.store->remove(objects->front().key));
  EXPECT_EQ(box.timeline->vote(request).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(box.timeline->view().term, box.promised_term) << "nothing was promised";
  ASSERT_TRUE(box.store->put(objects->front().key, good, PutMode::kReplace));
  ASSERT_TRUE(box.elect());
  box.check_all_is_there();
}

// Goal: a reader gets every byte while segments leave under it.
TEST(TimelineResidency, AReaderGoesOnWhileWalIsTrimmedUnderIt) {
  Box box;
  ASSERT_TRUE(box.open());
  ASSERT_TRUE(box.elect());
  ASSERT_TRUE(box.write(4 * kSegment));
  ASSERT_TRUE(box.open());
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) {
      const Bytes all = box.read_all(100'000);
      EXPECT_TRUE(std::ranges::equal(all, ByteView(box.wal).first(all.size())));
    }
  });
  for (int i = 0; i < 4; ++i) {
    box.rounds(Age(0));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  stop = true;
  reader.join();
  box.rounds(Age(0));
  EXPECT_EQ(box.segments_on_disk(), 0u);
  box.check_all_is_there();
}

// All that can happen to a timeline, in one life. Ends early at the first error.
void live(Box& box, const std::shared_ptr<Disk>& disk) {
  if (!box.open(disk)) return;
  if (!box.elect()) return;
  if (!box.write(kSegment + 500'000)) return;
  box.rounds();           // offload
  box.rounds(Age(0));     // trim, evict
  box.check_all_is_there();  // wake
  if (!box.elect()) return;
  if (!box.write(100'000)) return;
  box.rounds(Age(0));
}

TEST(TimelineResidency, ACrashAtAnyStepLosesNothingAndForgetsNoPromise) {
  uint64_t steps = 0;
  for (bool finished = false; !finished; ++steps) {
    SCOPED_TRACE(testing::Message() << "power cut before disk change " << steps);
    Box box;
    const auto disk = std::make_shared<CutDisk>(steps);
    {
      // Expectations inside this life are void once the power is out.
      testing::TestPartResultArray ignored;
      const testing::ScopedFakeTestPartResultReporter reporter(
          testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &ignored);
      live(box, disk);
    }
    finished = !disk->is_cut();
    const Status opened = box.open();
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_GE(box.timeline->view().flush_lsn, box.acknowledged);
    box.acknowledged = box.timeline->view().flush_lsn;
    box.acknowledged_maker = box.maker;
    box.check_all_is_there();
    // And it goes on to live.
    box.promised_term = box.timeline->view().term;
    box.wal.resize(box.acknowledged - kStart);
    ASSERT_TRUE(box.elect());
    box.rounds(Age(0));
    ASSERT_TRUE(box.open());
    box.rounds(Age(0));
    EXPECT_EQ(box.segments_on_disk(), 0u);
    box.check_all_is_there();
  }
  EXPECT_GT(steps, 20u);
}

TEST(TimelineResidency, AStoreThatFailsAtAnyStepLosesNothing) {
  uint64_t steps = 0;
  for (bool finished = false; !finished; ++steps) {
    SCOPED_TRACE(testing::Message() << "the store fails from operation " << steps << " on");
    Box box;
    uint64_t left = steps;
    bool failed = false;
    box.store->before = [&](MemoryStore::Operation, std::string_view) -> Status {
      if (left == 0) {
        failed = true;
        return fail(ErrorCode::kUnavailable, "the store is away");
      }
      --left;
      return {};
    };
    // An answer is lost every third time, though the object is there.
    box.store->after_put = [&](std::string_view) -> Status {
      if (left % 3 == 1) return fail(ErrorCode::kTimeout, "the answer was lost");
      return {};
    };
    {
      testing::TestPartResultArray ignored;
      const testing::ScopedFakeTestPartResultReporter reporter(
          testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &ignored);
      live(box, real_disk());
    }
    finished = !failed;
    box.store->before = nullptr;
    box.store->after_put = nullptr;
    ASSERT_TRUE(box.open());
    box.check_all_is_there();
    box.rounds(Age(0));
    ASSERT_TRUE(box.open());
    box.rounds(Age(0));
    EXPECT_EQ(box.segments_on_disk(), 0u);
    box.check_all_is_there();
  }
  EXPECT_GT(steps, 8u);
}

}  // namespace
}  // namespace helium::safekeeper
