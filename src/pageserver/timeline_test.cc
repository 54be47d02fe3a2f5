// Goal: branches begin where they should, ahead of their ancestor too, and what they share stays right.
// Method: hand-built records on a root, branches at rounded, exact and future positions.

#include <thread>

#include "pageserver/lsn_waiters.h"
#include "pageserver/test_timeline.h"
#include "pageserver/wal_sources.h"

namespace helium::pageserver {
namespace {

class Branches : public TestTimeline {};

TEST_F(Branches, ARequestedPositionIsRoundedDownToAStoredOne) {
  const Lsn committed = ingest(commit(1001));
  ingest(full_page(kRel, 0, 1));
  const Lsn last = ingest(full_page(kRel, 1, 1));
  EXPECT_EQ(timeline_->branch_point(Lsn(last.bytes() - 8), Timeline::Rounding::kDown)->lsn, committed);
  EXPECT_EQ(timeline_->branch_point(last, Timeline::Rounding::kExact)->lsn, last);
  EXPECT_EQ(timeline_->branch_point(last + 8, Timeline::Rounding::kDown).error().code, ErrorCode::kLsnInFuture);
  EXPECT_EQ(timeline_->branch_point(Lsn(kStart.bytes() - 8), Timeline::Rounding::kDown).error().code,
            ErrorCode::kLsnTooOld);
}

TEST_F(Branches, AnExactPositionThatIngestHasJustPassedIsStillFound) {
  ingest(commit(1001));
  const Lsn exact = ingest(full_page(kRel, 0, 1));
  ingest(full_page(kRel, 0, 2));
  const auto point = timeline_->branch_point(exact, Timeline::Rounding::kExact);
  ASSERT_TRUE(point.has_value());
  EXPECT_EQ(point->lsn, exact);
  ASSERT_TRUE(point->start.has_value());
  const auto child = branch(timeline_, *point, "child");
  EXPECT_EQ(*child->start_ingest(), exact);
  EXPECT_EQ(child->start_point(exact)->checkpoint.next_full_xid, 1002u);
  EXPECT_EQ(static_cast<int>(child->reader().get_rel_page(kRel, 0, exact)->view().back()), 1);
}

TEST_F(Branches, ABranchAheadOfItsAncestorWaitsForIt) {
  ingest(commit(1001));
  // Where two more records will end.
  const RecordBuilder next = full_page(kRel, 0, 7);
  const Lsn middle = next_start_ + ((next.build(last_start_).size() + 7) & ~size_t{7});
  const auto point = timeline_->branch_point(middle, Timeline::Rounding::kExact);
  ASSERT_TRUE(point.has_value());
  EXPECT_EQ(point->lsn, middle);
  EXPECT_FALSE(point->start.has_value());
  const auto child = branch(timeline_, *point, "child");
  EXPECT_EQ(child->readable_lsn(), timeline_->last_record_lsn());
  EXPECT_EQ(child->start_ingest().error().code, ErrorCode::kUnavailable);

  bool reached = false;
  child->when_readable(middle, Clock::now() + std::chrono::seconds(60), [&](Status status) { reached = status.has_value(); });
  EXPECT_FALSE(reached);
  EXPECT_EQ(ingest(next), middle);
  EXPECT_TRUE(reached);
  ingest(full_page(kRel, 0, 8));
  EXPECT_EQ(child->readable_lsn(), middle);
  EXPECT_EQ(static_cast<int>(child->reader().get_rel_page(kRel, 0, middle)->view().back()), 7);
  EXPECT_EQ(*child->start_ingest(), middle);
}

TEST_F(Branches, AWantedPositionIsKeptAcrossRestarts) {
  ingest(commit(1001));
  const RecordBuilder next = full_page(kRel, 0, 7);
  const Lsn middle = next_start_ + ((next.build(last_start_).size() + 7) & ~size_t{7});
  const auto child = branch(timeline_, *timeline_->branch_point(middle, Timeline::Rounding::kExact), "child");
  ingest(next);
  for (int i = 0; i < 20; ++i) ingest(full_page(kRel, 0, 9));
  // The position is in the store, not only in memory.
  const auto stored = timeline_->store()->get_latest(layer::Key::wal_position(), middle);
  ASSERT_TRUE(stored.has_value() && stored->has_value());
  EXPECT_EQ((*stored)->lsn, middle);
}

TEST_F(Branches, WritesStayApartBothWays) {
  ingest(full_page(kRel, 0, 1));
  const Lsn at = ingest(commit(1001));
  const auto child = branch(timeline_, *timeline_->branch_point(at, Timeline::Rounding::kExact), "child");
  ASSERT_TRUE(child->start_ingest().has_value());
  const Lsn parents_start = next_start_, parents_last = last_start_;

  const std::shared_ptr<Timeline> root = timeline_;
  timeline_ = child;
  const Lsn dropped = ingest(commit_that_drops(1002, kRel));
  EXPECT_EQ(nblocks(kRel, dropped), std::nullopt);
  timeline_ = root;
  next_start_ = parents_start;
  last_start_ = parents_last;
  const Lsn written = ingest(full_page(kRel, 0, 2));
  EXPECT_EQ(fill_of(kRel, 0, written), 2);
  timeline_ = child;
  EXPECT_EQ(nblocks(kRel, dropped), std::nullopt);
  EXPECT_EQ(fill_of(kRel, 0, at), 1);
}

TEST(LsnWaiters, EachCallbackRunsOnce) {
  LsnWaiters waiters(Lsn(10));
  int ready = 0, late = 0, closed = 0;
  const auto far = Clock::now() + std::chrono::hours(1);
  waiters.add(Lsn(10), far, [&](Status status) { ready += status.has_value(); });
  EXPECT_EQ(ready, 1);
  waiters.add(Lsn(20), far, [&](Status status) { ready += status.has_value(); });
  waiters.add(Lsn(30), Clock::now(), [&](Status status) { late += !status && status.error().code == ErrorCode::kTimeout; });
  waiters.add(Lsn(40), far, [&](Status status) { closed += !status && status.error().code == ErrorCode::kCanceled; });
  EXPECT_EQ(waiters.wanted(), Lsn(40));
  waiters.advance(Lsn(25));
  EXPECT_EQ(ready, 2);
  waiters.expire(Clock::now() + std::chrono::seconds(1), "");
  EXPECT_EQ(late, 1);
  waiters.close();
  EXPECT_EQ(closed, 1);
  EXPECT_FALSE(waiters.wanted().is_valid());
  waiters.advance(Lsn(100));
  EXPECT_EQ(ready + late + closed, 4);
}

TEST(WalSources, TheOneWithMostWalIsChosenAndAFailedOneRests) {
  const HostPort a{"127.0.0.1", 1}, b{"127.0.0.1", 2};
  const auto now = Clock::now();
  WalSources sources;
  EXPECT_FALSE(sources.choose(Lsn(10), now).has_value());
  sources.on_progress(a, Lsn(20));
  sources.on_progress(b, Lsn(30));
  EXPECT_EQ(sources.choose(Lsn(10), now), b);
  EXPECT_FALSE(sources.choose(Lsn(30), now).has_value()) << "nothing to fetch";
  sources.on_failure(b, now);
  EXPECT_EQ(sources.choose(Lsn(10), now), a);
  EXPECT_EQ(sources.choose(Lsn(10), now + WalSources::kFirstRest), b);
  sources.on_hint(a, Lsn(50), now);
  EXPECT_EQ(sources.choose(Lsn(40), now), a) << "a compute says that it has it";
  for (int i = 0; i < 20; ++i) sources.on_failure(a, now);
  EXPECT_LE(*sources.next_change(now), now + WalSources::kLongestRest);
}

TEST(WalSources, WhenReadersWaitEverySourceIsTriedInTurnWithoutNews) {
  const HostPort a{"127.0.0.1", 1}, b{"127.0.0.1", 2};
  const auto now = Clock::now();
  WalSources sources;
  sources.on_progress(a, Lsn(30));
  sources.on_progress(b, Lsn(30));
  EXPECT_FALSE(sources.choose(Lsn(30), now, Lsn(30)).has_value()) << "what is waited for is here";
  EXPECT_EQ(sources.choose(Lsn(30), now, Lsn(31)), a);
  sources.on_failure(a, now);
  EXPECT_EQ(sources.choose(Lsn(30), now, Lsn(31)), b);
  sources.on_failure(b, now + WalSources::kFirstRest / 2);
  EXPECT_FALSE(sources.choose(Lsn(30), now, Lsn(31)).has_value()) << "both rest";
  EXPECT_EQ(sources.choose(Lsn(30), now + 2 * WalSources::kFirstRest, Lsn(31)), a);
}

TEST(WalSources, AStreamIsLeftOnlyForClearlyMore) {
  const HostPort a{"127.0.0.1", 1}, b{"127.0.0.1", 2};
  const auto now = Clock::now();
  WalSources sources;
  sources.on_progress(a, Lsn(100));
  sources.on_progress(b, Lsn(200));
  EXPECT_FALSE(sources.should_switch(a, Lsn(100), now));
  sources.on_progress(b, Lsn(200) + WalSources::kMaxLagBytes);
  EXPECT_TRUE(sources.should_switch(a, Lsn(100), now));
}

TEST(PageCache, HoldsNoMoreThanItMayAndForgetsTheLeastUsed) {
  PageCache cache(16 * 8192 * 4);
  const uint64_t timeline = cache.new_timeline();
  const auto page = layer::SharedBytes::copy_of(Bytes(8192));
  for (uint32_t blkno = 0; blkno < 1000; ++blkno)
    cache.insert({timeline, layer::Key::rel_block(kRel, blkno), Lsn(1)}, page);
  uint32_t found = 0;
  for (uint32_t blkno = 0; blkno < 1000; ++blkno)
    found += !cache.find({timeline, layer::Key::rel_block(kRel, blkno), Lsn(1)}).empty();
  EXPECT_LE(found, 64u);
  EXPECT_GE(found, 32u);
  EXPECT_TRUE(cache.find({timeline, layer::Key::rel_block(kRel, 999), Lsn(2)}).empty());
}

}  // namespace
}  // namespace helium::pageserver
