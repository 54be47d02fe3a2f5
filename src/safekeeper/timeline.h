// Timeline: one timeline at one safekeeper: the acceptor's decisions, carried out on files.
//
// Folder: the control file and WAL segments. Everything that a reply promises is durable before the call returns;
// append() is the exception: it writes, and flush() makes it durable and gives the reply.
// Errors: as the acceptor's (kFenced, kInvalid, kCorrupt) and the disk's (kNoSpace: nothing changed, try again later).
//   A timeline whose files are damaged is kept as "broken": every call fails with what is wrong.
// Residency: a timeline that nobody writes to needs neither open files nor buffers, and with an object store no local
//   WAL either. It opens itself on the first call that needs WAL files; until it has, no call answers. What it says of
//   itself (view) is exact all the time. Why nothing is lost on these ways: docs/offload.md.
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
#include "safekeeper/retention.h"
#include "safekeeper/wal_archive.h"
#include "safekeeper/wal_storage.h"
#include "wire/wal_commit.h"

namespace helium::safekeeper {

class Timeline {
 public:
  enum class Residency {
    kRecovering,  // a crash left it open: where its WAL ends must be found first
    kOpen,
    kClosed,      // WAL on the disk, nothing open
    kEvicted,     // no WAL on the disk
  };
  static std::string_view name_of(Residency residency);
  // What others may know, at one moment.
  struct View {
    wire::Membership membership;
    bool filling = false;  // a newcomer that does not count yet
    uint64_t term = 0;
    uint64_t log_term = 0;
    Lsn start_lsn, flush_lsn, commit_lsn;
    TermHistory history;            // all that was adopted
    TermHistory committed_history;  // entries that start at or before commit_lsn
    Residency residency = Residency::kOpen;
    Lsn local_start_lsn;        // WAL before it is not on the local disk
    Lsn backup_lsn;             // WAL up to here is in the object store; invalid: none
    Lsn remote_consistent_lsn;  // a pageserver has it safe up to here, as far as heard; invalid: nothing heard
  };

  // Makes folder, first segment and control file; durable on return.
  static Status create(const Environment& environment, const std::filesystem::path& folder, const ControlFile& initial);
  // Reads the control file only. Errors: kNotFound without one; kCorrupt; kInvalid: the state of another safekeeper.
  // Unless it is recovered(), ensure_recovered() comes before any other call.
  static Result<std::shared_ptr<Timeline>> load(const Environment& environment, const std::filesystem::path& folder,
                                                uint64_t safekeeper_id, Metrics& metrics);
  bool recovered() const { return recovered_; }
  bool is_open() const { return openings_ > closings_; }
  // Finds the end of WAL, if a crash left it unknown. Errors: kCorrupt; the disk's.
  Status ensure_recovered();
  // Both.
  static Result<std::shared_ptr<Timeline>> open(const Environment& environment, const std::filesystem::path& folder,
                                                uint64_t safekeeper_id, Metrics& metrics);
  // Writes down how far it is.
  ~Timeline();

  const TenantTimelineId& id() const { return control_.id; }
  const ControlFile& constants() const { return control_; }  // use only what is constant: ids, version
  const std::filesystem::path& folder() const { return folder_; }
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
  // What the others said last, and how long ago.
  struct Peer {
    MemberProgress progress;
    std::chrono::milliseconds age;
  };
  std::vector<Peer> peers() const;

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
    std::string kind;  // "feed": a pageserver; "replication": PostgreSQL's protocol
    Lsn sent, received, flushed, applied;
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

  // -- where its WAL is (timeline_residency.cc) ---------------------------------------------------------------------
  // All that retention.h decides on, at one moment.
  struct Retention {
    Residency residency = Residency::kOpen;
    Lsn start_lsn, local_start_lsn, backup_lsn, remote_consistent_lsn;
    Lsn verify_lsn;  // as on disk
    Lsn flush_lsn, commit_lsn;
    std::vector<UploaderCandidate> peers;  // without their silence
    std::vector<Lsn> wanted_from;          // positions of readers, members, the pageserver's disk
    bool has_writers = false;
    Age idle_for{0};
  };
  Retention retention() const;
  // Null without an object store.
  WalArchive* archive() const { return archive_.get(); }
  // Rises each time when local files leave that may come back.
  uint64_t files_epoch() const { return files_epoch_; }

