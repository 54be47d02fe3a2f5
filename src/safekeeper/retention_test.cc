#include "safekeeper/retention.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "pg/constants.h"

namespace helium::safekeeper {
namespace {

constexpr uint64_t kSegment = pg::kWalSegmentSize;
constexpr uint64_t kMiB = 1024 * 1024;
Lsn seg(uint64_t number, uint64_t offset = 0) { return pg::wal_segment_start(number) + offset; }

TEST(Retention, OnlyWholeCommittedSegmentsAreOffloaded) {
  EXPECT_EQ(segment_to_offload(seg(1, 40), Lsn(), seg(1, 40)), std::nullopt);
  EXPECT_EQ(segment_to_offload(seg(1, 40), Lsn(), seg(2, 0) + 0), 1u) << "committed to its end exactly";
  EXPECT_EQ(segment_to_offload(seg(1, 40), Lsn(), Lsn(seg(2).bytes() - 8)), std::nullopt);
  EXPECT_EQ(segment_to_offload(seg(1, 40), seg(2), seg(2, 100)), std::nullopt);
  EXPECT_EQ(segment_to_offload(seg(1, 40), seg(2), seg(7, 100)), 2u);
  EXPECT_EQ(segment_to_offload(seg(1, 40), seg(6), seg(7, 100)), 6u);
  EXPECT_EQ(segment_to_offload(seg(1), Lsn(), seg(2, 100)), 1u) << "a timeline that starts at a segment's start";
}

// Goal: one member offloads, all agree which, and timelines are spread. Method: every member's own view of the same.
TEST(Retention, AllMembersAgreeOnOneWhoOffloads) {
  std::map<uint64_t, int> chosen;
  for (int i = 0; i < 300; ++i) {
    const TimelineId timeline = random_id<TimelineId>();
    std::vector<UploaderCandidate> members;
    for (uint64_t id = 1; id <= 3; ++id) members.push_back({id, seg(10, id * 1000), Age(500 * id)});
    std::set<uint64_t> who;
    for (uint64_t id = 1; id <= 3; ++id) {
      if (should_offload(id, members, timeline, Age(0))) who.insert(id);
    }
    ASSERT_EQ(who.size(), 1u);
    ++chosen[*who.begin()];
  }
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_GT(chosen[id], 50) << "of 300";
}

TEST(Retention, ASilentOrLaggingMemberIsNotWaitedFor) {
  for (int i = 0; i < 50; ++i) {
    const TimelineId timeline = random_id<TimelineId>();
    std::vector<UploaderCandidate> members;
    for (uint64_t id = 1; id <= 3; ++id) members.push_back({id, seg(100), Age(0)});
    uint64_t first = 0;
    for (uint64_t id = 1; id <= 3; ++id) {
      if (should_offload(id, members, timeline, Age(0))) first = id;
    }
    auto gone = members, lags = members;
    gone[first - 1].silent_for = kPeerIsGone + Age(1);
    lags[first - 1].commit_lsn = seg(95);
    int after_gone = 0, after_lag = 0;
    for (uint64_t id = 1; id <= 3; ++id) {
      if (id == first) continue;
      after_gone += should_offload(id, gone, timeline, Age(0));
      after_lag += should_offload(id, lags, timeline, Age(0));
    }
    EXPECT_EQ(after_gone, 1);
    EXPECT_EQ(after_lag, 1);
    EXPECT_FALSE(should_offload(first, lags, timeline, Age(0)));
  }
}

TEST(Retention, WhenNothingGetsDoneTheOthersHelpOneAfterAnother) {
  const TimelineId timeline = random_id<TimelineId>();
  std::vector<UploaderCandidate> members;
  for (uint64_t id = 1; id <= 3; ++id) members.push_back({id, seg(100), Age(0)});
  const auto helpers = [&](Age stuck_for) {
    int count = 0;
    for (uint64_t id = 1; id <= 3; ++id) count += should_offload(id, members, timeline, stuck_for);
    return count;
  };
  EXPECT_EQ(helpers(Age(0)), 1);
  EXPECT_EQ(helpers(kUploaderIsStuck), 2);
  EXPECT_EQ(helpers(2 * kUploaderIsStuck), 3);
  // Also one that knows of nobody, and one that is behind all others.
  EXPECT_TRUE(should_offload(1, std::vector<UploaderCandidate>{{1, seg(1), Age(0)}}, timeline, Age(0)));
  members[0].commit_lsn = seg(1);
  EXPECT_FALSE(should_offload(1, members, timeline, Age(0)));
  EXPECT_TRUE(should_offload(1, members, timeline, 3 * kUploaderIsStuck));
}

// Rule 2 and 3, over many combinations: what must stay, stays, whatever else is wished for.
TEST(Retention, WhatMustStayStays) {
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
    const auto pick = [&](uint64_t limit) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      return (state >> 33) % limit;
    };
    LocalWal wal;
    wal.local_start_lsn = seg(pick(5));
    wal.backup_lsn = pick(4) == 0 ? Lsn() : seg(pick(12));
    wal.commit_lsn = seg(5 + pick(8), pick(kSegment));
    wal.verify_lsn = seg(4 + pick(8), pick(kSegment));
    for (uint64_t i = pick(4); i > 0; --i) wal.wanted_from.push_back(seg(pick(14), pick(kSegment)));
    wal.keep_bytes = pick(10) * kSegment;
    const Lsn to = trim_to(wal);
    EXPECT_EQ(to.bytes() % kSegment, 0u);
    EXPECT_GE(to, wal.local_start_lsn);
    if (to == wal.local_start_lsn) continue;
    EXPECT_LE(to, wal.backup_lsn) << seed;
    EXPECT_LE(to, wal.verify_lsn) << seed;
    EXPECT_LE(to, wal.commit_lsn) << seed;
    for (const Lsn wanted : wal.wanted_from) {
      EXPECT_TRUE(to <= wanted || to + wal.keep_bytes <= wal.commit_lsn) << seed;
    }
  }
}

