// Goal: no schedule of crashes, torn disks, lost, doubled and late messages, dead and competing computes loses or
// rewrites what anybody called committed, and progress follows when they end.
// Method: seeded runs of the production cores; the seed replays a failure: HELIUM_SIM_SEED=N runs only that one.

#include "safekeeper/wal_commit_sim.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace helium::safekeeper::sim {
namespace {

constexpr int kSteps = 1500;

TEST(WalCommitSim, NothingCommittedIsLostOrRewrittenAndProgressFollows) {
  uint64_t first = 1, last = 300;
  if (const char* seed = std::getenv("HELIUM_SIM_SEED")) first = last = std::strtoull(seed, nullptr, 10);
  if (const char* count = std::getenv("HELIUM_SIM_SEEDS")) last = std::strtoull(count, nullptr, 10);
  Outcome sum;
  for (uint64_t seed = first; seed <= last; ++seed) {
    const Outcome outcome = run(seed, kSteps);
    ASSERT_FALSE(outcome.violation.has_value()) << "seed " << seed << ": " << *outcome.violation;
    sum.committed_records += outcome.committed_records;
    sum.elections_won += outcome.elections_won;
    sum.crashes += outcome.crashes;
    sum.truncations += outcome.truncations;
  }
  if (first == last) return;
  // The schedules are worth something: all of it happens often.
  EXPECT_GT(sum.committed_records, 5 * last);
  EXPECT_GT(sum.elections_won, 3 * last);
  EXPECT_GT(sum.crashes, 3 * last);
  EXPECT_GT(sum.truncations, last / 2);
}

TEST(WalCommitSim, OneSeedIsOneSchedule) {
  for (uint64_t seed = 1; seed <= 10; ++seed) EXPECT_EQ(run(seed, kSteps).fingerprint, run(seed, kSteps).fingerprint);
}

TEST(WalCommitSim, EachPlantedBugIsFound) {
  for (const Bug bug : kAllBugs) {
    uint64_t seed = 1;
    while (seed <= 3000 && !run(seed, kSteps, bug).violation) ++seed;
    EXPECT_LE(seed, 3000u) << "not found: " << to_string(bug);
    RecordProperty(to_string(bug), static_cast<int>(seed));
    std::printf("planted bug '%s': seed %d\n", to_string(bug).c_str(), static_cast<int>(seed));
  }
}

}  // namespace
}  // namespace helium::safekeeper::sim