  // What is in the store, or safe at a pageserver: only ever rises, never above what is committed here. Written down
  // soon. True if it rose.
  bool note_backup(Lsn backup_lsn);
  void note_remote_consistent(Lsn lsn);

  // Somebody writes as long as a Writer lives: the timeline stays open.
  class Writer {
   public:
    explicit Writer(Timeline& timeline) : timeline_(timeline) { ++timeline_.writers_; }
    ~Writer() {
      timeline_.touch();
      --timeline_.writers_;
    }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

   private:
    Timeline& timeline_;
  };
  // It is used now: not idle.
  void touch() { last_used_ = now(); }

  // Opens the WAL files, from the store if need be; fine if they are open. Errors: kUnavailable: the store cannot be
  // reached; kNoSpace; kCorrupt.
  Status wake();
  // Closes the WAL files; nothing happens while there is a Writer.
  Status unload();
  // And takes the local WAL away, once the store has all of it; nothing happens while there is a Writer.
  Status evict();
  // Takes local WAL before `to` away (retention.h, trim_to); kInvalid if the store does not have it.
  Status trim(Lsn to);

 private:
  using TimePoint = TimeSource::TimePoint;
  Timeline(const Environment& environment, std::filesystem::path folder, ControlFile control, Metrics& metrics);

  TimePoint now() const { return environment_.time->now(); }
  Status check_running() const;
  bool flush_locked();  // with write_mutex_; true if commit_lsn rose
  void sync(WalStorage& storage, const WalStorage::PendingSync& pending);
  bool note_durable(Lsn record_end);  // with write_mutex_ and state_mutex_; true if commit_lsn rose
  Result<wire::AppendReply> adopt(const Acceptor::ElectedDecision& decision);  // with write_mutex_
  template <typename Decide>
  Result<wire::MembershipReply> change_membership(Decide decide);
  // With control_mutex_. `also` changes further fields.
  Status write_control(const AcceptorState& state, Lsn flushed_lsn, Lsn verify_lsn,
                       const std::function<void(ControlFile& next)>& also = {});
  AcceptorState state_now() const;
  void measure_commit();  // with state_mutex_
  void notify();

  // With write_mutex_:
  Status open_locked();
  Status restore(const ControlFile& control);
  Status close_locked();
  Status leave_disk(const std::string& partial_object);
  // Whole segments.
  Status check_in_store(Lsn from, Lsn to) const;
  void set_residency(Residency residency);

  const Environment environment_;
  const std::filesystem::path folder_;
  const std::unique_ptr<WalArchive> archive_;
  Metrics& metrics_;
  Hooks hooks_;
  std::atomic<uint64_t> current_term_;
  std::atomic<uint32_t> current_generation_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> recovered_;
  std::atomic<int> writers_ = 0;
  std::atomic<TimePoint> last_used_;
  std::atomic<uint64_t> files_epoch_ = 0;
  std::atomic<uint64_t> openings_ = 0;  // changes under write_mutex_ and control_mutex_
  std::atomic<uint64_t> closings_ = 0;

  std::mutex write_mutex_;
  std::shared_ptr<WalStorage> storage_;  // null: closed; changes under write_mutex_

  std::mutex control_mutex_;
  ControlFile control_;  // as it is on disk; ids and versions are constant
  TimePoint control_written_;

  mutable std::mutex state_mutex_;
  Acceptor acceptor_;
  uint64_t told_commit_term_ = 0;  // the newest commit_lsn that the proposer told of, perhaps ahead of our flush_lsn
  Lsn told_commit_lsn_;
  std::map<uint64_t, MemberProgress> peers_;
  std::map<uint64_t, TimePoint> peers_heard_;
  struct Flushed {
    Lsn lsn;
    TimePoint at;
  };
  std::deque<Flushed> waiting_for_commit_;  // bounded
  struct Keeping {
    Residency residency = Residency::kOpen;
    Lsn local_start_lsn, verify_lsn;  // as on disk
    Lsn backup_lsn, remote_consistent_lsn;
  } keeping_;

  mutable std::mutex listeners_mutex_;
  uint64_t next_listener_ = 1;
  std::map<uint64_t, std::function<void()>> listeners_;
  std::map<uint64_t, Reader> readers_;
};

}  // namespace helium::safekeeper
