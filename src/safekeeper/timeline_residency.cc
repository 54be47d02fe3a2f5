// Where a timeline's WAL is: open, closed, or gone to the store and back. The order of steps is what a crash cannot
// harm; each is named in docs/offload.md, "Steps".

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "pg/constants.h"
#include "pg/wal_segment.h"
#include "pg/wal_stream.h"
#include "safekeeper/timeline.h"

namespace helium::safekeeper {
namespace {

Lsn segment_floor(Lsn lsn) { return pg::wal_segment_start(pg::wal_segment_number(lsn)); }

// The WAL of a segment from its start on ends with a whole record at `end`. Errors: kCorrupt.
Status check_partial_segment(ByteView content, Lsn timeline_start, Lsn end) {
  const Lsn start = segment_floor(end);
  Lsn first = timeline_start;
  if (timeline_start < start) {
    const auto found = pg::find_first_record(content, start);
    if (!found && found.error().code == ErrorCode::kTruncated) return {};  // only the rest of an earlier record
    HELIUM_ASSIGN(first, found);
  }
  if (first >= end) return {};
  pg::WalStreamDecoder decoder(first);
  decoder.feed(content.subspan(first - start));
  while (true) {
    HELIUM_ASSIGN(const auto record, decoder.next());
    if (!record) break;
  }
  if (decoder.record_end_lsn() == end) return {};
  return fail(ErrorCode::kCorrupt, fmt::format("damaged WAL: no valid record at {}, though it was synced up to {}",
                                               to_string(decoder.record_end_lsn()), to_string(end)));
}

Age age(std::chrono::steady_clock::duration duration) { return std::chrono::duration_cast<Age>(duration); }

// Where local WAL begins that consists of the last segment only.
Lsn local_start_of(Lsn flush_lsn, Lsn start_lsn) { return std::max(start_lsn, segment_floor(flush_lsn)); }

// Removes segment files for whose number `gone` is true. Returns how many.
Result<size_t> remove_segments(Disk& disk, const std::filesystem::path& folder,
                               const std::function<bool(uint64_t segno)>& gone) {
  HELIUM_ASSIGN(const auto files, disk.list_folder(folder));
  size_t removed = 0;
  for (const Disk::Entry& file : files) {
    const auto segno = parse_segment_name(file.name);
    if (!segno || !gone(*segno)) continue;
    HELIUM_TRY(disk.remove_file(folder / file.name));
    ++removed;
  }
  if (removed > 0) HELIUM_TRY(disk.sync_folder(folder));
  return removed;
}

}  // namespace

std::string_view Timeline::name_of(Residency residency) {
  switch (residency) {
    case Residency::kRecovering: return "recovering";
    case Residency::kOpen: return "open";
    case Residency::kClosed: return "closed";
    case Residency::kEvicted: return "evicted";
  }
  return "";
}

Timeline::Retention Timeline::retention() const {
  Retention now_known;
  {
    const std::lock_guard lock(state_mutex_);
    now_known = {.residency = keeping_.residency,
                 .start_lsn = acceptor_.state().start_lsn,
                 .local_start_lsn = keeping_.local_start_lsn,
                 .backup_lsn = keeping_.backup_lsn,
                 .remote_consistent_lsn = keeping_.remote_consistent_lsn,
                 .verify_lsn = keeping_.verify_lsn,
                 .flush_lsn = acceptor_.flush_lsn(),
                 .commit_lsn = acceptor_.commit_lsn()};
    for (const auto& [id, peer] : peers_) {
      now_known.peers.push_back({.safekeeper_id = id, .commit_lsn = peer.commit_lsn});
      now_known.wanted_from.push_back(peer.flush_lsn);
    }
  }
  if (now_known.remote_consistent_lsn.is_valid()) now_known.wanted_from.push_back(now_known.remote_consistent_lsn);
  for (const Reader& reader : readers()) now_known.wanted_from.push_back(reader.received);
  now_known.has_writers = writers_ > 0;
  now_known.idle_for = age(now() - last_used_.load());
  return now_known;
}

bool Timeline::note_backup(Lsn backup_lsn) {
  {
    const std::lock_guard lock(state_mutex_);
    // What is not committed here cannot be in the store: a peer that says so is ahead of us, or wrong.
    backup_lsn = std::min(backup_lsn, segment_floor(acceptor_.commit_lsn()));
    if (backup_lsn <= keeping_.backup_lsn) return false;
    keeping_.backup_lsn = backup_lsn;
  }
  if (hooks_.progressed) hooks_.progressed();
  return true;
}

void Timeline::note_remote_consistent(Lsn lsn) {
  {
    const std::lock_guard lock(state_mutex_);
    lsn = std::min(lsn, acceptor_.commit_lsn());
    if (lsn <= keeping_.remote_consistent_lsn) return;
    keeping_.remote_consistent_lsn = lsn;
  }
  if (hooks_.progressed) hooks_.progressed();
}

// -- opening ----------------------------------------------------------------------------------------------------------

Status Timeline::wake() {
  const std::lock_guard write_lock(write_mutex_);
  HELIUM_TRY(check_running());
  touch();
  return open_locked();
}

Status Timeline::ensure_recovered() {
  if (recovered()) return {};
  return wake();
}

Status Timeline::open_locked() {
  if (storage_) return {};
  ControlFile control;
  {
    const std::lock_guard control_lock(control_mutex_);
    control = control_;
  }
  // Step 1: the last segment is on the disk, durably.
  if (control.evicted) HELIUM_TRY(restore(control));
  // What comes from the store is checked already; what lay on the disk is read, though a clean close told where it ends.
  auto opened = WalStorage::open(environment_.disk, folder_, {.verify_lsn = control.verify_lsn,
                                                              .flushed_lsn = control.flushed_lsn,
                                                              .is_exact = control.evicted,
                                                              .pg_version = static_cast<int>(control.pg_version)});
  if (!control.evicted) metrics_.count_recovery();
  if (!opened) {
    if (opened.error().code == ErrorCode::kCorrupt) {  // from here on it does not say that it has this WAL
      recovered_ = false;
      set_residency(Residency::kRecovering);
    }
    return fail(std::move(opened).error());
  }
  std::unique_ptr<WalStorage> storage = std::move(*opened);
  if (storage->record_end() < control.acceptor.commit_lsn) {
    return fail(ErrorCode::kCorrupt, fmt::format("damaged WAL in '{}': it ends at {}, though {} is committed",
                                                 folder_.string(), to_string(storage->record_end()),
                                                 to_string(control.acceptor.commit_lsn)));
  }
  // Step 2: the control file says so. Only then may anything be written, or the exact position would be wrong.
  const std::lock_guard control_lock(control_mutex_);
  AcceptorState state;
  {
    const std::lock_guard lock(state_mutex_);
    if (!recovered_) acceptor_ = Acceptor(control_.safekeeper_id, control_.acceptor, storage->record_end());
    // A write that failed may have left a whole record behind what was closed. It is of this log: it counts from now on.
    if (storage->record_end() > acceptor_.flush_lsn()) {
      acceptor_ = Acceptor(control_.safekeeper_id, acceptor_.state(), storage->record_end());
    }
    state = acceptor_.state();
  }
  if (control.evicted || control.clean_close) {
    HELIUM_TRY(write_control(state, acceptor_.flush_lsn(), storage->verify_lsn(), [&](ControlFile& next) {
      if (control.evicted) next.local_start_lsn = local_start_of(control.flushed_lsn, control.acceptor.start_lsn);
      next.evicted = false;
      next.partial_object.clear();
      next.clean_close = false;
    }));
  }
  storage_ = std::move(storage);
  ++openings_;
  recovered_ = true;
  set_residency(Residency::kOpen);
  if (control.evicted) {
    metrics_.count_restore();
    log::info("timeline woke up", {{"timeline", to_string(id())}, {"flush_lsn", acceptor_.flush_lsn()}});
  }
  return {};
}

Status Timeline::restore(const ControlFile& control) {
  const Lsn flush = control.flushed_lsn;
  const uint64_t segno = pg::wal_segment_number(flush);
  Bytes content;
  if (!control.partial_object.empty()) {
    if (!archive_) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("the WAL of timeline {} is in an object store: start the safekeeper with the --object-store "
                              "that it had",
                              to_string(id())));
    }
    HELIUM_ASSIGN(const PartialName name, parse_partial_name(control.partial_object));
    if (name.flush_lsn != flush || name.safekeeper_id != control.safekeeper_id) {
      return fail(ErrorCode::kCorrupt, fmt::format("partial object '{}' does not fit flush_lsn {}", control.partial_object,
                                                   to_string(flush)));
    }
    Result<Bytes> got = archive_->get_partial(control.partial_object);
    if (!got) {
      Error error = std::move(got).error();
      if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kUnavailable;  // the timeline is here; its WAL is not
      return fail(std::move(error).context(fmt::format("wake timeline {} up", to_string(id()))));
    }
    content = std::move(*got);
  } else if (flush == control.acceptor.start_lsn) {
    // Nothing was ever written: its first segment is made of what it starts with.
    HELIUM_TRY(WalStorage::create(*environment_.disk, folder_, flush, control.system_id, static_cast<int>(control.pg_version)));
  } else if (pg::wal_segment_offset(flush) != 0) {
    return fail(ErrorCode::kCorrupt, fmt::format("timeline {} sleeps at {}, but no partial object holds its last segment",
                                                 to_string(id()), to_string(flush)));
  }
  if (!content.empty()) {
    const Disk::Piece whole{0, content};
    HELIUM_TRY(WalStorage::create_segment(*environment_.disk, folder_, segno, {&whole, 1}));
  }
  // What an interrupted eviction or an earlier life left.
  HELIUM_ASSIGN([[maybe_unused]] const size_t removed,
                remove_segments(*environment_.disk, folder_, [&](uint64_t other) { return other != segno; }));
  return {};
}

