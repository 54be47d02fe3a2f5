// Compute: a proposer, and the WAL that its PostgreSQL writes: first a checkpoint, of the same length in every term.
//
// It says to one safekeeper after the other what that one needs now; anything may have been lost. Not thread safe.

#pragma once

#include <map>
#include <memory>

#include "sim/network.h"
#include "sim/wal_writer.h"
#include "walclient/proposer.h"

namespace helium::sim {

class Node;
class World;

class Compute {
 public:
  Compute(World& world, Address address);

  Address address() const { return address_; }
  const walclient::Proposer& core() const { return core_; }
  bool is_elected() const { return core_.election() == walclient::Proposer::Election::kWon; }
  // Fenced, or its term is over before it began.
  bool is_over() const { return core_.fenced_by().has_value() || (begun_ && !is_elected()); }
  // Its start is committed: PostgreSQL runs.
  bool runs() const { return is_elected() && core_.commit_lsn().is_valid(); }

  void talk_to(Node& node);
  void receive(Node& from, const Bytes& message);
  // One more record; 0: of some length.
  void write(size_t size = 0);

 private:
  void send(Node& node, const wire::ProposerMessage& message);
  void send_wal(Node& node, Lsn from);
  void on(Node& from, const wire::GreetingReply& reply);
  void on(Node& from, const wire::VoteReply& reply);
  void on(Node& from, const wire::AppendReply& reply);
  void on(Node& from, const wire::MembershipTold& told);
  void on(Node& from, const wire::Refusal& refusal);
  void won();
  void note_commit();

  World& world_;
  const Address address_;
  walclient::Proposer core_;
  bool asked_ = false;
  bool begun_ = false;       // won; its log stands in the truth
  Lsn told_commit_;
  WalWriter writer_;
  bool wrote_checkpoint_ = false;
  std::map<uint64_t, Lsn> at_;  // where a safekeeper that adopted our history is
};

}  // namespace helium::sim
