// A deterministic simulation of the WAL commit protocol: the production cores (Acceptor, Proposer) on acceptors' disks
// that lose and tear what was not synced, and a network that loses, doubles, delays and reorders.
//
// One thread, one random source: a seed is a schedule. A checker that sees everything knows which bytes were ever
// called committed by anybody, and fails when they are lost, rewritten or not whole records. Bugs can be planted, to
// show that it would find them.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace helium::safekeeper::sim {

enum class Bug {
  kNone,
  kUncutHistory,         // rule 1: a lagging acceptor votes with the last term it adopted
  kStartCommittedByVote, // rule 2: the start counts as committed once the votes are there
  kTailCounts,           // rule 3: bytes of an incomplete record count as flushed
  kNoTruncation,         // rule 4: what lies behind the fork point stays
  kHistoryFirst,         // rule 4: the history is persisted before the truncation
  kVoteBeforeFlush,      // rule 5: the vote does not wait for what was accepted, late answers carry the old term
  kVoteNotPersisted,     // rule 5: a crash forgets the vote
  kPeersOfAnyTerm,       // rule 6: positions of other log terms are counted
  kCatchUpAfterPromise,  // rule 7: a member takes WAL of a term that a later vote has closed
  kAmnesia,              // rule 8: an acceptor that lost its disk comes back as itself
  kAckBeforeFsync,
  kServeUncommitted,     // a reader gets all that is flushed
};
inline constexpr Bug kAllBugs[] = {Bug::kUncutHistory,     Bug::kStartCommittedByVote, Bug::kTailCounts,
                                   Bug::kNoTruncation,     Bug::kHistoryFirst,         Bug::kVoteBeforeFlush,
                                   Bug::kVoteNotPersisted, Bug::kPeersOfAnyTerm,       Bug::kCatchUpAfterPromise,
                                   Bug::kAmnesia,          Bug::kAckBeforeFsync,       Bug::kServeUncommitted};
std::string to_string(Bug bug);

struct Outcome {
  std::optional<std::string> violation;
  uint64_t committed_records = 0;
  uint64_t elections_won = 0;
  uint64_t crashes = 0;
  uint64_t truncations = 0;
  uint64_t fingerprint = 0;  // equal for equal runs
};

// `steps` of faults, then quiet until progress is proven (or is a violation).
Outcome run(uint64_t seed, int steps, Bug bug = Bug::kNone);

}  // namespace helium::safekeeper::sim
