// Planted bugs: ways to be wrong, to show that the simulation of the WAL service (src/sim) would find them.
//
// Only the simulation is compiled with HELIUM_PLANTED_BUGS; everywhere else planted() is the constant false, and
// nothing can switch a bug on. Names say what is done wrong; numbers are those of the rules in docs/invariants.md.

#pragma once

namespace helium {

enum class Bug {
  kNone,
  kUncutHistory,            // rule 1: an acceptor votes with the last term it adopted, not with the one it holds WAL of
  kStartCommittedByVote,    // rule 2: the start counts as committed once the votes are there
  kTailCounts,              // rule 3: bytes of an incomplete record count as flushed
  kNoTruncation,            // rule 4: what lies behind the fork point stays
  kHistoryFirst,            // rule 4: the history is persisted before the truncation
  kVoteBeforeFlush,         // rule 5: a vote does not wait for what was accepted, late answers carry the old term
  kVoteNotPersisted,        // rule 5: a crash forgets the vote
  kTermForTwo,              // rule 5: another proposer gets the same term
  kPeersOfAnyTerm,          // rule 6: positions of other log terms are counted
  kCommitOfAnyTerm,         // rule 6: a peer's commit_lsn is believed whatever term it was computed in
  kPromisedCounts,          // rule 7: members that have promised a later term count among themselves
  kAmnesia,                 // rule 8: an acceptor that lost its disk comes back as itself
  kOldGenerationAccepted,   // rule 9: a proposer of an old membership goes on
  kJointNeedsOneHalf,       // rule 9: a majority of the old members decides alone in a joint membership
  kNewcomerVotesEmpty,      // rule 8, 9: a newcomer counts before it holds what the old members have
  kChangerSkipsPrepare,     // rule 9: a changer does not ask for promises
  kAckBeforeFsync,          // an acknowledgement does not wait for the disk
  kServeUncommitted,        // a reader gets all that is flushed
  kControlNotSynced,        // the control file is renamed into place without a sync
  kFolderNotSynced,         // … or without a sync of its folder
  kFlushedStays,            // a truncation does not take the position back that recovery counts on
  kRecoveryNotSynced,       // recovery counts what a killed process had written, and does not sync it
  kDamageIsATear,           // recovery takes WAL that was synced, and is damaged, for the end of the log
};

#ifdef HELIUM_PLANTED_BUGS
inline thread_local Bug planted_bug = Bug::kNone;
inline bool planted(Bug bug) { return planted_bug == bug; }
#else
constexpr bool planted(Bug) { return false; }
#endif

}  // namespace helium