TEST(Retention, WithoutAStoreNothingLeaves) {
  EXPECT_EQ(trim_to({.local_start_lsn = seg(1), .backup_lsn = Lsn(), .commit_lsn = seg(50, 5), .verify_lsn = seg(50),
                     .wanted_from = {}, .keep_bytes = 0}),
            seg(1));
}

TEST(Retention, WalThatSomebodyReadsStaysForAWhile) {
  LocalWal wal{.local_start_lsn = seg(1), .backup_lsn = seg(9), .commit_lsn = seg(9, 100), .verify_lsn = seg(9, 50),
               .wanted_from = {}, .keep_bytes = 64 * kMiB};
  EXPECT_EQ(trim_to(wal), seg(9));
  wal.wanted_from = {seg(7, 5), seg(8)};
  EXPECT_EQ(trim_to(wal), seg(7));
  wal.wanted_from = {seg(2)};
  EXPECT_EQ(trim_to(wal), seg(5)) << "at most keep_bytes";
  wal.local_start_lsn = seg(8);
  EXPECT_EQ(trim_to(wal), seg(8)) << "what is gone stays gone";
}

TEST(Retention, AnIdleTimelineLeavesMemoryAndWithAStoreTheDisk) {
  const Idleness idle{.has_store = true, .is_open = true, .idle_for = Age(1000), .idle_after = Age(1000),
                      .start_lsn = seg(1, 40), .backup_lsn = seg(3), .flush_lsn = seg(3, 500)};
  EXPECT_EQ(idle_action(idle), IdleAction::kEvict);
  auto changed = [&](auto change) {
    Idleness other = idle;
    change(other);
    return idle_action(other);
  };
  EXPECT_EQ(changed([](Idleness& i) { i.idle_for = Age(999); }), IdleAction::kNone);
  EXPECT_EQ(changed([](Idleness& i) { i.has_writers = true; }), IdleAction::kNone);
  EXPECT_EQ(changed([](Idleness& i) { i.has_readers = true; }), IdleAction::kNone);
  EXPECT_EQ(changed([](Idleness& i) { i.is_evicted = true; }), IdleAction::kNone);
  EXPECT_EQ(changed([](Idleness& i) { i.has_store = false; }), IdleAction::kUnload);
  EXPECT_EQ(changed([](Idleness& i) { i.backup_lsn = seg(2); }), IdleAction::kUnload) << "not all is offloaded";
  EXPECT_EQ(changed([](Idleness& i) { i.backup_lsn = Lsn(), i.flush_lsn = seg(1, 90); }), IdleAction::kEvict)
      << "in its first segment";
  EXPECT_EQ(changed([](Idleness& i) { i.has_store = i.is_open = false; }), IdleAction::kNone);
  EXPECT_EQ(changed([](Idleness& i) { i.is_open = false; }), IdleAction::kEvict) << "asleep in memory, not on disk";
}

}  // namespace
}  // namespace helium::safekeeper
