// Majorities, and quorums of a membership. Pure.

#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "base/lsn.h"
#include "base/planted_bugs.h"
#include "wire/membership.h"

namespace helium {

// The smallest number of `members` of which any two sets meet.
constexpr size_t majority(size_t members) { return members / 2 + 1; }

// The highest LSN that at least `quorum` of `reached` are at or behind; invalid if there are fewer.
inline Lsn quorum_lsn(std::vector<Lsn> reached, size_t quorum) {
  if (quorum == 0 || reached.size() < quorum) return Lsn();
  std::sort(reached.begin(), reached.end(), std::greater<>());
  reached.resize(quorum);
  return reached.back();
}

// A majority of `list` is in `ids`.
inline bool has_majority(const std::vector<wire::Member>& list, const std::set<uint64_t>& ids) {
  const auto in = std::ranges::count_if(list, [&](const wire::Member& member) { return ids.contains(member.id); });
  return static_cast<size_t>(in) >= majority(list.size());
}

// A majority of the members and, if joint, one of the new members too. What is said of other ids counts for nothing.
inline bool is_quorum(const wire::Membership& membership, const std::set<uint64_t>& ids) {
  const bool both = membership.is_joint() && !planted(Bug::kJointNeedsOneHalf);
  return has_majority(membership.members, ids) && (!both || has_majority(membership.new_members, ids));
}

// Whether what a member says of its log counts towards a commit that members count among themselves (rule 7): while it has
// promised no later term, as it does for a proposer. Behind a promise a log may still grow: a later winner's log contains
// WAL of the older term, and an election in between may have gone by a shorter log.
inline bool counts_without_proposer(uint64_t term, uint64_t log_term) {
  return log_term == term || planted(Bug::kPromisedCounts);
}

// The highest LSN that a quorum is at or behind; invalid if too few are known.
inline Lsn quorum_lsn(const wire::Membership& membership, const std::map<uint64_t, Lsn>& reached) {
  const auto of = [&](const std::vector<wire::Member>& list) {
    std::vector<Lsn> lsns;
    for (const wire::Member& member : list) {
      if (const auto found = reached.find(member.id); found != reached.end()) lsns.push_back(found->second);
    }
    return quorum_lsn(std::move(lsns), majority(list.size()));
  };
  const Lsn old_half = of(membership.members);
  const bool both = membership.is_joint() && !planted(Bug::kJointNeedsOneHalf);
  return both ? std::min(old_half, of(membership.new_members)) : old_half;
}

}  // namespace helium
