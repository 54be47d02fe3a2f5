// Goal: the simulation finds each bug that we know how to make; so what it does not find is less likely to be there.
// Method: each bug is switched on in the production code (base/planted_bugs.h), and schedules run until one fails.

#include <gtest/gtest.h>

#include "base/check_handler.h"
#include "base/log.h"
#include "sim/sanitized.h"
#include "sim/world.h"

namespace helium::sim {
namespace {

constexpr uint64_t kSchedulesMost = 2000;

struct Planted {
  Bug bug;
  const char* name;
};
constexpr Planted kPlanted[] = {
    {Bug::kUncutHistory, "UncutHistory"},
    {Bug::kStartCommittedByVote, "StartCommittedByVote"},
    {Bug::kTailCounts, "TailCounts"},
    {Bug::kNoTruncation, "NoTruncation"},
    {Bug::kHistoryFirst, "HistoryFirst"},
    {Bug::kVoteBeforeFlush, "VoteBeforeFlush"},
    {Bug::kVoteNotPersisted, "VoteNotPersisted"},
    {Bug::kTermForTwo, "TermForTwo"},
    {Bug::kPeersOfAnyTerm, "PeersOfAnyTerm"},
    {Bug::kAmnesia, "Amnesia"},
    {Bug::kAckBeforeFsync, "AckBeforeFsync"},
    {Bug::kServeUncommitted, "ServeUncommitted"},
    {Bug::kControlNotSynced, "ControlNotSynced"},
    {Bug::kFolderNotSynced, "FolderNotSynced"},
    {Bug::kDamageIsATear, "DamageIsATear"},
};

class PlantedBugs : public testing::TestWithParam<Planted> {};

TEST_P(PlantedBugs, AreFound) {
  if (kSanitized) GTEST_SKIP() << "as well without a sanitizer";
  throw_on_failed_check();
  log::set_level(static_cast<log::Level>(static_cast<int>(log::Level::kError) + 1));
  for (uint64_t seed = 1; seed <= kSchedulesMost; ++seed) {
    const Outcome outcome = run(seed, GetParam().bug);
    if (!outcome.violation) continue;
    std::printf("planted bug %s: found by schedule %d: %s\n", GetParam().name, static_cast<int>(seed),
                outcome.violation->c_str());
    RecordProperty("schedules", static_cast<int>(seed));
    return;
  }
  ADD_FAILURE() << kSchedulesMost << " schedules did not find it";
}

INSTANTIATE_TEST_SUITE_P(Each, PlantedBugs, testing::ValuesIn(kPlanted),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace helium::sim
