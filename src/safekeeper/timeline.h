// Timeline: one timeline at one safekeeper: the acceptor's decisions, carried out on files.
//
// Folder: the control file and WAL segments. Everything that a reply promises is durable before the call returns;
// append() is the exception: it writes, and flush() makes it durable and gives the reply.
// Errors: as the acceptor's (kFenced, kInvalid, kCorrupt) and the disk's (kNoSpace: nothing changed, try again later).
//   A timeline whose files are damaged is kept as "broken": every call fails with what is wrong.
// Threads: all calls are safe from any thread. write_mutex_ orders what writes WAL, control_mutex_ the control file,
//   state_mutex_ is held only for moments; they are taken in this order.

#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "base/result.h"
#include "safekeeper/acceptor.h"
#include "safekeeper/control_file.h"
#include "safekeeper/environment.h"
#include "safekeeper/metrics.h"
#include "safekeeper/wal_storage.h"
#include "wire/wal_commit.h"

namespace helium::safekeeper {

class Timeline {
 public:
  // What others may know, at one moment.
  struct View {
    wire::Membership membership;
    bool filling = false;  // a newcomer that does not count yet
    uint64_t term = 0;
    uint64_t log_term = 0;
    Lsn start_lsn, flush_lsn, commit_lsn;
    TermHistory history;            // all that was adopted
    TermHistory committed_history;  // entries that start at or before commit_lsn
  };

  // Makes folder, first segment and control file; durable on return.
  static Status create(const Environment& environment, const std::filesystem::path& folder, const ControlFile& initial);
  // Recovers. Errors: kNotFound without a control file; kCorrupt; kInvalid: the state of another safekeeper.
  static Result<std::shared_ptr<Timeline>> open(const Environment& environment, const std::filesystem::path& folder,
                                                uint64_t safekeeper_id, Metrics& metrics);
  // Writes down how far it is.
  ~Timeline();

  const TenantTimelineId& id() const { return control_.id; }
  const ControlFile& constants() const { return control_; }  // use only what is constant: ids, version
  const std::filesystem::path& folder() const { return storage_->folder(); }
  const Environment& environment() const { return environment_; }
  View view() const;
  uint64_t current_term() const { return current_term_; }  // the acceptor's, cheaply
  uint32_t current_generation() const { return current_generation_; }

  // -- the proposer's messages ------------------------------------------------------------------------------------
  Result<wire::GreetingReply> greet(const wire::Greeting& greeting);
  Result<wire::VoteReply> vote(const wire::VoteRequest& request);
  Result<wire::AppendReply> elected(const wire::Elected& message);
  Status append(const wire::Append& append);
  wire::AppendReply flush();

  // Rule 7: pulls WAL of log_term up to upto_lsn from a peer (its pg protocol address).
  Status catch_up(const HostPort& peer, uint32_t generation, uint64_t log_term, const TermHistory& history,
                  Lsn upto_lsn);

  // Rule 7: what a member says of itself; may raise commit_lsn.
  void on_peer(const MemberProgress& progress);

  // -- membership changes: from a changer, or passed on by a proposer -----------------------------------------------
  // What came of it is in the reply; an error means that nothing is known (disk full: try again).
  Result<wire::MembershipReply> prepare(const wire::PrepareRequest& request);
  Result<wire::MembershipReply> accept(const wire::AcceptRequest& request);
  Result<wire::MembershipReply> fill(const wire::FillRequest& request);
  wire::MembershipReply membership() const;

  // -- readers ----------------------------------------------------------------------------------------------------
  // kFenced unless term is the acceptor's term or its log term; kLsnInFuture behind flush_lsn.
  Status check_uncommitted_read(uint64_t term, Lsn end) const;

  // `changed` is called after each change of commit_lsn, term, history or membership and at the end, from the thread that made it;
  // it must be quick and must not call back. Remove before what it captures goes.
  uint64_t add_listener(std::function<void()> changed);
  void remove_listener(uint64_t number);
  bool stopping() const { return stopping_; }

  // A reader's name and how far it says it is, for the status page.
  struct Reader {
    std::string name;
    Lsn received, flushed;
  };
  void note_reader(uint64_t number, Reader reader);
  std::vector<Reader> readers() const;

  // -- housekeeping, from one thread --------------------------------------------------------------------------------
  // Prepares the next segment if wanted; writes positions down when they have moved for a while.
  void housekeep();
  // Set before anybody else uses the timeline; both are called from writers and must be quick.
  struct Hooks {
    std::function<void()> wants_housekeeping;
    std::function<void()> progressed;  // flush_lsn, commit_lsn, term or history moved
  };
  void set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }

  // Ends readers and writers: every later call fails (kCanceled).
  void stop();

 private:
  using TimePoint = TimeSource::TimePoint;
  Timeline(const Environment& environment, ControlFile control, std::unique_ptr<WalStorage> storage, Metrics& metrics);

  TimePoint now() const { return environment_.time->now(); }
  Status check_running() const;
  bool flush_locked();  // with write_mutex_; true if commit_lsn rose
  Result<wire::AppendReply> adopt(const Acceptor::ElectedDecision& decision);  // with write_mutex_
  template <typename Decide>
  Result<wire::MembershipReply> change_membership(Decide decide);
  Status write_control(const AcceptorState& state, Lsn flushed_lsn, Lsn verify_lsn);  // with control_mutex_
  void measure_commit();  // with state_mutex_
  void notify();

  const Environment environment_;
  Metrics& metrics_;
  Hooks hooks_;
  std::atomic<uint64_t> current_term_;
  std::atomic<uint32_t> current_generation_;
  std::atomic<bool> stopping_ = false;

  std::mutex write_mutex_;
  std::unique_ptr<WalStorage> storage_;

  std::mutex control_mutex_;
  ControlFile control_;  // as it is on disk; ids and versions are constant
  TimePoint control_written_;

  mutable std::mutex state_mutex_;
  Acceptor acceptor_;
  uint64_t told_commit_term_ = 0;  // the newest commit_lsn that the proposer told of, perhaps ahead of our flush_lsn
  Lsn told_commit_lsn_;
  std::map<uint64_t, MemberProgress> peers_;
  struct Flushed {
    Lsn lsn;
    TimePoint at;
  };
  std::deque<Flushed> waiting_for_commit_;  // bounded

  mutable std::mutex listeners_mutex_;
  uint64_t next_listener_ = 1;
  std::map<uint64_t, std::function<void()>> listeners_;
  std::map<uint64_t, Reader> readers_;
};

}  // namespace helium::safekeeper
