// Timeline: one branch. It owns its store, reader, ingest and waiters, and routes between them.
//
// WAL comes record by record from one thread (wal_receiver.h); readers come from any. What a reader may see ends at
// readable_lsn(): last_record_lsn, but on a branch whose ancestor is not as far as the branch point yet, the
// ancestor's (rule 22). A branch may be made at a position that its ancestor has not reached: the ancestor then keeps
// a WAL position for exactly that record end.
// Durability: everything up to disk_consistent_lsn() survives; WAL behind it is taken again from a safekeeper.
// Ownership: shared_ptr; a branch holds its ancestor. Threads: safe from any, except where noted.

#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "base/ids.h"
#include "layer/store.h"
#include "pageserver/ingest.h"
#include "pageserver/lsn_waiters.h"
#include "pageserver/oracle.h"
#include "pageserver/page_reader.h"
#include "pageserver/recent_records.h"
#include "wire/term_history.h"

namespace helium::pageserver {

class Metrics;

struct TimelineOptions {
  uint64_t checkpoint_distance_bytes = 64 << 20;               // freeze when the open layer is this big …
  std::chrono::milliseconds checkpoint_timeout{10 * 60'000};   // … or this old
  bool check_redo = false;
  std::shared_ptr<PageCache> page_cache;
  std::shared_ptr<Metrics> metrics;
};

class Timeline : public std::enable_shared_from_this<Timeline> {
 public:
  // Over a store that was created or opened; its metadata says the rest. `ancestor` is the store's ancestor's timeline.
  static Result<std::shared_ptr<Timeline>> attach(TenantTimelineId id, std::shared_ptr<layer::TimelineStore> store,
                                                  std::shared_ptr<Timeline> ancestor, TimelineOptions options);
  ~Timeline();

  const TenantTimelineId& id() const { return id_; }
  int pg_version() const { return metadata_.pg_version; }
  uint64_t system_identifier() const { return metadata_.system_identifier; }
  const std::shared_ptr<Timeline>& ancestor() const { return ancestor_; }
  Lsn ancestor_lsn() const { return store_->ancestor_lsn(); }
  Lsn start_lsn() const { return store_->start_lsn(); }
  const std::shared_ptr<layer::TimelineStore>& store() const { return store_; }
  const PageReader& reader() const { return reader_; }
  // Of the cluster, for ever: pages get a checksum when they leave storage.
  Result<bool> data_checksums() const;

  Lsn last_record_lsn() const { return Lsn(last_record_lsn_.load(std::memory_order_acquire)); }
  Lsn wanted_lsn() const { return waiters_.wanted(); }  // a reader waits for WAL up to there
  Lsn disk_consistent_lsn() const { return store_->disk_consistent_lsn(); }
  Lsn readable_lsn() const;

  // Calls back once readable_lsn() >= lsn; see LsnWaiters for how and on which thread.
  void when_readable(Lsn lsn, Clock::time_point deadline, LsnWaiters::Callback callback);

  // What a compute needs to start at exactly `lsn`, or a branch to begin there.
  struct StartPoint {
    Lsn lsn;
    Lsn record_start;           // of the record that ends at lsn
    pg::Checkpoint checkpoint;  // the counters there
  };
  // Precondition: readable_lsn() >= lsn. Errors: kInvalid: no record that we know of ends there.
  Result<StartPoint> start_point(Lsn lsn) const;

  enum class Rounding { kDown, kExact };
  // Where a branch that was asked for at `lsn` begins: with kDown the last WAL position at or before it, with kExact
  // `lsn` itself (or, if that lies in the past and no record ends there, as kDown). A position ahead of
  // last_record_lsn is remembered, and its StartPoint stays empty. Errors: kLsnTooOld: before the timeline's start;
  // kLsnInFuture: kDown, and it lies ahead.
  struct BranchPoint {
    Lsn lsn;
    std::optional<StartPoint> start;
  };
  Result<BranchPoint> branch_point(Lsn lsn, Rounding rounding);
  // Somebody will want to start at exactly this record end, which lies ahead.
  void want_position(Lsn lsn);

  // --- WAL; one thread at a time ---

  // Where the WAL that is needed next starts. Errors: kUnavailable: the ancestor is not as far as our start yet.
  Result<Lsn> start_ingest();
  Status ingest(const pg::WalRecordView& record);
  // Rule 6: a stream that disagrees with what we have is refused. False: its safekeeper lags behind what we have, and its
  // WAL must not be taken before a history comes that agrees. Errors: kCorrupt.
  Result<bool> announce_history(const TermHistory& history);
  // For readers of stored WAL: is what they read before `upto` what was ingested? Errors: kCorrupt. Any thread.
  Status check_history(const TermHistory& history, Lsn upto) const;
  void set_ingest_error(std::string why);  // empty: it goes well again
  std::string ingest_error() const;

  // Freezes when the open layer is big or old enough. May wait for the disk: that is the back-pressure on ingest.
  Status freeze_if_due(Clock::time_point now);
  // Everything up to last_record_lsn is on disk when it returns.
  Status checkpoint();

  // The highest term that was seen in a history or a greeting: a compute of a lower one is superseded.
  uint64_t latest_term() const { return latest_term_.load(std::memory_order_acquire); }
  void note_term(uint64_t term);

  const Oracle* oracle() const { return options_.check_redo ? &oracle_ : nullptr; }

  // From time to time: expires waiters, freezes by age.
  void housekeep(Clock::time_point now);
  // Waiters get kCanceled; flushing stops. Reads go on until the last reference is gone.
  void close();

 private:
  Timeline(TenantTimelineId id, std::shared_ptr<layer::TimelineStore> store, std::shared_ptr<Timeline> ancestor,
           TimelineMetadata metadata, TimelineOptions options);

  Result<pg::Checkpoint> checkpoint_at(Lsn lsn, const WalPosition& position) const;
  Status freeze_if_due_locked(Clock::time_point now);
  Status freeze_locked();

  const TenantTimelineId id_;
  const TimelineMetadata metadata_;  // as loaded; `state` goes on in ingest_
  const TimelineOptions options_;
  const std::shared_ptr<layer::TimelineStore> store_;
  const std::shared_ptr<Timeline> ancestor_;
  PageReader reader_;
  LsnWaiters waiters_;
  Oracle oracle_;
  std::atomic<uint64_t> last_record_lsn_;
  std::atomic<uint64_t> latest_term_{0};

  mutable std::mutex ingest_mutex_;  // guards the three below; held while WAL is applied or a layer frozen
  std::unique_ptr<Ingest> ingest_;
  TermHistory history_;      // as announced, maybe longer than what we have
  Clock::time_point last_freeze_ = Clock::now();

  mutable std::atomic<int> data_checksums_{-1};  // not looked up yet

  mutable std::mutex progress_mutex_;  // guards what follows; never held for long
  std::optional<StartPoint> newest_;   // at last_record_lsn
  RecentRecords recent_;
  std::set<Lsn> wanted_;
  std::string ingest_error_;
};

}  // namespace helium::pageserver
