// Goal: no schedule of faults makes the WAL service lose or rewrite what anybody called committed, show a reader anything
// else, or stand still when the faults are over; and the checkers would notice.
// Method: seeded worlds (world.h). A failure is replayed by HELIUM_SIM_SEED=N, with HELIUM_SIM_TRACE=1 it tells its
// story; HELIUM_SIM_SCHEDULES=N runs N. Schedules that once failed stand in seeds.txt and are always run.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include "base/check_handler.h"
#include "base/log.h"
#include "base/source_dir.h"
#include "sim/sanitized.h"
#include "sim/world.h"

namespace helium::sim {
namespace {

constexpr uint64_t kFixedSchedules = kSanitized ? 60 : 1000, kNewSchedules = kSanitized ? 20 : 500;

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

class WalSim : public testing::Test {
 protected:
  void SetUp() override {
    throw_on_failed_check();
    log::set_level(static_cast<log::Level>(static_cast<int>(log::Level::kError) + 1));  // what fails here is meant to
  }
  void TearDown() override { log::set_level(log::Level::kInfo); }

  Figures run_all(uint64_t first, uint64_t count) {
    Figures sum;
    for (uint64_t seed = first; seed < first + count; ++seed) {
      const Outcome outcome = run(seed);
      EXPECT_FALSE(outcome.violation.has_value()) << "HELIUM_SIM_SEED=" << seed << ": " << *outcome.violation;
      sum.add(outcome.figures);
      if (HasFailure()) break;
    }
    return sum;
  }
};

TEST_F(WalSim, FixedSchedulesKeepEveryPromise) {
  if (const uint64_t seed = number_from("HELIUM_SIM_SEED", 0); seed != 0) {
    run_all(seed, 1);
    return;
  }
  const Figures sum = run_all(1, number_from("HELIUM_SIM_SCHEDULES", kFixedSchedules));
  std::printf("%s\n", to_string(sum).c_str());
  if (kSanitized) return;
  // The schedules are worth something: all of it happens often.
  EXPECT_GT(sum.commits, 3 * sum.schedules);
  EXPECT_GT(sum.elections, 2 * sum.schedules);
  EXPECT_GT(sum.crashes, 4 * sum.schedules);
  EXPECT_GT(sum.truncations, sum.schedules / 4);
  EXPECT_GT(sum.torn_pages, sum.schedules / 50);
  EXPECT_GT(sum.lost_names, sum.schedules);
  EXPECT_GT(sum.changes_done, sum.schedules / 10);
  EXPECT_GT(sum.records_read, 10 * sum.schedules);
}

TEST_F(WalSim, NewSchedulesKeepEveryPromise) {
  if (std::getenv("HELIUM_SIM_SEED") != nullptr) return;
  const uint64_t first = uint64_t{std::random_device()()} * 1000 + 1000;
  std::printf("from HELIUM_SIM_SEED=%llu on\n", static_cast<unsigned long long>(first));
  run_all(first, kNewSchedules);
}

TEST_F(WalSim, SchedulesThatOnceFailedKeepEveryPromise) {
  std::ifstream seeds(source_path("src/sim/seeds.txt"));
  ASSERT_TRUE(seeds.is_open());
  for (std::string line; std::getline(seeds, line);) {
    std::istringstream words(line);
    uint64_t seed = 0;
    if (words >> seed) run_all(seed, 1);
  }
}

TEST_F(WalSim, OneSeedIsOneSchedule) {
  for (uint64_t seed = 1; seed <= (kSanitized ? 2 : 5); ++seed) EXPECT_EQ(run(seed).fingerprint, run(seed).fingerprint);
}

}  // namespace
}  // namespace helium::sim
