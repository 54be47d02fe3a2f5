// Now: the end of everything acknowledged on a timeline, found by asking its safekeepers.
//
// No single member knows it: the newest acknowledged bytes may be on any majority, and commit_lsn as each
// member knows it may lag. So: ask a majority; what counts is the highest flush_lsn of the highest log term
// among the answers; that position is the answer once a majority holds it in that log term. A member that
// lags is told to catch up from the one that leads. The target stays fixed while the log term does, or a busy
// timeline would run ahead of us for ever.
// Who the members are, they say themselves: the highest generation that anybody tells of counts, joint ones by both
// halves; what members of another generation, and newcomers that are being filled, say of their WAL does not. Once a member was replaced, a
// position is held by who has promised no later term than its log's: behind an election that came to nothing only the
// next one tells the end.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "cli/config.h"
#include "wire/membership.h"

namespace helium::cli {

struct MemberPosition {
  uint64_t safekeeper_id = 0;
  uint64_t log_term = 0;  // the term that owns flush_lsn
  Lsn flush_lsn;
  Lsn commit_lsn;
  uint32_t generation = 1;
  bool filling = false;
  uint64_t term = 0;      // promised
};

struct NowTarget {
  uint64_t log_term = 0;
  Lsn lsn;
  friend bool operator==(const NowTarget&, const NowTarget&) = default;
};

struct NowDecision {
  enum class Kind { kNoMajority, kResolved, kWait };
  Kind kind = Kind::kNoMajority;
  NowTarget target;                // kResolved: the answer; kWait: what a majority shall hold
  uint64_t donor_id = 0;           // kWait: who has it
  std::vector<uint64_t> laggards;  // kWait: who could catch up
};

// The pure decision over the answers of one round. `aim` is the target of the round before, if any.
NowDecision decide_now(const wire::Membership& membership, std::span<const MemberPosition> answers,
                       std::optional<NowTarget> aim);

// Asks, lets laggards catch up, asks again. kUnavailable when no majority answers, kTimeout when none comes to
// hold the position; both say what to do.
Result<Lsn> resolve_now(const ClusterConfig& config, const TenantId& tenant, const TimelineConfig& timeline);

}  // namespace helium::cli
