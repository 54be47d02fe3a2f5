#include "walclient/proposer.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "wire/quorum.h"

namespace helium::walclient {

Proposer::Proposer(Config config) : config_(std::move(config)), quorum_(majority(config_.members.size())) {
  CHECK(!config_.members.empty());
}

void Proposer::on_term_seen(uint64_t safekeeper_id, uint64_t term) {
  if (std::find(config_.members.begin(), config_.members.end(), safekeeper_id) == config_.members.end()) return;
  uint64_t& seen = terms_seen_[safekeeper_id];
  seen = std::max(seen, term);
  if (election_ == Election::kWon && term > term_) fenced_by_ = std::max(fenced_by_.value_or(0), term);
}

std::optional<uint64_t> Proposer::next_term() const {
  if (terms_seen_.size() < quorum_) return std::nullopt;
  uint64_t highest = term_;
  for (const auto& [id, term] : terms_seen_) highest = std::max(highest, term);
  return highest + 1;
}

wire::VoteRequest Proposer::request_votes(uint64_t term) {
  CHECK(election_ != Election::kWon);
  CHECK(term > term_);
  term_ = term;
  votes_.clear();
  election_ = Election::kWaiting;
  return vote_request();
}

wire::VoteRequest Proposer::vote_request() const {
  return {.generation = config_.generation, .term = term_, .proposer = config_.id};
}

Proposer::Election Proposer::on_vote(uint64_t safekeeper_id, const wire::VoteReply& reply) {
  if (reply.generation != config_.generation) return Election::kWaiting;
  on_term_seen(safekeeper_id, reply.term);
  if (!terms_seen_.contains(safekeeper_id)) return Election::kWaiting;  // not a member
  if (election_ != Election::kWaiting) return Election::kWaiting;
  if (reply.term < term_) return Election::kWaiting;  // the answer to an earlier attempt
  if (reply.granted && reply.term > term_) return Election::kWaiting;
  votes_.try_emplace(safekeeper_id, reply);

  size_t granted = 0, refused = 0;
  for (const auto& [id, vote] : votes_) ++(vote.granted ? granted : refused);
  if (granted >= quorum_) {
    win();
  } else if (config_.members.size() - refused < quorum_) {
    election_ = Election::kLost;
  }
  return election_;
}

void Proposer::win() {
  const wire::VoteReply* best = nullptr;
  for (const auto& [id, vote] : votes_) {
    if (!vote.granted) continue;
    // Rule 1: the term that owns the flushed end counts first, then how far it goes.
    const auto rank = [](const wire::VoteReply& v) {
      return std::tuple(log_term_at(v.history, v.flush_lsn), v.flush_lsn);
    };
    if (best != nullptr && rank(vote) <= rank(*best)) continue;
    best = &vote;
    donor_ = id;
  }
  start_lsn_ = best->flush_lsn;
  history_ = cut_history(best->history, start_lsn_);
  history_.push_back({term_, start_lsn_});
  election_ = Election::kWon;
}

wire::Elected Proposer::elected_message() const {
  CHECK(election_ == Election::kWon);
  return {.generation = config_.generation, .term = term_, .proposer = config_.id, .history = history_};
}

bool Proposer::on_ack(uint64_t safekeeper_id, const wire::AppendReply& ack) {
  if (ack.generation != config_.generation) return false;
  on_term_seen(safekeeper_id, ack.term);
  // Rule 5: an answer from before this term's vote, or from after a later one, is void. Rule 2: a member counts once
  // its log is this term's.
  if (election_ != Election::kWon || !terms_seen_.contains(safekeeper_id)) return false;
  if (ack.term != term_ || ack.log_term != term_) return false;
  Lsn& held = held_[safekeeper_id];
  held = std::max(held, ack.flush_lsn);

  std::vector<Lsn> reached;
  for (const auto& [id, lsn] : held_) reached.push_back(lsn);
  const Lsn counted = quorum_lsn(std::move(reached), quorum_);
  if (counted <= commit_lsn_) return false;
  commit_lsn_ = counted;
  return true;
}

std::vector<uint64_t> Proposer::members_with(Lsn upto) const {
  std::vector<uint64_t> members;
  for (const auto& [id, lsn] : held_) {
    if (lsn >= upto) members.push_back(id);
  }
  // Before it has adopted the history, the donor's log is this term's up to X already.
  if (upto <= start_lsn_ && std::ranges::find(members, donor_) == members.end()) members.push_back(donor_);
  return members;
}

}  // namespace helium::walclient
