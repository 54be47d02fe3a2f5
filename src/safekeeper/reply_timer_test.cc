#include "safekeeper/reply_timer.h"

#include <gtest/gtest.h>

namespace helium::safekeeper {
namespace {

using namespace std::chrono_literals;
using Due = ReplyTimer::Due;

TEST(ReplyTimer, AsksOnceAfterHalfTheTimeAndGivesUpAfterAllOfIt) {
  const ReplyTimer::Clock::time_point start{};
  ReplyTimer timer(10s, start);
  EXPECT_EQ(timer.next(), start + 5s);
  EXPECT_EQ(timer.check(start + 4999ms), Due::kNothing);
  EXPECT_EQ(timer.check(start + 5s), Due::kAsk);
  EXPECT_EQ(timer.check(start + 6s), Due::kNothing);
  EXPECT_EQ(timer.next(), start + 10s);
  EXPECT_EQ(timer.check(start + 10s), Due::kGiveUp);
}

TEST(ReplyTimer, EachReplyStartsTheTimeAnew) {
  const ReplyTimer::Clock::time_point start{};
  ReplyTimer timer(10s, start);
  EXPECT_EQ(timer.check(start + 7s), Due::kAsk);
  timer.on_reply(start + 8s);
  EXPECT_EQ(timer.next(), start + 13s);
  EXPECT_EQ(timer.check(start + 12s), Due::kNothing);
  EXPECT_EQ(timer.check(start + 13s), Due::kAsk);
  EXPECT_EQ(timer.check(start + 18s), Due::kGiveUp);
}

TEST(ReplyTimer, ZeroWaitsForEver) {
  const ReplyTimer::Clock::time_point start{};
  ReplyTimer timer(0ms, start);
  EXPECT_EQ(timer.check(start + 1000h), Due::kNothing);
  EXPECT_EQ(timer.next(), ReplyTimer::Clock::time_point::max());
}

TEST(ParseDuration, ReadsPostgresUnits) {
  EXPECT_EQ(*parse_duration("1500"), 1500ms);
  EXPECT_EQ(*parse_duration("5s"), 5s);
  EXPECT_EQ(*parse_duration("5 s"), 5s);
  EXPECT_EQ(*parse_duration("2min"), 2min);
  EXPECT_EQ(*parse_duration("0"), 0ms);
  for (const char* bad : {"", "s", "-1", "5 parsecs", "99999999999999999999", "99999999d", "1.5s"}) {
    EXPECT_FALSE(parse_duration(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace helium::safekeeper
