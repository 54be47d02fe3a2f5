// Proposer: a compute's half of the WAL commit protocol, as pure decisions.
//
// No I/O, no clock, no threads; the host (wal_proposer.h) sends, receives and waits, the simulation
// (safekeeper/wal_commit_sim_test.cc) loses, doubles and reorders.
// Life: greetings of a majority → request_votes() → a majority of votes → elected, X known → every acceptor that
// (re)connects gets elected_message(), then WAL from its answer's flush_lsn on → acknowledgements raise commit_lsn.
// Protocol, invariants and proof sketch: docs/protocols/wal_commit.md.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "wire/wal_commit.h"

namespace helium::walclient {

class Proposer {
 public:
  struct Config {
    ProposerId id;
    uint32_t generation = 1;
    std::vector<uint64_t> members;  // safekeeper ids
  };
  explicit Proposer(Config config);

  // A term above all that were seen; nullopt until a majority was heard.
  void on_term_seen(uint64_t safekeeper_id, uint64_t term);
  std::optional<uint64_t> next_term() const;

  // Forgets votes of an earlier attempt. `term` must be above the terms tried before.
  wire::VoteRequest request_votes(uint64_t term);
  wire::VoteRequest vote_request() const;  // the same again, for an acceptor that (re)connects

  enum class Election { kWaiting, kWon, kLost };
  // kWon exactly once, when the majority is complete. kLost: so many refused that this term cannot be won; try a later
  // one. After the election: only takes note of a later term.
  Election on_vote(uint64_t safekeeper_id, const wire::VoteReply& reply);
  Election election() const { return election_; }

  // From here on: after kWon.
  uint64_t term() const { return term_; }
  Lsn start_lsn() const { return start_lsn_; }       // X
  uint64_t donor() const { return donor_; }          // a member that has WAL up to X
  const TermHistory& history() const { return history_; }
  wire::Elected elected_message() const;

  // True if commit_lsn rose (to X at first).
  bool on_ack(uint64_t safekeeper_id, const wire::AppendReply& ack);
  Lsn commit_lsn() const { return commit_lsn_; }
  // Members that durably hold this term's log up to `upto`, as far as is known.
  std::vector<uint64_t> members_with(Lsn upto) const;

  // The later term that somebody told of, after the election.
  std::optional<uint64_t> fenced_by() const { return fenced_by_; }

 private:
  void win();

  const Config config_;
  const size_t quorum_;
  std::map<uint64_t, uint64_t> terms_seen_;
  uint64_t term_ = 0;
  std::map<uint64_t, wire::VoteReply> votes_;  // answers in term_, granted or not
  Election election_ = Election::kWaiting;
  uint64_t donor_ = 0;
  Lsn start_lsn_;
  TermHistory history_;
  std::map<uint64_t, Lsn> held_;  // what a member durably holds of this term's log, if at least X
  Lsn commit_lsn_;
  std::optional<uint64_t> fenced_by_;
};

}  // namespace helium::walclient
