#include "broker/hub.h"

#include <gtest/gtest.h>

#include <vector>

namespace helium::broker {
namespace {

TenantTimelineId timeline(uint8_t number) {
  TenantTimelineId id;
  id.tenant.bytes[0] = 1;
  id.timeline.bytes[0] = number;
  return id;
}
TimelineProgress progress(uint8_t timeline_number, uint64_t safekeeper, uint64_t flush) {
  TimelineProgress value;
  value.id = timeline(timeline_number);
  value.safekeeper_id = safekeeper;
  value.flush_lsn = Lsn(flush);
  return value;
}
std::vector<uint64_t> take_all(Hub& hub, Hub::SubscriberId id) {
  std::vector<uint64_t> flushed;
  while (const auto value = hub.take(id)) flushed.push_back(value->flush_lsn.bytes());
  return flushed;
}

class CountingWaker : public Wakeable {
 public:
  void wake() override { ++wakes; }
  int wakes = 0;
};

using Flushed = std::vector<uint64_t>;

// Goal: who comes late misses nothing that still matters. Method: publish, then subscribe.
TEST(Hub, LateSubscriberGetsTheLastValueOfEverySafekeeper) {
  Hub hub({});
  hub.publish(progress(1, 1, 100));
  hub.publish(progress(1, 1, 200));
  hub.publish(progress(1, 2, 150));
  hub.publish(progress(2, 1, 900));
  const auto waker = std::make_shared<CountingWaker>();
  const auto one = hub.subscribe(timeline(1), waker);
  const auto all = hub.subscribe(std::nullopt, waker);
  ASSERT_TRUE(one && all);
  EXPECT_EQ(take_all(hub, *one), (Flushed{200, 150}));
  EXPECT_EQ(take_all(hub, *all), (Flushed{200, 150, 900}));
  EXPECT_EQ(waker->wakes, 0);
}

TEST(Hub, SlowSubscriberGetsTheNewestValueOnceAndIsWokenOnce) {
  Hub hub({});
  const auto waker = std::make_shared<CountingWaker>();
  const auto id = hub.subscribe(std::nullopt, waker);
  for (uint64_t flush = 1; flush <= 1000; ++flush) hub.publish(progress(1, 1, flush));
  EXPECT_EQ(waker->wakes, 1);
  EXPECT_EQ(take_all(hub, *id), (Flushed{1000}));
  hub.publish(progress(1, 1, 1001));
  EXPECT_EQ(waker->wakes, 2);
  EXPECT_EQ(take_all(hub, *id), (Flushed{1001}));
}

TEST(Hub, SubscriberOfOneTimelineIsNotWokenForAnother) {
  Hub hub({});
  const auto waker = std::make_shared<CountingWaker>();
  const auto id = hub.subscribe(timeline(1), waker);
  hub.publish(progress(2, 1, 5));
  EXPECT_EQ(waker->wakes, 0);
  EXPECT_FALSE(hub.take(*id));
}

// Goal: memory has a bound, whatever is published. Method: more timelines than entries_max; the oldest goes.
TEST(Hub, ForgetsTheLongestSilentEntryWhenFull) {
  Hub hub({.entries_max = 3, .subscribers_max = 2});
  const auto waker = std::make_shared<CountingWaker>();
  const auto early = hub.subscribe(std::nullopt, waker);
  for (uint8_t number = 1; number <= 3; ++number) hub.publish(progress(number, 1, number));
  hub.publish(progress(1, 1, 11));  // 2 is the oldest now
  hub.publish(progress(4, 1, 4));
  EXPECT_EQ(hub.counts().entries, 3u);
  const auto late = hub.subscribe(std::nullopt, waker);
  EXPECT_EQ(take_all(hub, *late), (Flushed{11, 3, 4}));
  EXPECT_EQ(take_all(hub, *early), (Flushed{11, 3, 4}));
}

TEST(Hub, RefusesMoreSubscribersThanItsLimitAndTakesThemAgainLater) {
  Hub hub({.entries_max = 10, .subscribers_max = 1});
  const auto waker = std::make_shared<CountingWaker>();
  const auto first = hub.subscribe(std::nullopt, waker);
  ASSERT_TRUE(first);
  const auto second = hub.subscribe(std::nullopt, waker);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
  hub.unsubscribe(*first);
  EXPECT_TRUE(hub.subscribe(std::nullopt, waker));
}

TEST(Hub, SurvivesASubscriberThatVanished) {
  Hub hub({});
  auto waker = std::make_shared<CountingWaker>();
  const auto id = hub.subscribe(std::nullopt, waker);
  waker.reset();
  hub.publish(progress(1, 1, 1));
  hub.unsubscribe(*id);
  EXPECT_FALSE(hub.take(*id));
}

}  // namespace
}  // namespace helium::broker
