// Acceptor: one safekeeper's half of the WAL commit protocol, as pure decisions.
//
// No I/O, no clock, no threads. A call takes one message and answers what the host must do, and in which order,
// before the reply may leave; the host does it and then says that it is done. The host (timeline.h) works on files,
// the simulation (src/sim) on a disk that loses what was not synced.
// LSNs are record ends: the host parses what it writes and tells of nothing else (rule 3).
// Protocol, invariants and proof sketch: docs/protocols/wal_commit.md; rule numbers are its sections.

#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "wire/membership.h"
#include "wire/wal_commit.h"

namespace helium::safekeeper {

// What must survive a crash besides the WAL itself.
struct AcceptorState {
  wire::Membership membership;       // in force here; its generation is the highest that was accepted
  uint32_t promised_generation = 0;  // membership changes of lower ones are refused
  ChangerId changer;                 // to whom promised_generation was promised
  bool filling = false;              // a newcomer that does not hold yet what it must: neither votes nor counts
  uint64_t term = 0;        // highest term promised; lower ones are refused
  // To whom `term` was promised, in this generation; unset if a log of that term arrived without a vote, or if the
  // vote was given in a lower generation: then nobody gets this term here.
  ProposerId voted_for;
  TermHistory history;      // adopted; ends with the term whose appends are accepted
  Lsn start_lsn;            // the timeline's first LSN
  Lsn commit_lsn;           // known to be committed; may be older than what memory knows
  friend bool operator==(const AcceptorState&, const AcceptorState&) = default;
};

// How far a member durably is, as told by itself.
struct MemberProgress {
  uint64_t safekeeper_id = 0;
  uint32_t generation = 0;  // of the membership it had then
  bool filling = false;
  uint64_t term = 0;  // promised
  uint64_t log_term = 0;
  Lsn flush_lsn;
  Lsn commit_lsn;
};

class Acceptor {
 public:
  // flush_lsn: the end of the last complete record on disk, as recovery found it.
  Acceptor(uint64_t safekeeper_id, AcceptorState durable, Lsn flush_lsn);

  const AcceptorState& state() const { return state_; }
  Lsn flush_lsn() const { return flush_lsn_; }      // the end of the last complete record that is synced
  Lsn written_lsn() const { return written_lsn_; }  // … that is written
  Lsn commit_lsn() const { return state_.commit_lsn; }
  uint64_t log_term() const { return log_term_at(state_.history, flush_lsn_); }
  wire::AppendReply progress() const;
  // What a feed announces: entries that start at or before commit_lsn.
  TermHistory committed_history() const { return cut_history(state_.history, state_.commit_lsn); }

  // -- membership (rules 8, 9; docs/protocols/membership.md) ----------------------------------------------------------
  // `persist`, if any, is durable before `reply` leaves, then install(persist). Nothing here fails: a changer reads in
  // the reply what came of it.
  struct MembershipDecision {
    std::optional<AcceptorState> persist;
    wire::MembershipReply reply;
  };
  MembershipDecision on_prepare(const wire::PrepareRequest& request) const;
  // In force from here on: messages of lower generations are refused, votes given in them are void. A newcomer of a
  // joint membership starts to be filled (again).
  MembershipDecision on_accept(const wire::AcceptRequest& request) const;
  // Once it holds the log that is asked for, a newcomer counts; its term is raised to the one asked for.
  MembershipDecision on_fill(const wire::FillRequest& request) const;
  wire::MembershipReply membership_reply() const { return membership_reply(state_); }

  // Rule 9: another generation than the one in force is refused (kUnavailable: the two must tell each other).
  Status check_generation(uint32_t generation) const;
  // kInvalid: not a member (any more).
  Status check_member() const;

  // -- election -------------------------------------------------------------------------------------------------
  // A newcomer that is being filled, one that is no member, and another generation are refused, and the term is not
  // raised. Everything written must be synced first (rule 5: CHECK). `persist` is durable before `reply` leaves, then
  // install(persist).
  struct VoteDecision {
    std::optional<AcceptorState> persist;
    wire::VoteReply reply;
  };
  Result<VoteDecision> on_vote_request(const wire::VoteRequest& request) const;

  // The host truncates the WAL to truncate_to (zeroing all that was ever written behind it, synced), makes `persist`
  // durable, calls install(persist, truncate_to), then replies progress(). Rule 4: in this order.
  struct ElectedDecision {
    Lsn truncate_to;
    AcceptorState persist;
  };
  // Errors: kFenced: a later term was promised; kCorrupt: it would cut off committed WAL; kInvalid.
  Result<ElectedDecision> on_elected(const wire::Elected& message) const;

  // Rule 7: WAL of `log_term` comes from a peer, with no proposer alive. As if that term's proposer had said Elected.
  // Refused (kFenced) when a later term was promised: its proposer counted on what this member had. But for a newcomer
  // that is being filled: nobody counts on it, and the term may have died before anybody else had WAL of it.
  Result<ElectedDecision> on_catch_up(uint32_t generation, uint64_t log_term, const TermHistory& history) const;

  void install(AcceptorState persisted);
  void install(AcceptorState persisted, Lsn truncated_to);

  // -- appending ------------------------------------------------------------------------------------------------
  // What of an append to write: `skip` bytes of it are there already. end_of_bytes: where the host's next byte goes
  // (behind flush_lsn by the private tail of an incomplete record).
  // Errors: kFenced: not the term whose appends are accepted (a newcomer that is being filled takes those of the log that
  // it was given last, whatever was promised); kInvalid: a gap.
  struct AppendDecision {
    size_t skip = 0;
  };
  Result<AppendDecision> on_append(const wire::Append& append, Lsn end_of_bytes) const;

  void on_written(Lsn record_end);
  // All that on_written told of before the sync began, up to record_end, is synced.
  void on_flushed(Lsn record_end);

  // -- commit (rules 6, 7); true if commit_lsn rose --------------------------------------------------------------
  // From the proposer of `term`.
  bool on_commit(uint64_t term, Lsn commit_lsn);
  // From what members say about themselves; `peers` holds the others only, at most one entry each. Those of another
  // generation, newcomers that are being filled, and who has promised a later term than its log's in a membership that
  // was ever changed, do not count.
  bool on_peers(std::span<const MemberProgress> peers);

 private:
  wire::MembershipReply membership_reply(const AcceptorState& state) const;
  Result<ElectedDecision> adopt(const wire::Elected& message) const;
  bool raise_commit(Lsn lsn);
  void check_invariants() const;

  uint64_t safekeeper_id_;
  AcceptorState state_;
  Lsn flush_lsn_;
  Lsn written_lsn_;
};

}  // namespace helium::safekeeper
