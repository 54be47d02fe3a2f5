#include "safekeeper/offloader.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "pg/constants.h"

namespace helium::safekeeper {
namespace {

constexpr Age kFirstPause{1000};
constexpr Age kLongestPause{60'000};
constexpr int kSegmentsPerRound = 8;  // then the other timelines have their turn

}  // namespace

bool Offloader::round(Timeline& timeline, const Silence& silence) {
  if (timeline.stopping() || !timeline.recovered()) return false;
  Timeline::Retention known = timeline.retention();
  State& state = states_[timeline.id()];
  if (state.retry_at > time_.now()) return false;
  bool more = false;
  if (timeline.archive() != nullptr) {
    more = offload(timeline, known, silence, state);
    known = timeline.retention();
    trim(timeline, known, state);
  }
  if (!more) sleep_if_idle(timeline, timeline.retention(), state);
  return more;
}

bool Offloader::offload(Timeline& timeline, const Timeline::Retention& known, const Silence& silence, State& state) {
  if (!segment_to_offload(known.start_lsn, known.backup_lsn, known.commit_lsn)) {
    state.waiting_since = {};
    return false;
  }
  const TimePoint now = time_.now();
  if (state.waiting_since == TimePoint() || known.backup_lsn != state.backup_lsn) state.waiting_since = now;
  state.backup_lsn = known.backup_lsn;
  std::vector<UploaderCandidate> members{{.safekeeper_id = options_.safekeeper_id, .commit_lsn = known.commit_lsn}};
  for (UploaderCandidate peer : known.peers) {
    const auto heard = silence.find(peer.safekeeper_id);
    peer.silent_for = heard == silence.end() ? Age::max() : heard->second;
    members.push_back(peer);
  }
  const Age stuck_for = std::chrono::duration_cast<Age>(now - state.waiting_since);
  if (!should_offload(options_.safekeeper_id, members, timeline.id().timeline, stuck_for)) return false;
  bool more = false;
  if (const Status done = offload_segments(timeline, known, more); !done) {
    if (done.error().code != ErrorCode::kCanceled) {
      metrics_.count_offload_error();
      failed(timeline, "cannot offload WAL", done.error(), state);
    }
    return false;
  }
  succeeded(state);
  return more;
}

Status Offloader::offload_segments(Timeline& timeline, const Timeline::Retention& known, bool& more) {
  WalArchive& archive = *timeline.archive();
  SegmentCheck check(known.start_lsn);
  WalReader local(timeline.environment().disk, timeline.folder());
  Bytes segment(pg::kWalSegmentSize);
  Lsn backup = known.backup_lsn;
  if (backup > backup_start(known.start_lsn)) {
    // The segment before, so that a record which crosses over is checked as a whole.
    const uint64_t before = pg::wal_segment_number(backup) - 1;
    Status got = local.read(pg::wal_segment_start(before), segment);
    if (!got && got.error().code == ErrorCode::kLsnTooOld) got = archive.read(pg::wal_segment_start(before), segment);
    if (got) HELIUM_TRY(check.check(before, segment));
  }
  for (int i = 0; i < kSegmentsPerRound; ++i) {
    const auto segno = segment_to_offload(known.start_lsn, backup, known.commit_lsn);
    if (!segno) return {};
    if (timeline.stopping()) return fail(ErrorCode::kCanceled, "stopping");
    const Lsn start = pg::wal_segment_start(*segno);
    if (start < pg::wal_segment_start(pg::wal_segment_number(known.local_start_lsn))) {
      // It has left already, so it is there; we have forgotten how far.
      HELIUM_ASSIGN(backup, archive.end_of_segments(start));
      if (backup == start) {
        return fail(ErrorCode::kCorrupt, fmt::format("WAL segment {} is neither here nor in the object store ({})",
                                                     pg::wal_segment_name(1, *segno), archive.describe()));
      }
      timeline.note_backup(backup);
      continue;
    }
    const TimePoint begin = time_.now();
    HELIUM_TRY(local.read(start, segment));
    HELIUM_TRY(check.check(*segno, segment));
    HELIUM_TRY(archive.put_segment(*segno, segment));
    metrics_.observe_offload(time_.now() - begin, segment.size());
    backup = pg::wal_segment_start(*segno + 1);
    timeline.note_backup(backup);
    log::info("WAL segment offloaded", {{"timeline", to_string(timeline.id())},
                                        {"segment", pg::wal_segment_name(1, *segno)},
                                        {"backup_lsn", backup}});
  }
  more = segment_to_offload(known.start_lsn, backup, known.commit_lsn).has_value();
  return {};
}

void Offloader::trim(Timeline& timeline, const Timeline::Retention& known, State& state) {
  if (known.residency == Timeline::Residency::kEvicted) return;
  const Lsn to = trim_to({.local_start_lsn = known.local_start_lsn,
                          .backup_lsn = known.backup_lsn,
                          .commit_lsn = known.commit_lsn,
                          .verify_lsn = known.verify_lsn,
                          .wanted_from = known.wanted_from,
                          .keep_bytes = options_.keep_bytes});
  if (to <= known.local_start_lsn) return;
  if (const Status done = timeline.trim(to); !done) failed(timeline, "cannot trim WAL", done.error(), state);
}

void Offloader::sleep_if_idle(Timeline& timeline, const Timeline::Retention& known, State& state) {
  const IdleAction action = idle_action({.has_store = timeline.archive() != nullptr,
                                         .is_open = known.residency == Timeline::Residency::kOpen,
                                         .is_evicted = known.residency == Timeline::Residency::kEvicted,
                                         .has_writers = known.has_writers,
                                         .idle_for = known.idle_for,
                                         .idle_after = options_.idle_after,
                                         .start_lsn = known.start_lsn,
                                         .backup_lsn = known.backup_lsn,
                                         .flush_lsn = known.flush_lsn});
  if (action == IdleAction::kNone) return;
  const Status done = action == IdleAction::kEvict ? timeline.evict() : timeline.unload();
  if (!done && done.error().code != ErrorCode::kCanceled) failed(timeline, "cannot put a timeline to sleep", done.error(), state);
}

void Offloader::failed(const Timeline& timeline, const char* what, const Error& error, State& state) {
  const bool is_for_good = error.code == ErrorCode::kCorrupt || error.code == ErrorCode::kInvalid;
  state.pause = is_for_good ? kLongestPause : std::clamp(state.pause * 2, kFirstPause, kLongestPause);
  state.retry_at = time_.now() + state.pause;
  if (state.last_error == error.message) return;
  state.last_error = error.message;
  log::write(is_for_good ? log::Level::kError : log::Level::kWarn, what,
             {{"timeline", to_string(timeline.id())}, {"error", error}, {"retry_in_ms", state.pause.count()}});
}

void Offloader::succeeded(State& state) {
  state.waiting_since = {};
  state.pause = Age(0);
  state.last_error.clear();
}

}  // namespace helium::safekeeper
