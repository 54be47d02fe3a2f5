#include "safekeeper/metrics.h"

#include <gtest/gtest.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <map>

namespace helium::safekeeper {
namespace {

// Series by name: how many, and the value of the last one.
struct Series {
  size_t count = 0;
  double last = 0;
};
std::map<std::string, Series> scrape(const Metrics& metrics) {
  std::map<std::string, Series> found;
  for (const prometheus::MetricFamily& family : metrics.registry()->Collect()) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      ++found[family.name].count;
      found[family.name].last = metric.gauge.value;
    }
  }
  return found;
}

TEST(Metrics, ThePositionsOfManyTimelinesAreThoseThatMovedLast) {
  constexpr size_t kTimelines = Metrics::kTimelinesShown + 50;
  Metrics metrics;
  std::vector<Metrics::TimelinePositions> all(kTimelines);
  for (size_t i = 0; i < kTimelines; ++i) {
    all[i].id.timeline.bytes = {static_cast<uint8_t>(i)};
    all[i].flush_lsn = Lsn(1000 + i);
  }
  metrics.set_positions_source([&] { return all; });
  EXPECT_EQ(scrape(metrics)["safekeeper_flush_lsn"].count, Metrics::kTimelinesShown);
  EXPECT_EQ(scrape(metrics)["safekeeper_timelines_not_shown"].last, 50);

  all.back().flush_lsn = Lsn(7'000'000);  // it was not shown
  bool shown = false;
  for (const prometheus::MetricFamily& family : metrics.registry()->Collect()) {
    if (family.name != "safekeeper_flush_lsn") continue;
    shown = std::ranges::any_of(family.metric, [](const auto& metric) { return metric.gauge.value == 7'000'000; });
  }
  EXPECT_TRUE(shown);
}

TEST(Metrics, ATimelineThatHasGoneLeavesNothingBehind) {
  Metrics metrics;
  std::vector<Metrics::TimelinePositions> all(1);
  metrics.set_positions_source([&] { return all; });
  EXPECT_EQ(scrape(metrics)["safekeeper_commit_lsn"].count, 1u);
  all.clear();
  EXPECT_EQ(scrape(metrics)["safekeeper_commit_lsn"].count, 0u);
  metrics.set_positions_source(nullptr);
  EXPECT_EQ(scrape(metrics).count("safekeeper_timelines_not_shown"), 0u);
}

}  // namespace
}  // namespace helium::safekeeper
