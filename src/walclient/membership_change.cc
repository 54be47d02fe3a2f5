#include "walclient/membership_change.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "base/planted_bugs.h"
#include "wire/quorum.h"

namespace helium::walclient {
namespace {

constexpr int kCleaningRoundsMax = 3;      // then what could not be deleted stays; it is no member, and knows so or not
constexpr int kStalledRoundsMax = 2;       // without progress: no proposer feeds it, a peer must

auto rank(const wire::MembershipReply& reply) { return std::tuple(reply.log_term, reply.flush_lsn); }

std::string list_ids(const std::vector<wire::Member>& members) {
  std::string text;
  for (const wire::Member& member : members) text += fmt::format("{}{}", text.empty() ? "" : ",", member.id);
  return text;
}

std::set<uint64_t> ids(const std::vector<wire::Member>& members) {
  std::set<uint64_t> set;
  for (const wire::Member& member : members) set.insert(member.id);
  return set;
}

}  // namespace

MembershipChange::MembershipChange(Config config) : config_(std::move(config)) {
  for (const wire::Member& member : config_.known) contacts_.try_emplace(member.id, member);
  if (config_.add.id != 0) contacts_.insert_or_assign(config_.add.id, config_.add);
}

void MembershipChange::fail(std::string error) {
  state_ = State::kFailed;
  error_ = std::move(error);
}

void MembershipChange::learn(const wire::Membership& membership) {
  for (const auto* list : {&membership.members, &membership.new_members, &membership.previous}) {
    for (const wire::Member& member : *list) contacts_.try_emplace(member.id, member);
  }
}

// -- answers ------------------------------------------------------------------------------------------------------------

void MembershipChange::on_reply(uint64_t from, const wire::MembershipReply& reply) {
  if (reply.safekeeper_id != from || !wire::is_valid_membership(reply.membership)) return;
  learn(reply.membership);
  // Messages overtake each other; an acceptor's generation and promise never fall.
  const auto age = [](const wire::MembershipReply& r) {
    return std::tuple(r.membership.generation, r.promised_generation, !r.filling, r.term, r.log_term, r.flush_lsn);
  };
  const auto [known, is_first] = replies_.try_emplace(from, reply);
  if (!is_first && age(reply) > age(known->second)) known->second = reply;
  missing_.erase(from);
}

void MembershipChange::on_missing(uint64_t from) {
  missing_.insert(from);
  replies_.erase(from);
}

void MembershipChange::on_deleted(uint64_t from) { deleted_.insert(from); }

template <typename Condition>
std::set<uint64_t> MembershipChange::replied(Condition condition) const {
  std::set<uint64_t> set;
  for (const auto& [id, reply] : replies_) {
    if (condition(reply)) set.insert(id);
  }
  return set;
}

const wire::Membership* MembershipChange::newest() const {
  const wire::Membership* highest = nullptr;
  for (const auto& [id, reply] : replies_) {
    if (highest == nullptr || reply.membership.generation > highest->generation) highest = &reply.membership;
  }
  return highest;
}

// A quorum has accepted exactly this: whoever reads at a quorum of it, or of the one before, finds it.
bool MembershipChange::is_in_force(const wire::Membership& membership) const {
  return is_quorum(membership, replied([&](const auto& reply) { return reply.membership == membership; }));
}

// -- where to -----------------------------------------------------------------------------------------------------------

MembershipChange::Members MembershipChange::target(const wire::Membership& stable) const {
  Members members = stable.members;
  std::erase_if(members, [&](const wire::Member& member) { return member.id == config_.remove; });
  members.push_back(config_.add);
  return members;
}

bool MembershipChange::is_goal(const wire::Membership& membership) const {
  if (membership.is_joint()) return false;
  if (config_.abort) return true;
  return wire::is_in(membership.members, config_.add.id) && !wire::is_in(membership.members, config_.remove);
}

bool MembershipChange::leads_to_goal(const wire::Membership& joint) const {
  wire::Membership before = joint;
  return wire::is_in(joint.members, config_.remove) && ids(joint.new_members) == ids(target(before));
}

std::vector<uint64_t> MembershipChange::newcomers(const wire::Membership& joint) const {
  std::vector<uint64_t> list;
  for (const wire::Member& member : joint.new_members) {
    if (!wire::is_in(joint.members, member.id)) list.push_back(member.id);
  }
  return list;
}

wire::Membership MembershipChange::next(const wire::Membership& current) const {
  wire::Membership after{.generation = ballot_, .members = current.members, .new_members = {}, .previous = {}};
  const bool is_waiting = current.is_joint() && !config_.abort && !is_filled(current);
  if (!is_in_force(current) || is_waiting) {
    // First make it a fact: nothing is ever built on what a minority holds. Or, where somebody has promised more than its
    // generation, a fact with a number that it can take.
    after.new_members = current.new_members;
    after.previous = current.previous;
  } else if (!current.is_joint()) {
    after.new_members = target(current);
  } else if (config_.abort) {
    after.previous = current.new_members;
  } else {
    after.members = current.new_members;
    after.previous = current.members;
  }
  return after;
}

// -- a round ------------------------------------------------------------------------------------------------------------

void MembershipChange::advance() {
  if (is_over()) return;
  outbid_ = false;
  if (proposal_ && !check_proposal()) return;
  const wire::Membership* current = newest();
  if (current == nullptr) {
    state_ = State::kDiscovering;
    return;
  }
  advance_from(wire::Membership(*current));
}

// The proposal is accepted, or somebody else has been promised a later number: then true, and there is none any more.
bool MembershipChange::check_proposal() {
  const bool outbid = !replied([&](const auto& reply) {
                         return reply.promised_generation > ballot_ || reply.membership.generation > ballot_;
                       }).empty();
  if (!outbid && !is_in_force(*proposal_)) {
    state_ = must_create() ? State::kCreating : State::kAccepting;
    return false;
  }
  outbid_ = outbid;
  proposal_.reset();
  ballot_ = 0;
  return true;
}

// A newcomer has its timeline before anybody else hears that it is to become a member; it is made only then. (Whatever
// newcomers of other changes say meanwhile.)
bool MembershipChange::must_create() const {
  if (!creates_) return false;
  const auto accepted = replied([&](const auto& reply) { return reply.membership == *proposal_; });
  return !std::ranges::all_of(newcomers(*proposal_), [&](uint64_t id) { return accepted.contains(id); });
}

void MembershipChange::advance_from(const wire::Membership& current) {
  const bool in_force = is_in_force(current);
  if (in_force || is_prepared(current)) {
    check_order(current);
    if (is_over()) return;
  }
  if (in_force && is_goal(current)) {
    const auto is_left = [&](const wire::Member& member) {
      return replies_.contains(member.id) && !deleted_.contains(member.id) && !wire::is_member(current, member.id);
    };
    const bool is_clean = config_.abort || std::ranges::none_of(current.previous, is_left);
    state_ = is_clean || ++cleaning_rounds_ > kCleaningRoundsMax ? State::kDone : State::kCleaning;
    return;
  }
  if (in_force && current.is_joint() && !config_.abort) {
    if (fill_generation_ != current.generation) {
      threshold_ = threshold(current);
      fill_generation_ = current.generation;
    }
    if (!is_filled(current)) {
      if (is_refused(current)) return prepare(current);
      const Lsn now = progress().flush_lsn;
      stalled_rounds_ = now > filled_before_ ? 0 : stalled_rounds_ + 1;
      filled_before_ = now;
      state_ = State::kFilling;
      return;
    }
  }
  prepare(current);
}

// Is what is wanted sensible, now that it is known what there is?
void MembershipChange::check_order(const wire::Membership& current) {
  if (config_.abort || is_goal(current)) return;
  if (current.is_joint()) {
    if (!leads_to_goal(current)) {
      return fail(fmt::format("another replacement is not finished ({}): finish it, or undo it with --abort",
                              wire::to_string(current)));
    }
    return check_lost_newcomers(current);
  }
  if (!wire::is_in(current.members, config_.remove)) {
    return fail(fmt::format("safekeeper {} is not a member ({}): name one of {}", config_.remove,
                            wire::to_string(current), list_ids(current.members)));
  }
  if (wire::is_in(current.members, config_.add.id)) {
    return fail(fmt::format("safekeeper {} is a member already ({}): name one that is not, or make a new one with 'helium "
                            "safekeeper add'",
                            config_.add.id, wire::to_string(current)));
  }
}

void MembershipChange::check_lost_newcomers(const wire::Membership& current) {
  for (const uint64_t id : newcomers(current)) {
    if (!missing_.contains(id)) continue;
    fail(fmt::format("safekeeper {} has lost its state while it was joining ({}), and an acceptor never comes back with an "
                     "empty memory: undo the change with --abort, then use a new safekeeper",
                     id, wire::to_string(current)));
  }
}

// -- filling ------------------------------------------------------------------------------------------------------------

// What members that are to count must hold: at least the term and the log that a majority of the old members told of
// after they had accepted the joint membership. Any majority will do, at any time after: so the one that asks for least
// is taken, once.
std::optional<MembershipChange::Threshold> MembershipChange::threshold(const wire::Membership& joint) const {
  std::vector<const wire::MembershipReply*> old;
  for (const wire::Member& member : joint.members) {
    const auto reply = replies_.find(member.id);
    if (reply == replies_.end() || reply->second.membership != joint || reply->second.filling) continue;
    old.push_back(&reply->second);
  }
  const size_t enough = majority(joint.members.size());
  if (old.size() < enough) return std::nullopt;
  std::ranges::sort(old, [](const auto* a, const auto* b) { return rank(*a) < rank(*b); });
  old.resize(enough);
  Threshold threshold{.term = 0, .log_term = old.back()->log_term, .flush_lsn = old.back()->flush_lsn};
  for (const auto* reply : old) threshold.term = std::max(threshold.term, reply->term);
  return threshold;
}

bool MembershipChange::holds(const wire::MembershipReply& reply, const Threshold& threshold) const {
  return !reply.filling && reply.term >= threshold.term &&
         rank(reply) >= std::tuple(threshold.log_term, threshold.flush_lsn);
}

// All newcomers, and a majority of the new members, hold it: then these can do without those that leave.
bool MembershipChange::is_filled(const wire::Membership& joint) const {
  if (planted(Bug::kNewcomerVotesEmpty)) return true;
  if (!threshold_ || fill_generation_ != joint.generation) return false;
  const auto ready = replied([&](const auto& reply) { return reply.membership == joint && holds(reply, *threshold_); });
  return has_majority(joint.new_members, ready) &&
         std::ranges::all_of(newcomers(joint), [&](uint64_t id) { return ready.contains(id); });
}

// A member to come lags behind this generation and may not take it any more: a changer that died made it promise more.
bool MembershipChange::is_refused(const wire::Membership& joint) const {
  return std::ranges::any_of(joint.new_members, [&](const wire::Member& member) {
    const auto reply = replies_.find(member.id);
    return reply != replies_.end() && reply->second.membership.generation < joint.generation &&
           reply->second.promised_generation > joint.generation;
  });
}

MembershipChange::Progress MembershipChange::progress() const {
  const wire::Membership* current = newest();
  if (current == nullptr || !current->is_joint()) return {};
  Progress progress;
  if (threshold_ && fill_generation_ == current->generation) progress.target_lsn = threshold_->flush_lsn;
  bool is_first = true;
  for (const uint64_t id : newcomers(*current)) {
    const auto reply = replies_.find(id);
    const Lsn at = reply == replies_.end() ? Lsn() : reply->second.flush_lsn;
    progress.flush_lsn = is_first ? at : std::min(progress.flush_lsn, at);
    is_first = false;
  }
  return progress;
}

// -- a ballot -----------------------------------------------------------------------------------------------------------

void MembershipChange::prepare(const wire::Membership& current) {
  uint32_t highest = current.generation;
  for (const auto& [id, reply] : replies_) highest = std::max(highest, reply.promised_generation);
  const bool is_ours = ballot_ != 0 && highest == ballot_ && current.generation < ballot_ &&
                       replied([&](const auto& reply) {
                         return reply.promised_generation == ballot_ && reply.changer != config_.id;
                       }).empty();
  if (ballot_ == 0 || (!is_ours && highest >= ballot_)) {
    outbid_ = outbid_ || ballot_ != 0;
    ballot_ = highest + 1;
    state_ = State::kPreparing;
    return;
  }
  state_ = State::kPreparing;
  if (!is_prepared(current)) return;
  proposal_ = next(current);
  creates_ = proposal_->is_joint() && !current.is_joint();
  (void)check_proposal();
}

// Both halves of a joint membership; of a stable one also the half that it came from, unless it is a fact already: who
// knows only that half must not go another way.
bool MembershipChange::is_prepared(const wire::Membership& current) const {
  if (planted(Bug::kChangerSkipsPrepare)) return true;
  const auto promised = replied([&](const auto& reply) {
    return reply.promised_generation == ballot_ && reply.changer == config_.id;
  });
  return is_quorum(current, promised) &&
         (current.previous.empty() || is_in_force(current) || has_majority(current.previous, promised));
}

// -- what to send -------------------------------------------------------------------------------------------------------

void MembershipChange::ask_all(std::vector<Request>& out, const Message& message) const {
  for (const auto& [id, member] : contacts_) {
    if (!deleted_.contains(id)) out.push_back({member, message});
  }
}

void MembershipChange::ask_accepts(std::vector<Request>& out) const {
  const auto accepted = replied([&](const auto& reply) { return reply.membership == *proposal_; });
  if (must_create()) {
    for (const uint64_t id : newcomers(*proposal_)) out.push_back({contacts_.at(id), Create{{*proposal_, config_.id}}});
    return;
  }
  for (const auto& [id, member] : contacts_) {
    if (!accepted.contains(id)) out.push_back({member, wire::AcceptRequest{*proposal_, config_.id}});
  }
}

void MembershipChange::ask_fills(std::vector<Request>& out) const {
  const wire::Membership joint = *newest();
  const auto& wanted = threshold_;
  if (!wanted || fill_generation_ != joint.generation) return ask_all(out, Ask{});
  std::set<uint64_t> asked;
  const wire::MembershipReply* donor = nullptr;
  for (const auto& [id, reply] : replies_) {
    if (donor == nullptr || rank(reply) > rank(*donor)) donor = &reply;
  }
  for (const wire::Member& member : joint.new_members) {
    const auto reply = replies_.find(member.id);
    if (reply == replies_.end() || reply->second.membership != joint) continue;
    if (holds(reply->second, *wanted)) continue;
    const bool behind = rank(reply->second) < std::tuple(wanted->log_term, wanted->flush_lsn);
    if (!behind) {
      out.push_back({member, wire::FillRequest{.generation = joint.generation,
                                               .term = wanted->term,
                                               .log_term = wanted->log_term,
                                               .flush_lsn = wanted->flush_lsn}});
    } else if (stalled_rounds_ >= kStalledRoundsMax && donor->safekeeper_id != member.id) {
      out.push_back({member, CatchUp{.donor = contacts_.at(donor->safekeeper_id),
                                     .generation = joint.generation,
                                     .log_term = donor->log_term,
                                     .history = donor->history,
                                     .upto_lsn = donor->flush_lsn}});
    } else {
      continue;
    }
    asked.insert(member.id);
  }
  for (const auto& [id, member] : contacts_) {
    const auto reply = replies_.find(id);
    if (asked.contains(id)) continue;
    // Who lags behind the generation is told of it; the rest say where they are now.
    if (wire::is_member(joint, id) && reply != replies_.end() && reply->second.membership.generation < joint.generation) {
      out.push_back({member, wire::AcceptRequest{joint, {}}});
    } else {
      out.push_back({member, Ask{}});
    }
  }
}

std::vector<MembershipChange::Request> MembershipChange::requests() const {
  std::vector<Request> out;
  switch (state_) {
    case State::kDiscovering: ask_all(out, Ask{}); break;
    case State::kPreparing: ask_all(out, wire::PrepareRequest{ballot_, config_.id}); break;
    case State::kCreating:
    case State::kAccepting: ask_accepts(out); break;
    case State::kFilling: ask_fills(out); break;
    case State::kCleaning: {
      const wire::Membership& current = *newest();
      // Who left may still be needed: while a member has not heard of it, those who have may be lost, and then only a
      // majority of the members before can tell that nothing else was decided.
      const auto knows = replied([&](const auto& reply) { return reply.membership == current; });
      const bool all_know =
          std::ranges::all_of(current.members, [&](const wire::Member& member) { return knows.contains(member.id); });
      for (const auto& [id, member] : contacts_) {
        if (wire::is_member(current, id)) {
          if (!knows.contains(id)) out.push_back({member, wire::AcceptRequest{current, {}}});
        } else if (all_know && wire::is_in(current.previous, id) && replies_.contains(id) && !deleted_.contains(id)) {
          out.push_back({member, Delete{}});
        }
      }
      break;
    }
    case State::kDone:
    case State::kFailed: break;
  }
  return out;
}

// -- for people ---------------------------------------------------------------------------------------------------------

std::string MembershipChange::waits_for() const {
  std::string answered, silent, without;
  for (const auto& [id, member] : contacts_) {
    std::string& list = replies_.contains(id) ? answered : missing_.contains(id) ? without : silent;
    list += fmt::format("{}{}", list.empty() ? "" : ",", id);
  }
  std::string text = fmt::format("safekeepers that answer: {}", answered.empty() ? "none" : answered);
  if (!silent.empty()) text += "; silent: " + silent;
  if (!without.empty()) text += "; without this timeline: " + without;
  if (const wire::Membership* current = newest()) text += "; " + wire::to_string(*current);
  return text;
}

std::string to_string(MembershipChange::State state) {
  switch (state) {
    case MembershipChange::State::kDiscovering: return "asking the members";
    case MembershipChange::State::kPreparing: return "preparing";
    case MembershipChange::State::kCreating: return "creating the newcomer";
    case MembershipChange::State::kAccepting: return "changing the membership";
    case MembershipChange::State::kFilling: return "filling the newcomer";
    case MembershipChange::State::kCleaning: return "removing what is left";
    case MembershipChange::State::kDone: return "done";
    case MembershipChange::State::kFailed: return "failed";
  }
  return "?";
}

}  // namespace helium::walclient