// -- closing ----------------------------------------------------------------------------------------------------------

Status Timeline::close_locked() {
  if (!storage_) return {};
  flush_locked();
  storage_->drop_tail();
  {
    const std::lock_guard control_lock(control_mutex_);
    HELIUM_TRY(write_control(state_now(), acceptor_.flush_lsn(), storage_->verify_lsn(),
                             [](ControlFile& next) { next.clean_close = true; }));
  }
  storage_.reset();
  ++closings_;
  {
    const std::lock_guard lock(state_mutex_);
    waiting_for_commit_.clear();
    waiting_for_commit_.shrink_to_fit();
  }
  set_residency(Residency::kClosed);
  return {};
}

Status Timeline::unload() {
  const std::lock_guard write_lock(write_mutex_);
  HELIUM_TRY(check_running());
  if (writers_ > 0) return {};
  return close_locked();
}

Status Timeline::evict() {
  CHECK(archive_);
  Lsn flush, start, local_start;
  PartialName name;
  {
    const std::lock_guard write_lock(write_mutex_);
    HELIUM_TRY(check_running());
    if (writers_ > 0 || !recovered_) return {};
    HELIUM_TRY(close_locked());
    const std::lock_guard lock(state_mutex_);
    if (keeping_.residency != Residency::kClosed) return {};  // it sleeps already
    flush = acceptor_.flush_lsn();
    start = acceptor_.state().start_lsn;
    local_start = keeping_.local_start_lsn;
    name = {.segno = pg::wal_segment_number(flush), .log_term = acceptor_.log_term(), .flush_lsn = flush,
            .commit_lsn = acceptor_.commit_lsn(), .safekeeper_id = control_.safekeeper_id};
  }
  // Step 1: all of it is in the store. Without write_mutex_: who comes now need not wait for the store.
  HELIUM_TRY(check_in_store(segment_floor(local_start), segment_floor(flush)));
  std::string object;
  if (flush != start && pg::wal_segment_offset(flush) != 0) {
    Bytes content(pg::wal_segment_offset(flush));
    HELIUM_TRY(WalReader(environment_.disk, folder_).read(segment_floor(flush), content));
    HELIUM_TRY(check_partial_segment(content, start, flush));
    HELIUM_ASSIGN(object, archive_->put_partial(name, content));
  }
  {
    const std::lock_guard write_lock(write_mutex_);
    HELIUM_TRY(check_running());
    // A closed timeline does not change: if it is where it was, what we stored is what it has.
    if (!storage_ && acceptor_.flush_lsn() == flush && acceptor_.log_term() == name.log_term) {
      HELIUM_TRY(leave_disk(object));
    } else {
      object.clear();  // somebody came meanwhile; the object is of no use
    }
  }
  return archive_->remove_partials(control_.safekeeper_id, object);
}

