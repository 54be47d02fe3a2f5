// Goal: the simulation finds each bug that we know how to make; so what it does not find is less likely to be there.
// Method: each bug is switched on in the production code (base/planted_bugs.h), and schedules that aim at it
// run until one breaks a promise.

#include <gtest/gtest.h>

#include "base/check_handler.h"
#include "base/log.h"
#include "sim/planted.h"
#include "sim/sanitized.h"

namespace helium::sim {
namespace {

constexpr uint64_t kSchedulesMost = 6000;

class PlantedBugs : public testing::TestWithParam<Planted> {
 protected:
  bool finds(uint64_t seed) {
    const Outcome outcome = run(seed, GetParam().bug);
    if (!outcome.violation || outcome.stood_still) return false;  // standing still is no proof of harm
    std::printf("planted bug %s: found by schedule %d: %s\n", GetParam().name, static_cast<int>(seed),
                outcome.violation->c_str());
    RecordProperty("schedules", static_cast<int>(seed));
    return true;
  }
};

TEST_P(PlantedBugs, AreFound) {
  if (kSanitized) GTEST_SKIP() << "as well without a sanitizer";
  throw_on_failed_check();
  log::set_level(static_cast<log::Level>(static_cast<int>(log::Level::kError) + 1));
  // Where it was found last; schedules change with the code, so all are looked at if it is not there.
  if (finds(GetParam().seed)) return;
  for (uint64_t seed = 1; seed <= kSchedulesMost; ++seed) {
    if (profile_of(seed) == GetParam().profile && finds(seed)) return;
  }
  ADD_FAILURE() << kSchedulesMost << " schedules did not find it";
}

INSTANTIATE_TEST_SUITE_P(Each, PlantedBugs, testing::ValuesIn(kPlanted),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace helium::sim
