#include "pageserver/verification.h"

#include <algorithm>

#include "base/log.h"
#include "pageserver/format.h"
#include "walclient/wal_feed.h"

namespace helium::pageserver {
namespace {

using walclient::WalFeed;

constexpr std::chrono::seconds kConnectPatience{3};
constexpr std::chrono::seconds kSilence{10};  // keepalives come every second
constexpr std::chrono::milliseconds kLook{500};

// Where a record ends, at or before `wanted`.
Result<Lsn> record_end_before(const Timeline& timeline, Lsn wanted) {
  if (wanted < timeline.start_lsn())
    return fail(ErrorCode::kLsnTooOld, fmt::format("{} lies before the timeline's start, {}{}", wanted, timeline.start_lsn(),
                                                   timeline.ancestor() ? "; verify its ancestor" : ""));
  HELIUM_ASSIGN(const auto position, timeline.store()->get_latest(layer::Key::wal_position(), wanted));
  return position ? std::max(position->lsn, timeline.start_lsn()) : timeline.start_lsn();
}

}  // namespace

Verification::Verification(std::shared_ptr<Timeline> timeline, std::vector<HostPort> sources, VerifyRequest request,
                           Lsn from_lsn, Lsn to_lsn, std::shared_ptr<Metrics> metrics)
    : timeline_(std::move(timeline)),
      sources_(std::move(sources)),
      request_(request),
      from_lsn_(from_lsn),
      to_lsn_(to_lsn),
      oracle_(std::move(metrics)) {
  state_.request = request_;
  state_.from_lsn = from_lsn_;
  state_.to_lsn = to_lsn_;
  thread_ = std::thread([this] { run(); });
}

Verification::~Verification() {
  cancel();
  thread_.join();
}

void Verification::cancel() { canceled_ = true; }

VerifyState Verification::state() const {
  std::lock_guard lock(mutex_);
  VerifyState state = state_;
  state.records = oracle_.counts();
  state.record_differences = oracle_.differences();
  return state;
}

bool Verification::is_running() const {
  std::lock_guard lock(mutex_);
  return state_.phase == VerifyState::Phase::kRecords || state_.phase == VerifyState::Phase::kPages;
}

void Verification::run() {
  log::info("verification started", {{"timeline", to_string(timeline_->id())}, {"from", from_lsn_}, {"to", to_lsn_}});
  Status done;
  if (request_.records) done = check_records();
  if (done && request_.pages) done = check_pages();
  std::lock_guard lock(mutex_);
  using Phase = VerifyState::Phase;
  state_.phase = done ? Phase::kDone : done.error().code == ErrorCode::kCanceled ? Phase::kCanceled : Phase::kFailed;
  if (!done) state_.error = done.error().message;
  log::info("verification ended", {{"timeline", to_string(timeline_->id())}, {"error", state_.error}});
}

Status Verification::check_records() {
  Lsn at = from_lsn_;
  {
    std::lock_guard lock(mutex_);
    state_.all = to_lsn_ - from_lsn_;
  }
  if (at >= to_lsn_) return {};
  Status read = fail(ErrorCode::kUnavailable, "no safekeeper that has this timeline's WAL is known: are they running?");
  // Each source once more from where the last one ended; one that brings something may be asked again.
  for (size_t i = 0; i < sources_.size() && at < to_lsn_;) {
    const Lsn before = at;
    read = read_from(sources_[i], at);
    if (!read && (read.error().code == ErrorCode::kCanceled || read.error().code == ErrorCode::kCorrupt)) break;
    if (at == before) ++i;
  }
  if (at >= to_lsn_) return {};
  return fail(std::move(read).error().context(fmt::format("read WAL from {} on", at)));
}

// Moves `at` from record end to record end.
Status Verification::read_from(const HostPort& source, Lsn& at) {
  HELIUM_ASSIGN(const std::unique_ptr<WalFeed> feed, WalFeed::connect(source, timeline_->id(), at, kConnectPatience));
  pg::WalStreamDecoder decoder(at);
  TermHistory history;
  auto last_event = Clock::now();
  auto last_feedback = last_event;
  while (at < to_lsn_) {
    if (canceled_) return fail(ErrorCode::kCanceled, "canceled");
    auto event = feed->next(kLook);
    const auto now = Clock::now();
    if (!event) {
      if (event.error().code != ErrorCode::kTimeout) return fail(std::move(event).error());
      if (now - last_event > kSilence) return fail(ErrorCode::kTimeout, to_string(source) + " is silent");
      continue;
    }
    last_event = now;
    if (auto* announced = std::get_if<WalFeed::History>(&*event)) {
      history = std::move(announced->entries);
    } else if (const auto* wal = std::get_if<WalFeed::Wal>(&*event)) {
      if (wal->start != decoder.fed_lsn())
        return fail(ErrorCode::kCorrupt, fmt::format("WAL from {} came, {} is next", wal->start, decoder.fed_lsn()));
      HELIUM_TRY(timeline_->check_history(history, std::min(wal->start + wal->bytes.size(), to_lsn_)));
      decoder.feed(wal->bytes);
      while (at < to_lsn_) {
        if (canceled_) return fail(ErrorCode::kCanceled, "canceled");
        HELIUM_ASSIGN(const auto record, decoder.next());
        if (!record) break;
        HELIUM_ASSIGN(const auto decoded, pg::decode_record(record->bytes, timeline_->pg_version()));
        oracle_.check(timeline_->reader(), decoded, record->end_lsn);
        at = record->end_lsn;
        std::lock_guard lock(mutex_);
        ++state_.records_read;
        state_.wal_bytes_read += record->bytes.size();
        state_.done = std::min(at, to_lsn_) - from_lsn_;
      }
    }
    if (now - last_feedback > kLook) {
      last_feedback = now;
      HELIUM_TRY(feed->feedback(at, std::min(at, timeline_->disk_consistent_lsn())));
    }
  }
  return {};
}

Status Verification::check_pages() {
  {
    std::lock_guard lock(mutex_);
    state_.phase = VerifyState::Phase::kPages;
    state_.done = state_.all = 0;
  }
  PageFindings findings;
  PageCheck check(timeline_->reader(), to_lsn_, [this](uint64_t done, uint64_t all) {
    std::lock_guard lock(mutex_);
    state_.done = done;
    state_.all = all;
    return !canceled_.load();
  });
  const Status done = check.run(findings);
  std::lock_guard lock(mutex_);
  state_.pages = std::move(findings);
  return done;
}

Status Verifications::start(const TenantTimelineId& id, const VerifyRequest& request) {
  HELIUM_ASSIGN(const Tenants::Entry entry, tenants_.find_entry(id));
  if (!entry.timeline) return fail(ErrorCode::kInvalid, "the timeline is broken: " + entry.broken);
  const Lsn end = entry.timeline->readable_lsn();
  if (end < entry.timeline->start_lsn())
    return fail(ErrorCode::kLsnInFuture, fmt::format("the branch begins at {}, its ancestor is at {} so far",
                                                     entry.timeline->start_lsn(), end));
  const Lsn to = request.to_lsn.value_or(end);
  if (to > end) return fail(ErrorCode::kLsnInFuture, fmt::format("{} lies ahead: the timeline ends at {}", to, end));
  HELIUM_ASSIGN(const Lsn from, record_end_before(*entry.timeline, request.from_lsn.value_or(entry.timeline->start_lsn())));
  if (from > to) return fail(ErrorCode::kInvalid, fmt::format("the range from {} to {} is empty", from, to));

  std::vector<HostPort> sources = entry.receiver->known_sources();
  for (const HostPort& safekeeper : request.safekeepers)
    if (std::ranges::find(sources, safekeeper) == sources.end()) sources.push_back(safekeeper);

  std::shared_ptr<Verification> last;  // ends outside of the lock
  std::lock_guard lock(mutex_);
  last = verifications_[id];
  if (last && last->is_running())
    return fail(ErrorCode::kExists, "a verification of this timeline is at work: wait for it, or cancel it (DELETE)");
  verifications_[id] = std::make_shared<Verification>(entry.timeline, std::move(sources), request, from, to, metrics_);
  return {};
}

Result<std::shared_ptr<Verification>> Verifications::find(const TenantTimelineId& id) const {
  std::lock_guard lock(mutex_);
  const auto found = verifications_.find(id);
  if (found == verifications_.end()) return fail(ErrorCode::kNotFound, "no verification of this timeline was started");
  return found->second;
}

Result<VerifyState> Verifications::state(const TenantTimelineId& id) const {
  HELIUM_ASSIGN(const auto verification, find(id));
  return verification->state();
}

Status Verifications::cancel(const TenantTimelineId& id) {
  HELIUM_ASSIGN(const auto verification, find(id));
  verification->cancel();
  return {};
}

void Verifications::stop() {
  std::map<TenantTimelineId, std::shared_ptr<Verification>> all;
  {
    std::lock_guard lock(mutex_);
    all.swap(verifications_);
  }
  for (const auto& [id, verification] : all) verification->cancel();
}

}  // namespace helium::pageserver
