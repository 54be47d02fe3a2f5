#include "safekeeper/acceptor.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/planted_bugs.h"
#include "wire/quorum.h"

namespace helium::safekeeper {

Acceptor::Acceptor(uint64_t safekeeper_id, AcceptorState durable, Lsn flush_lsn)
    : safekeeper_id_(safekeeper_id), state_(std::move(durable)), flush_lsn_(flush_lsn), written_lsn_(flush_lsn) {
  check_invariants();
}

wire::AppendReply Acceptor::progress() const {
  return {.generation = state_.membership.generation,
          .term = planted(Bug::kVoteBeforeFlush) ? log_term() : state_.term,
          .log_term = log_term(),
          .flush_lsn = flush_lsn_,
          .commit_lsn = state_.commit_lsn,
          .filling = state_.filling};
}

// -- membership -----------------------------------------------------------------------------------------------------------

wire::MembershipReply Acceptor::membership_reply(const AcceptorState& state) const {
  return {.safekeeper_id = safekeeper_id_,
          .membership = state.membership,
          .promised_generation = state.promised_generation,
          .changer = state.changer,
          .filling = state.filling,
          .term = state.term,
          .log_term = log_term_at(state.history, flush_lsn_),
          .flush_lsn = flush_lsn_,
          .commit_lsn = state.commit_lsn,
          .history = cut_history(state.history, flush_lsn_)};
}

Acceptor::MembershipDecision Acceptor::on_prepare(const wire::PrepareRequest& request) const {
  if (request.generation <= state_.promised_generation || request.generation <= state_.membership.generation) {
    return {.persist = std::nullopt, .reply = membership_reply()};
  }
  MembershipDecision decision{.persist = state_, .reply = {}};
  decision.persist->promised_generation = request.generation;
  decision.persist->changer = request.changer;
  decision.reply = membership_reply(*decision.persist);
  return decision;
}

Acceptor::MembershipDecision Acceptor::on_accept(const wire::AcceptRequest& request) const {
  const wire::Membership& next = request.membership;
  const bool is_late = next.generation <= state_.membership.generation || next.generation < state_.promised_generation;
  // One generation is promised to one changer. (At a majority, that is: another one's accept of this number cannot be.)
  const bool is_anothers = next.generation == state_.promised_generation && request.changer.is_valid() &&
                           state_.changer != request.changer;
  if (is_late || is_anothers || !wire::is_valid_membership(next)) {
    return {.persist = std::nullopt, .reply = membership_reply()};
  }
  MembershipDecision decision{.persist = state_, .reply = {}};
  AcceptorState& after = *decision.persist;
  after.membership = next;
  if (next.generation > after.promised_generation) after.changer = request.changer;
  after.promised_generation = next.generation;
  // A term has one winner, counted within one generation: who was voted for before does not get `term` here any more.
  after.voted_for = {};
  // It may have been away for generations in which WAL was committed without it.
  if (next.is_joint() && !wire::is_in(next.members, safekeeper_id_)) {
    after.filling = !planted(Bug::kNewcomerVotesEmpty);
  }
  decision.reply = membership_reply(after);
  return decision;
}

Acceptor::MembershipDecision Acceptor::on_fill(const wire::FillRequest& request) const {
  const bool holds = std::pair(log_term(), flush_lsn_) >= std::pair(request.log_term, request.flush_lsn);
  if (request.generation != state_.membership.generation || !check_member() || !holds ||
      (!state_.filling && state_.term >= request.term)) {
    return {.persist = std::nullopt, .reply = membership_reply()};
  }
  MembershipDecision decision{.persist = state_, .reply = {}};
  decision.persist->filling = false;
  if (request.term > state_.term) {
    decision.persist->term = request.term;  // promised to nobody: elections up to there are over
    decision.persist->voted_for = {};
  }
  decision.reply = membership_reply(*decision.persist);
  return decision;
}

Status Acceptor::check_generation(uint32_t generation) const {
  if (generation == state_.membership.generation) return {};
  if (planted(Bug::kOldGenerationAccepted) && generation < state_.membership.generation) return {};
  return fail(ErrorCode::kUnavailable, fmt::format("membership generation {} is not in force here: this safekeeper has {}",
                                                   generation, wire::to_string(state_.membership)));
}

Status Acceptor::check_member() const {
  if (wire::is_member(state_.membership, safekeeper_id_)) return {};
  return fail(ErrorCode::kInvalid, fmt::format("safekeeper {} is not a member any more ({})", safekeeper_id_,
                                               wire::to_string(state_.membership)));
}

// -- election -------------------------------------------------------------------------------------------------------------

Result<Acceptor::VoteDecision> Acceptor::on_vote_request(const wire::VoteRequest& request) const {
  HELIUM_TRY(check_generation(request.generation));
  HELIUM_TRY(check_member());
  if (state_.filling) {
    return fail(ErrorCode::kUnavailable, "this newcomer is being filled: it does not vote yet");
  }
  CHECK(written_lsn_ == flush_lsn_ || planted(Bug::kVoteBeforeFlush));

  VoteDecision decision;
  if (request.term > state_.term) {
    decision.persist = state_;  // a promise: from here on, lower terms are refused
    decision.persist->term = request.term;
    decision.persist->voted_for = request.proposer;
  }
  const AcceptorState& after = decision.persist ? *decision.persist : state_;
  decision.reply = {.generation = state_.membership.generation,
                    .term = after.term,
                    // Asked again, the same proposer gets the same answer; another one does not get this term.
                    .granted = request.term == after.term &&
                               (request.proposer == after.voted_for || planted(Bug::kTermForTwo)),
                    .flush_lsn = flush_lsn_,
                    .commit_lsn = state_.commit_lsn,
                    .history = cut_history(state_.history, flush_lsn_)};
  if (planted(Bug::kUncutHistory)) {
    decision.reply.history = state_.history;
    for (TermSwitch& entry : decision.reply.history) entry.lsn = std::min(entry.lsn, flush_lsn_);
  }
  CHECK(!decision.persist || decision.reply.granted);
  return decision;
}

Result<Acceptor::ElectedDecision> Acceptor::on_elected(const wire::Elected& message) const {
  HELIUM_TRY(check_generation(message.generation));
  HELIUM_TRY(check_member());
  if (message.term < state_.term) {
    return fail(ErrorCode::kFenced, fmt::format("term {} is over: term {} was promised", message.term, state_.term));
  }
  return adopt(message);
}

Result<Acceptor::ElectedDecision> Acceptor::adopt(const wire::Elected& message) const {
  if (message.history.empty() || message.history.back().term != message.term || !is_valid_history(message.history) ||
      message.history.front().lsn < state_.start_lsn) {
    return fail(ErrorCode::kInvalid, fmt::format("term history '{}' is none of term {} on a timeline that starts at {}",
                                                 to_string(message.history), message.term, to_string(state_.start_lsn)));
  }
  ElectedDecision decision;
  decision.truncate_to = fork_point(state_.history, flush_lsn_, message.history);
  if (decision.truncate_to < state_.commit_lsn) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("term {} would cut committed WAL off: commit_lsn {}, its history '{}' leaves ours '{}' at {}",
                            message.term, to_string(state_.commit_lsn), to_string(message.history),
                            to_string(state_.history), to_string(decision.truncate_to)));
  }
  decision.persist = state_;
  if (message.term > state_.term) {
    decision.persist.term = message.term;
    decision.persist.voted_for = message.proposer;
  }
  decision.persist.history = message.history;
  return decision;
}