Status Timeline::leave_disk(const std::string& partial_object) {
  const Lsn flush = acceptor_.flush_lsn();
  // Step 2: the control file says where the WAL is. Recovery would begin in the last segment, if at all.
  {
    const std::lock_guard control_lock(control_mutex_);
    const Lsn verify = control_.verify_lsn < segment_floor(flush) ? flush : std::min(control_.verify_lsn, flush);
    HELIUM_TRY(write_control(state_now(), flush, verify, [&](ControlFile& next) {
      next.evicted = true;
      next.partial_object = partial_object;
      next.clean_close = true;
      next.local_start_lsn = local_start_of(flush, next.acceptor.start_lsn);
    }));
  }
  set_residency(Residency::kEvicted);
  ++files_epoch_;
  metrics_.count_eviction();
  log::info("timeline fell asleep", {{"timeline", to_string(id())}, {"flush_lsn", flush}, {"object", partial_object}});
  // Step 3: the files go.
  HELIUM_ASSIGN([[maybe_unused]] const size_t removed,
                remove_segments(*environment_.disk, folder_, [](uint64_t) { return true; }));
  return {};
}

// -- trimming ---------------------------------------------------------------------------------------------------------

Status Timeline::check_in_store(Lsn from, Lsn to) const {
  for (uint64_t segno = pg::wal_segment_number(from); segno < pg::wal_segment_number(to); ++segno) {
    HELIUM_ASSIGN(const bool there, archive_->has_segment(segno));
    if (!there) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("WAL segment {} is not in the object store ({}), though it is said to be: it stays here",
                              pg::wal_segment_name(1, segno), archive_->describe()));
    }
  }
  return {};
}

