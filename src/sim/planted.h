// The planted bugs (base/planted_bugs.h) by name, each with the kind of schedules that aims at it.

#pragma once

#include "base/planted_bugs.h"
#include "sim/world.h"

namespace helium::sim {

struct Planted {
  Bug bug;
  const char* name;
  Profile profile;  // of the schedules that aim at it
  uint64_t seed;    // the first of those that finds it, when last looked for
};
inline constexpr Planted kPlanted[] = {
    {Bug::kUncutHistory, "UncutHistory", Profile::kGeneral, 22},
    {Bug::kStartCommittedByVote, "StartCommittedByVote", Profile::kGeneral, 25},
    {Bug::kTailCounts, "TailCounts", Profile::kGeneral, 3},
    {Bug::kNoTruncation, "NoTruncation", Profile::kDisks, 191},
    {Bug::kHistoryFirst, "HistoryFirst", Profile::kDisks, 943},
    {Bug::kVoteBeforeFlush, "VoteBeforeFlush", Profile::kDisks, 207},
    {Bug::kVoteNotPersisted, "VoteNotPersisted", Profile::kGeneral, 3},
    {Bug::kTermForTwo, "TermForTwo", Profile::kGeneral, 28},
    {Bug::kPeersOfAnyTerm, "PeersOfAnyTerm", Profile::kDisks, 599},
    {Bug::kCommitOfAnyTerm, "CommitOfAnyTerm", Profile::kDisks, 599},
    {Bug::kPromisedCounts, "PromisedCounts", Profile::kChanges, 338},
    {Bug::kAmnesia, "Amnesia", Profile::kGeneral, 20},
    {Bug::kOldGenerationAccepted, "OldGenerationAccepted", Profile::kChanges, 45},
    {Bug::kJointNeedsOneHalf, "JointNeedsOneHalf", Profile::kChanges, 21},
    {Bug::kNewcomerVotesEmpty, "NewcomerVotesEmpty", Profile::kChanges, 2},
    {Bug::kChangerSkipsPrepare, "ChangerSkipsPrepare", Profile::kChanges, 50},
    {Bug::kAckBeforeFsync, "AckBeforeFsync", Profile::kGeneral, 1},
    {Bug::kServeUncommitted, "ServeUncommitted", Profile::kGeneral, 1},
    {Bug::kControlNotSynced, "ControlNotSynced", Profile::kGeneral, 1},
    {Bug::kFolderNotSynced, "FolderNotSynced", Profile::kGeneral, 1},
    {Bug::kFlushedStays, "FlushedStays", Profile::kDisks, 559},
    {Bug::kRecoveryNotSynced, "RecoveryNotSynced", Profile::kDisks, 55},
    {Bug::kDamageIsATear, "DamageIsATear", Profile::kGeneral, 76},
};

}  // namespace helium::sim