Result<Acceptor::ElectedDecision> Acceptor::on_catch_up(uint32_t generation, uint64_t log_term,
                                                        const TermHistory& history) const {
  if (log_term < log_term_at(state_.history, flush_lsn_)) {
    return fail(ErrorCode::kInvalid, fmt::format("log term {} is behind ours, {}", log_term, this->log_term()));
  }
  HELIUM_TRY(check_generation(generation));
  HELIUM_TRY(check_member());
  if (log_term < state_.term && !state_.filling) {
    return fail(ErrorCode::kFenced, fmt::format("term {} is over: term {} was promised", log_term, state_.term));
  }
  // What the peer adopted behind that term's WAL is none of this log.
  TermHistory of_log = history;
  while (!of_log.empty() && of_log.back().term > log_term) of_log.pop_back();
  return adopt({.generation = generation, .term = log_term, .proposer = {}, .history = std::move(of_log)});
}

void Acceptor::install(AcceptorState persisted, Lsn truncated_to) {
  CHECK(truncated_to <= flush_lsn_);
  install(std::move(persisted));
  flush_lsn_ = truncated_to;
  written_lsn_ = truncated_to;
  check_invariants();
}

void Acceptor::install(AcceptorState persisted) {
  CHECK(persisted.term >= state_.term);
  // Readers were told of this commit_lsn already, perhaps while `persisted` was on its way to the disk.
  persisted.commit_lsn = std::max(persisted.commit_lsn, state_.commit_lsn);
  state_ = std::move(persisted);
  check_invariants();
}

