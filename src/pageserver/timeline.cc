#include "pageserver/timeline.h"

#include <algorithm>

#include "base/log.h"
#include "pageserver/format.h"
#include "pageserver/metrics.h"

namespace helium::pageserver {

using layer::Key;
using layer::Version;

Result<std::shared_ptr<Timeline>> Timeline::attach(TenantTimelineId id, std::shared_ptr<layer::TimelineStore> store,
                                                   std::shared_ptr<Timeline> ancestor, TimelineOptions options) {
  HELIUM_ASSIGN(TimelineMetadata metadata, decode_timeline_metadata(store->metadata()));
  std::shared_ptr<Timeline> timeline(
      new Timeline(id, std::move(store), std::move(ancestor), std::move(metadata), std::move(options)));
  // The flush thread outlives no timeline: close() and the destructor stop the store first.
  timeline->store_->set_image_maker(
      [raw = timeline.get()](const Key& key, Lsn lsn) { return raw->reader_.page_of_key(key, lsn); });
  if (timeline->ancestor_ && !timeline->metadata_.state)
    timeline->ancestor_->want_position(timeline->store_->ancestor_lsn());
  return timeline;
}

Timeline::Timeline(TenantTimelineId id, std::shared_ptr<layer::TimelineStore> store,
                   std::shared_ptr<Timeline> ancestor, TimelineMetadata metadata, TimelineOptions options)
    : id_(id),
      metadata_(std::move(metadata)),
      options_(std::move(options)),
      store_(std::move(store)),
      ancestor_(std::move(ancestor)),
      reader_(store_, metadata_.pg_version, options_.page_cache),
      waiters_(metadata_.state ? metadata_.state->last_record_lsn : store_->start_lsn()),
      oracle_(options_.metrics),
      last_record_lsn_((metadata_.state ? metadata_.state->last_record_lsn : store_->start_lsn()).bytes()) {
  if (!metadata_.state) return;
  newest_ = StartPoint{metadata_.state->last_record_lsn, metadata_.state->last_record_start, metadata_.state->checkpoint};
  history_ = metadata_.state->history;
  if (!history_.empty()) latest_term_ = history_.back().term;
}

Timeline::~Timeline() { close(); }

void Timeline::close() {
  waiters_.close();
  store_->stop();
}

// --- reading ---

Result<bool> Timeline::data_checksums() const {
  int known = data_checksums_.load(std::memory_order_relaxed);
  if (known < 0) {
    HELIUM_ASSIGN(const pg::ControlFile control, reader_.control_file(start_lsn()));
    known = control.data_checksums();
    data_checksums_.store(known, std::memory_order_relaxed);
  }
  return known == 1;
}

Lsn Timeline::readable_lsn() const {
  if (ancestor_) {
    const Lsn inherited = ancestor_->readable_lsn();
    if (inherited < ancestor_lsn()) return inherited;
  }
  return last_record_lsn();
}

void Timeline::when_readable(Lsn lsn, Clock::time_point deadline, LsnWaiters::Callback callback) {
  if (!ancestor_ || ancestor_->readable_lsn() >= ancestor_lsn()) {
    waiters_.add(lsn, deadline, std::move(callback));
    return;
  }
  ancestor_->when_readable(std::min(lsn, ancestor_lsn()), deadline,
                           [self = shared_from_this(), lsn, deadline, callback = std::move(callback)](Status status) {
                             if (!status)
                               callback(std::move(status));
                             else
                               self->waiters_.add(lsn, deadline, callback);
                           });
}

// --- positions ---

Result<pg::Checkpoint> Timeline::checkpoint_at(Lsn lsn, const WalPosition& position) const {
  HELIUM_ASSIGN(const auto stored, store_->get_latest(Key::checkpoint(), lsn));
  if (!stored) return fail(ErrorCode::kCorrupt, "the timeline has no checkpoint at " + to_string(lsn));
  HELIUM_ASSIGN(pg::Checkpoint checkpoint, pg::decode_checkpoint(stored->bytes, metadata_.pg_version));
  checkpoint.next_full_xid = position.next_full_xid;
  checkpoint.next_multi = position.next_multi;
  checkpoint.next_multi_offset = position.next_multi_offset;
  return checkpoint;
}

Result<Timeline::StartPoint> Timeline::start_point(Lsn lsn) const {
  std::optional<WalPosition> position;
  {
    std::lock_guard lock(progress_mutex_);
    if (newest_ && newest_->lsn == lsn) return *newest_;
    position = recent_.find(lsn);
  }
  if (!position) {
    HELIUM_ASSIGN(const auto stored, store_->get_latest(Key::wal_position(), lsn));
    if (!stored || stored->lsn != lsn)
      return fail(ErrorCode::kInvalid, fmt::format("no WAL position is kept at exactly {} of timeline {}: either no "
                                                   "record ends there, or nobody asked for it in time",
                                                   lsn, id_.timeline));
    HELIUM_ASSIGN(position, decode_wal_position(stored->bytes));
  }
  HELIUM_ASSIGN(const pg::Checkpoint checkpoint, checkpoint_at(lsn, *position));
  return StartPoint{lsn, position->record_start, checkpoint};
}

Result<Timeline::BranchPoint> Timeline::branch_point(Lsn lsn, Rounding rounding) {
  if (lsn < start_lsn())
    return fail(ErrorCode::kLsnTooOld, fmt::format("{} lies before timeline {} began, at {}{}", lsn, id_.timeline,
                                                   start_lsn(), ancestor_ ? "; branch from its ancestor instead" : ""));
  if (lsn > readable_lsn()) {
    if (rounding == Rounding::kDown)
      return fail(ErrorCode::kLsnInFuture, fmt::format("{} lies ahead of timeline {}, which ends at {}", lsn,
                                                       id_.timeline, readable_lsn()));
    want_position(lsn);  // before the second look: ingest may have passed it meanwhile
    if (lsn > readable_lsn()) return BranchPoint{lsn, std::nullopt};
  }
  if (auto start = start_point(lsn)) return BranchPoint{lsn, std::move(*start)};
  HELIUM_ASSIGN(const auto stored, store_->get_latest(Key::wal_position(), lsn));
  if (!stored)
    return fail(ErrorCode::kLsnTooOld, fmt::format("timeline {} keeps no WAL position at or before {}", id_.timeline, lsn));
  HELIUM_ASSIGN(StartPoint start, start_point(stored->lsn));
  return BranchPoint{start.lsn, start};
}

void Timeline::want_position(Lsn lsn) {
  if (ancestor_ && lsn <= ancestor_lsn()) return ancestor_->want_position(lsn);
  std::lock_guard lock(progress_mutex_);
  if (lsn > last_record_lsn()) wanted_.insert(lsn);
}

// --- WAL ---

Result<Lsn> Timeline::start_ingest() {
  std::lock_guard lock(ingest_mutex_);
  if (ingest_) return ingest_->state().last_record_lsn;
  IngestState state;
  if (metadata_.state) {
    state = *metadata_.state;
  } else {
    if (readable_lsn() < start_lsn())
      return fail(ErrorCode::kUnavailable, fmt::format("the ancestor is at {}, we begin at {}", readable_lsn(), start_lsn()));
    HELIUM_ASSIGN(const StartPoint start, start_point(start_lsn()));
    state = IngestState{start.record_start, start.lsn, start.checkpoint, {}};
    std::lock_guard progress_lock(progress_mutex_);
    newest_ = start;
  }
  HELIUM_ASSIGN(ingest_, Ingest::start(store_, reader_, std::move(state)));
  return ingest_->state().last_record_lsn;
}

Status Timeline::ingest(const pg::WalRecordView& record) {
  std::lock_guard lock(ingest_mutex_);
  if (!ingest_) return fail(ErrorCode::kInternal, "ingest was not started");
  bool wanted = false;
  {
    std::lock_guard progress_lock(progress_mutex_);
    while (!wanted_.empty() && *wanted_.begin() <= record.end_lsn) {
      wanted |= *wanted_.begin() == record.end_lsn;
      wanted_.erase(wanted_.begin());
    }
  }
  if (auto done = ingest_->ingest(record, wanted); !done) {
    std::lock_guard progress_lock(progress_mutex_);
    if (wanted) wanted_.insert(record.end_lsn);
    return done;
  }
  {
    std::lock_guard progress_lock(progress_mutex_);
    const IngestState& state = ingest_->state();
    newest_ = StartPoint{state.last_record_lsn, state.last_record_start, state.checkpoint};
    recent_.add(record.end_lsn, ingest_->position());
    last_record_lsn_.store(record.end_lsn.bytes(), std::memory_order_release);
  }
  const std::optional<pg::AuxiliaryVerdict> refused = ingest_->take_refused_message();
  if (options_.metrics) {
    if (refused) options_.metrics->count_refused_message(pg::to_string(*refused));
    // xl_info and xl_rmid; the record was decoded, so they are there.
    options_.metrics->count_record(load<uint8_t>(&record.bytes[17]), load<uint8_t>(&record.bytes[16]),
                                   record.end_lsn - record.start_lsn);
  }
  if (options_.check_redo)
    if (const auto decoded = pg::decode_record(record.bytes, metadata_.pg_version))
      oracle_.check(reader_, *decoded, record.end_lsn);
  waiters_.advance(record.end_lsn);
  return {};
}

Result<bool> Timeline::announce_history(const TermHistory& history) {
  std::lock_guard lock(ingest_mutex_);
  if (!is_valid_history(history)) return fail(ErrorCode::kCorrupt, "malformed term history " + to_string(history));
  const Lsn have = last_record_lsn();
  const HistoryFit fit = fit_history(history_, have, history);
  if (fit == HistoryFit::kLags) return false;
  if (fit == HistoryFit::kDisagrees)
    return fail(ErrorCode::kCorrupt, fmt::format("the stream's term history {} disagrees with ours, {}, before {}",
                                                 to_string(history), to_string(history_), have));
  history_ = history;
  if (!history_.empty()) note_term(history_.back().term);
  return true;
}

Status Timeline::check_history(const TermHistory& history, Lsn upto) const {
  std::lock_guard lock(ingest_mutex_);
  if (is_valid_history(history) && histories_agree(history_, history, upto)) return {};
  return fail(ErrorCode::kCorrupt, fmt::format("the stream's term history {} disagrees with ours, {}, before {}",
                                               to_string(history), to_string(history_), upto));
}

void Timeline::note_term(uint64_t term) {
  uint64_t known = latest_term_.load();
  while (known < term && !latest_term_.compare_exchange_weak(known, term)) {
  }
}

void Timeline::set_ingest_error(std::string why) {
  std::lock_guard lock(progress_mutex_);
  ingest_error_ = std::move(why);
}

std::string Timeline::ingest_error() const {
  std::lock_guard lock(progress_mutex_);
  return ingest_error_;
}

// --- flushing ---

Status Timeline::freeze_locked() {
  if (!ingest_) return {};
  IngestState state = ingest_->state();
  state.history = cut_history(history_, state.last_record_lsn);
  TimelineMetadata metadata = metadata_;
  metadata.state = std::move(state);
  const Lsn upto = metadata.state->last_record_lsn;
  last_freeze_ = Clock::now();
  return store_->freeze(upto, encode(metadata));
}

Status Timeline::freeze_if_due(Clock::time_point now) {
  std::lock_guard lock(ingest_mutex_);
  return freeze_if_due_locked(now);
}

Status Timeline::freeze_if_due_locked(Clock::time_point now) {
  const uint64_t open = store_->open_bytes();
  if (open == 0) {
    last_freeze_ = now;
    return {};
  }
  if (open < options_.checkpoint_distance_bytes && !store_->should_freeze() &&
      now - last_freeze_ < options_.checkpoint_timeout)
    return {};
  return freeze_locked();
}

Status Timeline::checkpoint() {
  {
    std::lock_guard lock(ingest_mutex_);
    HELIUM_TRY(freeze_locked());
  }
  return store_->flush_and_wait();
}

void Timeline::housekeep(Clock::time_point now) {
  waiters_.expire(now, ingest_error());
  // Not while ingest is at work, or waits for the disk: it freezes by itself.
  std::unique_lock lock(ingest_mutex_, std::try_to_lock);
  if (lock && store_->open_bytes() > 0 && !store_->freeze_would_wait()) {
    if (auto frozen = freeze_if_due_locked(now); !frozen && frozen.error().code != ErrorCode::kCanceled)
      log::warn("freeze failed", {{"timeline", to_string(id_)}, {"error", frozen.error()}});
  }
}

}  // namespace helium::pageserver
