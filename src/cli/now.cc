#include "cli/now.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "cli/storage_api.h"

namespace helium::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kResolveTimeout = std::chrono::seconds(20);
// A compute that is alive feeds its followers by itself: give it this long before a catch-up is ordered.
constexpr auto kCatchUpAfter = std::chrono::milliseconds(30);
constexpr auto kPollInterval = std::chrono::milliseconds(3);

bool holds(const MemberPosition& member, const NowTarget& target) {
  return member.log_term == target.log_term && member.flush_lsn >= target.lsn;
}

void order_catch_up(const ClusterConfig& config, const TenantTimelineId& id, const NowDecision& decision,
                    const std::vector<SafekeeperTimeline>& answers) {
  const auto donor = std::ranges::find(answers, decision.donor_id, &SafekeeperTimeline::safekeeper_id);
  for (const uint64_t laggard : decision.laggards) {
    // An error here is not the end: the member may be fed by a compute, or another member may answer. The next
    // round sees what came of it.
    (void)catch_up_safekeeper(config, laggard, id, *donor, decision.target.lsn);
  }
}

}  // namespace

NowDecision decide_now(size_t member_count, std::span<const MemberPosition> answers, std::optional<NowTarget> aim) {
  const size_t majority = member_count / 2 + 1;
  NowDecision decision;
  if (answers.size() < majority) return decision;

  for (const MemberPosition& answer : answers) {
    decision.target.log_term = std::max(decision.target.log_term, answer.log_term);
  }
  for (const MemberPosition& answer : answers) {
    if (answer.log_term == decision.target.log_term) {
      decision.target.lsn = std::max(decision.target.lsn, answer.flush_lsn);
    }
  }
  // The aim is kept while its log term is the highest, but not beyond what anybody here holds: the one member
  // that had it may have gone, and then it was never acknowledged.
  if (aim && aim->log_term == decision.target.log_term) decision.target.lsn = std::min(decision.target.lsn, aim->lsn);

  size_t holders = 0;
  bool is_known_committed = false;
  for (const MemberPosition& answer : answers) {
    if (holds(answer, decision.target)) {
      ++holders;
      decision.donor_id = answer.safekeeper_id;
      if (answer.commit_lsn >= decision.target.lsn) is_known_committed = true;
    } else {
      decision.laggards.push_back(answer.safekeeper_id);
    }
  }
  decision.kind = holders >= majority || is_known_committed ? NowDecision::Kind::kResolved : NowDecision::Kind::kWait;
  return decision;
}

Result<Lsn> resolve_now(const ClusterConfig& config, const TenantId& tenant, const TimelineConfig& timeline) {
  const TenantTimelineId id{tenant, timeline.id};
  if (!timeline.has_wal()) return timeline.start_lsn;  // nobody ever wrote to it

  const Clock::time_point begin = Clock::now();
  std::optional<NowTarget> aim;
  Clock::time_point last_order = begin;
  while (true) {
    const std::vector<SafekeeperTimeline> answers = ask_safekeepers(config, timeline.members, id);
    std::vector<MemberPosition> positions;
    for (const SafekeeperTimeline& answer : answers) {
      positions.push_back({answer.safekeeper_id, answer.log_term, answer.flush_lsn, answer.commit_lsn});
    }
    const NowDecision decision = decide_now(timeline.members.size(), positions, aim);
    if (decision.kind == NowDecision::Kind::kResolved) return decision.target.lsn;
    if (decision.kind == NowDecision::Kind::kNoMajority) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("{} of {} safekeepers answer for branch '{}', too few to know its end: start the others "
                              "with 'helium safekeeper start ID', or name a position with --ancestor-start-lsn",
                              answers.size(), timeline.members.size(), timeline.branch_name));
    }
    aim = decision.target;
    const Clock::time_point now = Clock::now();
    if (now - begin > kResolveTimeout) {
      return fail(ErrorCode::kTimeout, fmt::format("no majority of safekeepers came to hold {} of branch '{}': look "
                                                   "at their logs, or name a position with --ancestor-start-lsn",
                                                   to_string(decision.target.lsn), timeline.branch_name));
    }
    if (now - last_order > kCatchUpAfter) {
      order_catch_up(config, id, decision, answers);
      last_order = Clock::now();
    } else {
      std::this_thread::sleep_for(kPollInterval);
    }
  }
}

}  // namespace helium::cli
