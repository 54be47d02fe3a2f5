// Proposer: a compute's half of the WAL commit protocol, as pure decisions.
//
// No I/O, no clock, no threads; the host (wal_proposer.h) sends, receives and waits, the simulation
// (src/sim) loses, doubles and reorders.
// Life: greetings of a quorum → request_votes() → a quorum of votes → elected, X known → every acceptor that
// (re)connects gets elected_message(), then WAL from its answer's flush_lsn on → acknowledgements raise commit_lsn.
//
// The membership is the acceptors': each says which one it has, the proposer remembers all of them and speaks to each
// acceptor in that one's generation. Votes and acknowledgements count only in the generation that they were given in,
// by that generation's quorum (both halves of a joint one). So a change of members needs no new term, and a half-made
// one stops nothing. Before its start is committed, a term does not outlive its generation: kLost, try a later one.
// Protocol, invariants and proof sketch: docs/protocols/wal_commit.md and membership.md.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "wire/membership.h"
#include "wire/wal_commit.h"

namespace helium::walclient {

class Proposer {
 public:
  explicit Proposer(ProposerId id) : id_(id) {}

  // -- what acceptors say of themselves: greeted, told, or with a refusal ---------------------------------------------
  struct Greeted {
    uint64_t term = 0;
    bool filling = false;
    wire::Membership membership;
  };
  // True if the membership was not known: the host connects to all_members(newest()), and tells lagging acceptors.
  bool on_greeting(uint64_t safekeeper_id, const Greeted& greeted);
  // The same from a refusal: it says what it has, but does not take part.
  bool on_membership(uint64_t safekeeper_id, uint64_t term, const wire::Membership& membership);
  // Its connection is gone: it is not heard any more.
  void on_lost(uint64_t safekeeper_id);
  void on_term_seen(uint64_t safekeeper_id, uint64_t term);

  // The highest generation that anybody told of; null if nobody did.
  const wire::Membership* newest() const { return memberships_.empty() ? nullptr : &memberships_.rbegin()->second; }
  // Nothing can be committed below it any more.
  uint32_t oldest_generation() const { return memberships_.empty() ? 0 : memberships_.begin()->first; }
  // That of an acceptor, as it said last; 0 if it did not.
  uint32_t generation_of(uint64_t safekeeper_id) const;
  bool lags(uint64_t safekeeper_id) const { return newest() && generation_of(safekeeper_id) < newest()->generation; }
  // Member of a generation in which something may still be committed.
  bool is_known(uint64_t safekeeper_id) const;
  // Greeted since the last attempt, and not lost.
  bool is_heard(uint64_t safekeeper_id) const;
  // It could vote in the term that is tried.
  bool may_vote(uint64_t safekeeper_id) const;

  // -- election -------------------------------------------------------------------------------------------------------
  // A term above all that were seen. nullopt until a quorum of one generation, newcomers left out, has been heard since
  // the last attempt: who could not win never raises a term anywhere.
  std::optional<uint64_t> next_term() const;

  // Forgets votes of an earlier attempt. `term`: from next_term(). The request goes to acceptors of its generation only.
  wire::VoteRequest request_votes(uint64_t term);
  wire::VoteRequest vote_request() const;  // the same again, for an acceptor that (re)connects

  enum class Election { kWaiting, kWon, kLost };
  // kWon exactly once, when the quorum is complete. kLost: this term cannot be won any more; greet again and try a later
  // one. After the election: only takes note of a later term.
  Election on_vote(uint64_t safekeeper_id, const wire::VoteReply& reply);
  Election election() const { return election_; }  // kLost also after kWon, until the start is committed

  // -- from here on: after kWon ---------------------------------------------------------------------------------------
  uint64_t term() const { return term_; }
  Lsn start_lsn() const { return start_lsn_; }       // X
  uint64_t donor() const { return donor_; }          // a member that has WAL up to X
  const TermHistory& history() const { return history_; }
  wire::Elected elected_message(uint64_t safekeeper_id) const;

  // True if commit_lsn rose (to X at first).
  bool on_ack(uint64_t safekeeper_id, const wire::AppendReply& ack);
  Lsn commit_lsn() const { return commit_lsn_; }
  // Members that durably hold this term's log up to `upto`, as far as is known.
  std::vector<uint64_t> members_with(Lsn upto) const;

  // The later term that somebody told of, after the election.
  std::optional<uint64_t> fenced_by() const { return fenced_by_; }

 private:
  struct Acceptor {
    uint64_t term = 0;
    uint32_t generation = 0;
    bool filling = false;
    bool heard = false;  // since the last attempt, and still connected
  };
  struct Held {  // what a member durably holds of this term's log, if at least X, as said in `generation`
    uint32_t generation = 0;
    Lsn lsn;
  };
  std::set<uint64_t> heard_in(uint32_t generation) const;
  const wire::Membership* electable() const;
  void judge_votes();
  void win();

  const ProposerId id_;
  std::map<uint32_t, wire::Membership> memberships_;  // by generation; none below the one that committed last
  std::map<uint64_t, Acceptor> acceptors_;
  uint64_t term_ = 0;
  uint32_t vote_generation_ = 0;               // in which votes for term_ are asked for
  std::map<uint64_t, wire::VoteReply> votes_;  // answers in term_ and vote_generation_, granted or not
  Election election_ = Election::kWaiting;
  uint64_t donor_ = 0;
  Lsn start_lsn_;
  TermHistory history_;
  std::map<uint64_t, Held> held_;
  Lsn commit_lsn_;
  std::optional<uint64_t> fenced_by_;
};

}  // namespace helium::walclient
