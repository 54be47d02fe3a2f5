// Goal: the simulation finds each bug that we know how to make; so what it does not find is less likely to be there.
// Method: each bug is switched on in the production code (base/planted_bugs.h), and schedules that aim at it
// run until one breaks a promise.

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
  Profile profile;  // of the schedules that aim at it
};
constexpr Planted kPlanted[] = {
    {Bug::kUncutHistory, "UncutHistory", Profile::kGeneral},
    {Bug::kStartCommittedByVote, "StartCommittedByVote", Profile::kGeneral},
    {Bug::kTailCounts, "TailCounts", Profile::kGeneral},
    {Bug::kNoTruncation, "NoTruncation", Profile::kDisks},
    {Bug::kHistoryFirst, "HistoryFirst", Profile::kDisks},
    {Bug::kVoteBeforeFlush, "VoteBeforeFlush", Profile::kDisks},
    {Bug::kVoteNotPersisted, "VoteNotPersisted", Profile::kGeneral},
    {Bug::kTailStays, "TailStays", Profile::kDisks},
    {Bug::kTermForTwo, "TermForTwo", Profile::kGeneral},
    {Bug::kPeersOfAnyTerm, "PeersOfAnyTerm", Profile::kDisks},
    {Bug::kCommitOfAnyTerm, "CommitOfAnyTerm", Profile::kDisks},
    {Bug::kCatchUpAfterPromise, "CatchUpAfterPromise", Profile::kDisks},
    {Bug::kAmnesia, "Amnesia", Profile::kGeneral},
    {Bug::kOldGenerationAccepted, "OldGenerationAccepted", Profile::kChanges},
    {Bug::kJointNeedsOneHalf, "JointNeedsOneHalf", Profile::kChanges},
    {Bug::kNewcomerVotesEmpty, "NewcomerVotesEmpty", Profile::kChanges},
    {Bug::kChangerSkipsPrepare, "ChangerSkipsPrepare", Profile::kChanges},
    {Bug::kAckBeforeFsync, "AckBeforeFsync", Profile::kGeneral},
    {Bug::kServeUncommitted, "ServeUncommitted", Profile::kGeneral},
    {Bug::kControlNotSynced, "ControlNotSynced", Profile::kGeneral},
    {Bug::kFolderNotSynced, "FolderNotSynced", Profile::kGeneral},
    {Bug::kRecycledSegment, "RecycledSegment", Profile::kDisks},
    {Bug::kFlushedStays, "FlushedStays", Profile::kDisks},
    {Bug::kRecoveryNotSynced, "RecoveryNotSynced", Profile::kDisks},
    {Bug::kDamageIsATear, "DamageIsATear", Profile::kGeneral},
};

class PlantedBugs : public testing::TestWithParam<Planted> {};

TEST_P(PlantedBugs, AreFound) {
  if (kSanitized) GTEST_SKIP() << "as well without a sanitizer";
  throw_on_failed_check();
  log::set_level(static_cast<log::Level>(static_cast<int>(log::Level::kError) + 1));
  for (uint64_t seed = 1; seed <= kSchedulesMost; ++seed) {
    if (profile_of(seed) != GetParam().profile) continue;
    const Outcome outcome = run(seed, GetParam().bug);
    if (!outcome.violation || outcome.stood_still) continue;  // standing still is no proof of harm
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
