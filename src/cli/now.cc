#include "cli/now.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "cli/storage_api.h"
#include "wire/quorum.h"

namespace helium::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kResolveTimeout = std::chrono::seconds(20);
// A compute that is alive feeds its followers by itself: give it this long before a catch-up is ordered.
constexpr auto kCatchUpAfter = std::chrono::milliseconds(30);
constexpr auto kPollInterval = std::chrono::milliseconds(3);
constexpr auto kChangeGrace = std::chrono::seconds(3);

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

NowDecision decide_now(const wire::Membership& membership, std::span<const MemberPosition> answers,
                       std::optional<NowTarget> aim) {
  std::vector<MemberPosition> members;
  std::set<uint64_t> ids;
  for (const MemberPosition& answer : answers) {
    if (answer.generation != membership.generation || answer.filling) continue;
    members.push_back(answer);
    ids.insert(answer.safekeeper_id);
  }
  NowDecision decision;
  if (!is_quorum(membership, ids)) return decision;

  for (const MemberPosition& member : members) {
    decision.target.log_term = std::max(decision.target.log_term, member.log_term);
  }
  for (const MemberPosition& member : members) {
    if (member.log_term == decision.target.log_term) {
      decision.target.lsn = std::max(decision.target.lsn, member.flush_lsn);
    }
  }
  // The aim is kept while its log term is the highest, but not beyond what anybody here holds: the one member
  // that had it may have gone, and then it was never acknowledged.
  if (aim && aim->log_term == decision.target.log_term) decision.target.lsn = std::min(decision.target.lsn, aim->lsn);

  std::set<uint64_t> holders;
  bool is_known_committed = false;
  for (const MemberPosition& member : members) {
    if (holds(member, decision.target)) {
      if (counts_without_proposer(member.term, member.log_term)) holders.insert(member.safekeeper_id);
      decision.donor_id = member.safekeeper_id;
      if (member.commit_lsn >= decision.target.lsn) is_known_committed = true;
    } else {
      decision.laggards.push_back(member.safekeeper_id);
    }
  }
  const bool is_held = is_quorum(membership, holders) || is_known_committed;
  decision.kind = is_held ? NowDecision::Kind::kResolved : NowDecision::Kind::kWait;
  return decision;
}

Result<Lsn> resolve_now(const ClusterConfig& config, const TenantId& tenant, const TimelineConfig& timeline) {
  const TenantTimelineId id{tenant, timeline.id};
  if (!timeline.has_wal()) return timeline.start_lsn;  // nobody ever wrote to it

  const Clock::time_point begin = Clock::now();
  std::optional<NowTarget> aim;
  Clock::time_point last_order = begin;
  std::vector<uint64_t> ids = timeline.members;
  wire::Membership membership;
  membership.generation = 0;
  while (true) {
    const std::vector<SafekeeperTimeline> answers = ask_safekeepers(config, ids, id);
    std::vector<MemberPosition> positions;
    for (const SafekeeperTimeline& answer : answers) {
      if (answer.membership.generation > membership.generation) membership = answer.membership;
      positions.push_back({answer.safekeeper_id, answer.log_term, answer.flush_lsn, answer.commit_lsn,
                           answer.membership.generation, answer.filling, answer.term});
    }
    bool is_changing = membership.is_joint();
    for (const wire::Member& member : wire::all_members(membership)) {
      if (std::ranges::find(ids, member.id) != ids.end()) continue;
      ids.push_back(member.id);
      is_changing = true;
    }
    const NowDecision decision = decide_now(membership, positions, aim);
    if (decision.kind == NowDecision::Kind::kResolved) return decision.target.lsn;
    if (decision.kind == NowDecision::Kind::kNoMajority) {
      // In the middle of a change of members some are heard of late.
      if (is_changing && Clock::now() - begin < kChangeGrace) {
        std::this_thread::sleep_for(kPollInterval);
        continue;
      }
      return fail(ErrorCode::kUnavailable,
                  fmt::format("{} of {} safekeepers answer for branch '{}', too few to know its end: start the others "
                              "with 'helium safekeeper start ID', or name a position with --ancestor-start-lsn",
                              answers.size(), ids.size(), timeline.branch_name));
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
