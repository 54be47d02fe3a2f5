// Node: the machine of one safekeeper: a disk, and on it the production Safekeeper, as long as the power is on.
//
// Each call stands for a message or an event; a power cut in it ends the process. After each one the checkers look at
// what the node says; after each start at what it has forgotten. Not thread safe.

#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "safekeeper/control_file.h"
#include "safekeeper/feed_cursor.h"
#include "safekeeper/safekeeper.h"
#include "sim/sim_disk.h"
#include "walclient/membership_change.h"
#include "wire/wal_commit.h"

namespace helium::sim {

class World;

class Node {
 public:
  Node(World& world, uint64_t id);
  ~Node();

  uint64_t id() const { return id_; }
  SimDisk& disk() { return disk_; }
  bool up() const { return safekeeper_ != nullptr; }
  uint64_t life() const { return life_; }  // changes with each start
  // Null: it is down, or does not have the timeline, or refuses it.
  std::shared_ptr<safekeeper::Timeline> timeline();
  // Its state is damaged or gone: it must never count again.
  bool is_lost() const { return lost_; }
  // The timeline was deleted here, or may have been: it is never made again.
  bool is_spent() const { return may_be_deleted_; }
  // What it said last, also while it is down.
  const safekeeper::Timeline::View& said() const { return said_; }
  // With all that it must have to count.
  bool is_healthy() const { return !lost_ && created_ && !may_be_deleted_ && !said_.filling; }
  bool is_busy();  // its disk is slow

  // -- events ---------------------------------------------------------------------------------------------------------
  void start();
  void power_off();
  void kill();  // the operating system lives
  void stop();  // cleanly
  void create(const safekeeper::ControlFile& initial);  // by order of the control plane
  void lose_disk();
  // Flips a bit of what recovery must not miss; false if there is nothing of that kind. Only while it is down.
  bool damage();

  // -- messages -------------------------------------------------------------------------------------------------------
  void on_push(int from, const Bytes& message);
  void flush();  // a batch: one sync, then all answers
  bool has_unanswered() const { return !unanswered_.empty(); }
  void on_peer(const safekeeper::MemberProgress& progress);
  std::optional<safekeeper::MemberProgress> progress();
  void housekeep();
  void catch_up(Node& peer);
  // What a changer asks; `answer` is called if there is an answer.
  using Answer = std::function<void(walclient::MembershipChange& changer)>;
  void on_change(const walclient::MembershipChange::Message& message, const std::function<void(Answer)>& answer);

 private:
  struct OfPush;
  template <typename Work>
  void guarded(Work work);
  void crashed();
  void check_recovered(const Status& opened);
  void check_said();
  // All WAL that it has, as reads see it, up to `end`.
  Bytes wal(Lsn end) const;
  Status read_from_peer(const safekeeper::Environment::PeerWal& wanted, const safekeeper::Environment::Consume& consume);
  void reply(int to, const wire::AcceptorMessage& message);
  void refuse(int to, const Error& error);
  void may_cut(const TermHistory& next);
  Result<wire::MembershipReply> change(safekeeper::Timeline& timeline, const walclient::MembershipChange::Message& message);

  World& world_;
  const uint64_t id_;
  SimDisk disk_;
  std::unique_ptr<safekeeper::Safekeeper> safekeeper_;
  uint64_t life_ = 0;
  bool created_ = false;
  bool may_be_deleted_ = false, deleted_ = false;
  bool lost_ = false;
  bool damaged_ = false;
  safekeeper::Timeline::View said_;
  std::optional<Lsn> may_cut_to_;  // a truncation was under way
  std::set<int> unanswered_;
};

}  // namespace helium::sim
