#include "walclient/proposer.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "base/planted_bugs.h"
#include "wire/quorum.h"

namespace helium::walclient {
namespace {

// What an acceptor says in its generation counts in this one.
bool counts_in(uint32_t said_in, uint32_t generation) {
  return said_in == generation || (planted(Bug::kOldGenerationAccepted) && said_in > generation);
}

}  // namespace

// -- what acceptors say of themselves -----------------------------------------------------------------------------------

bool Proposer::on_greeting(uint64_t safekeeper_id, const Greeted& greeted) {
  const bool is_new = on_membership(safekeeper_id, greeted.term, greeted.membership);
  Acceptor& acceptor = acceptors_[safekeeper_id];
  if (greeted.membership.generation == acceptor.generation) {
    acceptor.filling = greeted.filling;
    acceptor.heard = true;
  }
  return is_new;
}

bool Proposer::on_membership(uint64_t safekeeper_id, uint64_t term, const wire::Membership& membership) {
  if (!wire::is_valid_membership(membership)) return false;
  // Below the generation that committed last nothing can be committed any more.
  const bool is_over = commit_lsn_.is_valid() && membership.generation < memberships_.begin()->first;
  const bool is_new = !is_over && memberships_.try_emplace(membership.generation, membership).second;
  Acceptor& acceptor = acceptors_[safekeeper_id];
  acceptor.generation = std::max(acceptor.generation, membership.generation);
  on_term_seen(safekeeper_id, term);
  judge_votes();
  return is_new;
}

void Proposer::on_lost(uint64_t safekeeper_id) {
  if (const auto found = acceptors_.find(safekeeper_id); found != acceptors_.end()) found->second.heard = false;
}

bool Proposer::is_known(uint64_t safekeeper_id) const {
  return std::ranges::any_of(memberships_, [&](const auto& each) { return wire::is_member(each.second, safekeeper_id); });
}

bool Proposer::is_heard(uint64_t safekeeper_id) const {
  const auto found = acceptors_.find(safekeeper_id);
  return found != acceptors_.end() && found->second.heard;
}

bool Proposer::may_vote(uint64_t safekeeper_id) const {
  const auto found = acceptors_.find(safekeeper_id);
  return term_ != 0 && found != acceptors_.end() && !found->second.filling &&
         counts_in(found->second.generation, vote_generation_) &&
         wire::is_member(memberships_.at(vote_generation_), safekeeper_id);
}

void Proposer::on_term_seen(uint64_t safekeeper_id, uint64_t term) {
  if (!is_known(safekeeper_id)) return;
  uint64_t& seen = acceptors_[safekeeper_id].term;
  seen = std::max(seen, term);
  if (election_ == Election::kWon && term > term_) fenced_by_ = std::max(fenced_by_.value_or(0), term);
}

uint32_t Proposer::generation_of(uint64_t safekeeper_id) const {
  const auto found = acceptors_.find(safekeeper_id);
  return found == acceptors_.end() ? 0 : found->second.generation;
}

// -- election -----------------------------------------------------------------------------------------------------------

std::set<uint64_t> Proposer::heard_in(uint32_t generation) const {
  std::set<uint64_t> ids;
  for (const auto& [id, acceptor] : acceptors_) {
    if (acceptor.heard && !acceptor.filling && counts_in(acceptor.generation, generation)) ids.insert(id);
  }
  return ids;
}

// The newest membership of which a quorum is heard.
const wire::Membership* Proposer::electable() const {
  for (auto each = memberships_.rbegin(); each != memberships_.rend(); ++each) {
    if (is_quorum(each->second, heard_in(each->first))) return &each->second;
  }
  return nullptr;
}

std::optional<uint64_t> Proposer::next_term() const {
  if (electable() == nullptr) return std::nullopt;
  uint64_t highest = term_;
  for (const auto& [id, acceptor] : acceptors_) {
    if (is_known(id)) highest = std::max(highest, acceptor.term);
  }
  return highest + 1;
}

wire::VoteRequest Proposer::request_votes(uint64_t term) {
  CHECK(election_ != Election::kWon);
  CHECK(term > term_);
  const wire::Membership* membership = electable();
  CHECK(membership != nullptr);
  term_ = term;
  vote_generation_ = membership->generation;
  votes_.clear();
  held_.clear();
  election_ = Election::kWaiting;
  return vote_request();
}

wire::VoteRequest Proposer::vote_request() const {
  return {.generation = vote_generation_, .term = term_, .proposer = id_};
}

Proposer::Election Proposer::on_vote(uint64_t safekeeper_id, const wire::VoteReply& reply) {
  on_term_seen(safekeeper_id, reply.term);
  if (term_ == 0 || election_ != Election::kWaiting) return Election::kWaiting;
  if (!counts_in(reply.generation, vote_generation_)) return Election::kWaiting;
  if (!wire::is_member(memberships_.at(vote_generation_), safekeeper_id)) return Election::kWaiting;
  if (reply.term < term_) return Election::kWaiting;  // the answer to an earlier attempt
  if (reply.granted && reply.term > term_) return Election::kWaiting;
  votes_.try_emplace(safekeeper_id, reply);
  judge_votes();
  return election_;
}

// Won, lost, or still open: who has refused, or has gone on to a later generation, will not help in this one.
void Proposer::judge_votes() {
  if (term_ == 0 || commit_lsn_.is_valid() || election_ == Election::kLost) return;
  const wire::Membership& membership = memberships_.at(vote_generation_);
  std::set<uint64_t> granted, still_here, possible;
  for (const wire::Member& member : wire::all_members(membership)) {
    const auto vote = votes_.find(member.id);
    if (vote != votes_.end() && vote->second.granted) granted.insert(member.id);
    const uint32_t is_in = generation_of(member.id);
    if (is_in <= vote_generation_ || counts_in(is_in, vote_generation_)) still_here.insert(member.id);
    if (vote != votes_.end() ? vote->second.granted : still_here.contains(member.id)) possible.insert(member.id);
  }
  if (election_ == Election::kWaiting && is_quorum(membership, granted)) {
    win();
  } else if (election_ == Election::kWaiting &&
             (!is_quorum(membership, possible) || !is_quorum(membership, still_here))) {
    election_ = Election::kLost;
  }
  // The start can be committed in this generation only: members of a later one may never have been asked.
  if (election_ == Election::kWon && !is_quorum(membership, still_here)) election_ = Election::kLost;
  if (election_ == Election::kLost) {
    for (auto& [id, acceptor] : acceptors_) acceptor.heard = false;
  }
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
  if (planted(Bug::kStartCommittedByVote)) commit_lsn_ = start_lsn_;
}

wire::Elected Proposer::elected_message(uint64_t safekeeper_id) const {
  CHECK(election_ == Election::kWon);
  return {.generation = generation_of(safekeeper_id), .term = term_, .proposer = id_, .history = history_};
}

// -- commit -------------------------------------------------------------------------------------------------------------

bool Proposer::on_ack(uint64_t safekeeper_id, const wire::AppendReply& ack) {
  on_term_seen(safekeeper_id, ack.term);
  // Rule 5: an answer from before this term's vote, or from after a later one, is void. Rule 2: a member counts once
  // its log is this term's. Rule 8: a newcomer does not count before it holds what it must.
  if (election_ != Election::kWon || ack.term != term_ || ack.log_term != term_ || ack.filling) return false;
  // Rule 9: it counts in the generation that it was given in.
  const uint32_t generation = counts_in(ack.generation, vote_generation_) ? vote_generation_ : ack.generation;
  const auto membership = memberships_.find(generation);
  if (membership == memberships_.end() || !wire::is_member(membership->second, safekeeper_id)) return false;
  if (!commit_lsn_.is_valid() && generation != vote_generation_) return false;
  Held& held = held_[safekeeper_id];
  if (generation < held.generation) return false;
  held.lsn = generation > held.generation ? ack.flush_lsn : std::max(held.lsn, ack.flush_lsn);
  held.generation = generation;

  std::map<uint64_t, Lsn> reached;
  for (const auto& [id, each] : held_) {
    if (each.generation == generation) reached.emplace(id, each.lsn);
  }
  const Lsn counted = quorum_lsn(membership->second, reached);
  if (counted <= commit_lsn_) return false;
  commit_lsn_ = counted;
  memberships_.erase(memberships_.begin(), membership);
  return true;
}

std::vector<uint64_t> Proposer::members_with(Lsn upto) const {
  std::vector<uint64_t> members;
  for (const auto& [id, held] : held_) {
    if (held.lsn >= upto) members.push_back(id);
  }
  // Before it has adopted the history, the donor's log is this term's up to X already.
  if (upto <= start_lsn_ && std::ranges::find(members, donor_) == members.end()) members.push_back(donor_);
  return members;
}

}  // namespace helium::walclient