Result<Acceptor::AppendDecision> Acceptor::on_append(const wire::Append& append, Lsn end_of_bytes) const {
  HELIUM_TRY(check_generation(append.generation));
  CHECK(end_of_bytes >= written_lsn_);
  if (append.term < state_.term && !state_.filling) {
    return fail(ErrorCode::kFenced, fmt::format("term {} is over: term {} was promised", append.term, state_.term));
  }
  if (append.term > state_.term || state_.history.empty() || state_.history.back().term != append.term) {
    return fail(ErrorCode::kInvalid, fmt::format("append of term {} before its history", append.term));
  }
  if (append.start_lsn > end_of_bytes) {
    return fail(ErrorCode::kInvalid, fmt::format("append at {} leaves a gap behind {}", to_string(append.start_lsn),
                                                 to_string(end_of_bytes)));
  }
  // One term has one log: what is here already is the same.
  return AppendDecision{.skip = std::min<uint64_t>(end_of_bytes - append.start_lsn, append.wal.size())};
}

void Acceptor::on_written(Lsn record_end) {
  CHECK(record_end >= written_lsn_);
  written_lsn_ = record_end;
}

void Acceptor::on_flushed(Lsn record_end) {
  CHECK(record_end <= written_lsn_);
  flush_lsn_ = std::max(flush_lsn_, record_end);
}

bool Acceptor::on_commit(uint64_t term, Lsn commit_lsn) {
  if (term != log_term()) return false;
  return raise_commit(std::min(commit_lsn, flush_lsn_));
}

bool Acceptor::on_peers(std::span<const MemberProgress> peers) {
  const uint64_t own = log_term();
  if (own == 0) return false;  // nothing was ever written: the start is committed by itself
  std::map<uint64_t, Lsn> reached;
  const wire::Membership& membership = state_.membership;
  if (!state_.filling && counts_without_proposer(state_.term, own)) reached.emplace(safekeeper_id_, flush_lsn_);
  Lsn told;
  for (const MemberProgress& peer : peers) {
    if (planted(Bug::kCommitOfAnyTerm)) told = std::max(told, peer.commit_lsn);
    if ((peer.log_term != own && !planted(Bug::kPeersOfAnyTerm)) || peer.generation != membership.generation) continue;
    if (!peer.filling && counts_without_proposer(peer.term, peer.log_term)) {
      reached.emplace(peer.safekeeper_id, peer.flush_lsn);
    }
    told = std::max(told, peer.commit_lsn);
  }
  const Lsn counted = quorum_lsn(membership, reached);
  return raise_commit(std::min(std::max(counted, told), flush_lsn_));
}

bool Acceptor::raise_commit(Lsn lsn) {
  if (lsn <= state_.commit_lsn) return false;
  state_.commit_lsn = lsn;
  check_invariants();
  return true;
}

void Acceptor::check_invariants() const {
  CHECK(state_.start_lsn <= state_.commit_lsn);
  CHECK(state_.commit_lsn <= flush_lsn_);
  CHECK(flush_lsn_ <= written_lsn_);
  CHECK(state_.history.empty() || state_.history.back().term <= state_.term);
}

}  // namespace helium::safekeeper
