// MembershipChange: replaces one member of a timeline by another, as pure decisions of the changer.
//
// No I/O, no clock, no threads. The host asks for requests(), sends them all, hands in the answers that come (in any
// order, some never, some late or twice), calls advance() when the round is over (all answered, or some time has
// passed), pauses for a random moment, and begins again, until state() is kDone or kFailed. Everything that must survive
// is at the acceptors: a changer may die at any point, and another one, with an id of its own, goes on from there; two at
// once are safe.
//
// Each step of the membership is a ballot: the generation number is promised by a quorum (prepare), then the next
// membership is accepted by a quorum: stable → joint → stable. A newcomer is created when the number is promised and
// before anybody else hears of the joint membership: where that is known, a newcomer without state has lost it.
// Protocol, proof sketch and what each crash leaves: docs/protocols/membership.md.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "wire/membership.h"

namespace helium::walclient {

class MembershipChange {
 public:
  struct Config {
    ChangerId id;
    uint64_t remove = 0;               // the member that leaves
    wire::Member add;                  // the newcomer
    bool abort = false;                // go back to the members before a change that is not finished
    std::vector<wire::Member> known;   // addresses to begin with; more are learned
  };
  explicit MembershipChange(Config config);

  // -- one round ------------------------------------------------------------------------------------------------------
  struct Ask {};  // how are you?
  // Make the timeline, with this joint membership, to be filled; if it is there: accept.
  struct Create {
    wire::AcceptRequest request;
  };
  // Pull WAL of `log_term` from the donor. Not needed where a proposer lives; may be refused.
  struct CatchUp {
    wire::Member donor;
    uint32_t generation = 0;
    uint64_t log_term = 0;
    TermHistory history;
    Lsn upto_lsn;
  };
  struct Delete {};  // it is no member any more
  using Message = std::variant<Ask, wire::PrepareRequest, wire::AcceptRequest, Create, wire::FillRequest, CatchUp, Delete>;
  struct Request {
    wire::Member to;
    Message message;
  };
  std::vector<Request> requests() const;

  void on_reply(uint64_t from, const wire::MembershipReply& reply);  // to whatever it was
  void on_missing(uint64_t from);                                    // it does not have the timeline
  void on_deleted(uint64_t from);                                    // Delete is done
  void advance();

  enum class State { kDiscovering, kPreparing, kCreating, kAccepting, kFilling, kCleaning, kDone, kFailed };
  State state() const { return state_; }
  bool is_over() const { return state_ == State::kDone || state_ == State::kFailed; }
  const std::string& error() const { return error_; }  // kFailed: what is wrong and what to do
  // Somebody else's change came in between: a longer pause makes sense.
  bool was_outbid() const { return outbid_; }

  // The highest membership that was seen; null before the first answer.
  const wire::Membership* newest() const;
  // While filling: how far the newcomer is, and how far it must come.
  struct Progress {
    Lsn flush_lsn, target_lsn;
  };
  Progress progress() const;
  // What the round waits for, for a user who wonders: "a majority of 1,2,3 answered, but not 2".
  std::string waits_for() const;

 private:
  using Members = std::vector<wire::Member>;
  struct Threshold {
    uint64_t term = 0;
    uint64_t log_term = 0;
    Lsn flush_lsn;
  };

  void fail(std::string error);
  void learn(const wire::Membership& membership);
  template <typename Condition>
  std::set<uint64_t> replied(Condition condition) const;
  bool is_in_force(const wire::Membership& membership) const;
  bool is_goal(const wire::Membership& membership) const;
  bool leads_to_goal(const wire::Membership& joint) const;
  Members target(const wire::Membership& stable) const;
  std::vector<uint64_t> newcomers(const wire::Membership& joint) const;

  bool check_proposal();
  bool must_create() const;
  void advance_from(const wire::Membership& current);
  void check_order(const wire::Membership& current);
  void check_lost_newcomers(const wire::Membership& current);
  std::optional<Threshold> threshold(const wire::Membership& joint) const;
  bool holds(const wire::MembershipReply& reply, const Threshold& threshold) const;
  bool is_filled(const wire::Membership& joint) const;
  bool is_refused(const wire::Membership& joint) const;
  void prepare(const wire::Membership& current);
  bool is_prepared(const wire::Membership& current) const;
  wire::Membership next(const wire::Membership& current) const;

  void ask_all(std::vector<Request>& out, const Message& message) const;
  void ask_accepts(std::vector<Request>& out) const;
  void ask_fills(std::vector<Request>& out) const;

  const Config config_;
  State state_ = State::kDiscovering;
  std::string error_;
  bool outbid_ = false;
  std::map<uint64_t, wire::Member> contacts_;
  std::map<uint64_t, wire::MembershipReply> replies_;  // the latest of each
  std::set<uint64_t> missing_;                         // who said that it has no such timeline, since it last had one
  uint32_t ballot_ = 0;                                // 0: none
  std::optional<wire::Membership> proposal_;           // of generation ballot_, prepared
  bool creates_ = false;                               // it brings a newcomer, which is made first
  std::set<uint64_t> deleted_;
  int cleaning_rounds_ = 0;
  std::optional<Threshold> threshold_;                 // of the joint membership of fill_generation_
  uint32_t fill_generation_ = 0;
  int stalled_rounds_ = 0;                             // of filling
  Lsn filled_before_;
};

std::string to_string(MembershipChange::State state);

}  // namespace helium::walclient