Status Timeline::trim(Lsn to) {
  CHECK(archive_);
  Lsn from;
  {
    const std::lock_guard lock(state_mutex_);
    from = keeping_.local_start_lsn;
  }
  if (segment_floor(to) <= segment_floor(from)) return {};
  // Step 1: not what somebody said, but what is there.
  HELIUM_TRY(check_in_store(from, to));
  {
    // Step 2: the control file says that the WAL before `to` is not here.
    const std::lock_guard control_lock(control_mutex_);
    Lsn flushed;
    AcceptorState state;
    {
      const std::lock_guard lock(state_mutex_);
      if (keeping_.residency == Residency::kEvicted || keeping_.residency == Residency::kRecovering) return {};
      state = acceptor_.state();
      flushed = acceptor_.flush_lsn();
    }
    CHECK(to <= state.commit_lsn);
    if (control_.verify_lsn < to) return {};  // cut off meanwhile; the next round decides anew
    HELIUM_TRY(write_control(state, flushed, control_.verify_lsn,
                             [&](ControlFile& next) { next.local_start_lsn = to; }));
  }
  // Step 3: the files go; what a crash leaves of them, the next trim takes along.
  HELIUM_ASSIGN(const size_t removed, remove_segments(*environment_.disk, folder_, [&](uint64_t segno) {
                  return segno < pg::wal_segment_number(to);
                }));
  metrics_.count_trimmed(removed);
  log::info("WAL trimmed", {{"timeline", to_string(id())}, {"local_start_lsn", to}, {"segments", removed}});
  return {};
}

void Timeline::set_residency(Residency residency) {
  const std::lock_guard lock(state_mutex_);
  keeping_.residency = residency;
}

}  // namespace helium::safekeeper
