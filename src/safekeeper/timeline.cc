#include "safekeeper/timeline.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/planted_bugs.h"
#include "pg/constants.h"

namespace helium::safekeeper {
namespace {

constexpr size_t kWaitingForCommitMax = 1024;
constexpr auto kControlInterval = std::chrono::seconds(5);

}  // namespace

Status Timeline::create(const Environment& environment, const std::filesystem::path& folder,
                        const ControlFile& initial) {
  Disk& disk = *environment.disk;
  HELIUM_TRY(disk.make_folders(folder));
  ControlFile first = initial;
  if (first.flushed_lsn == first.acceptor.start_lsn) {
    // Nothing is written yet, so it sleeps: its first segment is made when somebody needs it.
    first.evicted = true;
    first.clean_close = true;
    first.local_start_lsn = first.acceptor.start_lsn;
  }
  return disk.replace_file(folder / kControlFileName, encode_control_file(first));
}

Result<std::shared_ptr<Timeline>> Timeline::load(const Environment& environment, const std::filesystem::path& folder,
                                                 uint64_t safekeeper_id, Metrics& metrics) {
  HELIUM_ASSIGN(const Bytes file, environment.disk->read_all(folder / kControlFileName));
  Result<ControlFile> control = decode_control_file(file);
  if (!control) return fail(std::move(control).error().context(fmt::format("open timeline '{}'", folder.string())));
  if (control->safekeeper_id != safekeeper_id) {
    return fail(ErrorCode::kInvalid,
                fmt::format("timeline '{}' belongs to safekeeper {}, this is safekeeper {}: an acceptor never takes "
                            "another one's place",
                            folder.string(), control->safekeeper_id, safekeeper_id));
  }
  return std::shared_ptr<Timeline>(new Timeline(environment, folder, std::move(*control), metrics));
}

Result<std::shared_ptr<Timeline>> Timeline::open(const Environment& environment, const std::filesystem::path& folder,
                                                 uint64_t safekeeper_id, Metrics& metrics) {
  HELIUM_ASSIGN(auto timeline, load(environment, folder, safekeeper_id, metrics));
  HELIUM_TRY(timeline->ensure_recovered());
  return timeline;
}

Timeline::Timeline(const Environment& environment, std::filesystem::path folder, ControlFile control, Metrics& metrics)
    : environment_(environment),
      folder_(std::move(folder)),
      archive_(environment.store ? std::make_unique<WalArchive>(environment.store, control.id) : nullptr),
      metrics_(metrics),
      current_term_(control.acceptor.term),
      current_generation_(control.acceptor.membership.generation),
      recovered_(control.evicted || control.clean_close),
      last_used_(environment.time->now()),
      control_(std::move(control)),
      control_written_(now()),
      // Until it is recovered, the least that it has.
      acceptor_(control_.safekeeper_id, control_.acceptor, std::max(control_.flushed_lsn, control_.acceptor.commit_lsn)),
      keeping_{.residency = control_.evicted       ? Residency::kEvicted
                            : control_.clean_close ? Residency::kClosed
                                                   : Residency::kRecovering,
               .local_start_lsn = control_.local_start_lsn,
               .verify_lsn = control_.verify_lsn,
               .backup_lsn = control_.backup_lsn,
               .remote_consistent_lsn = control_.remote_consistent_lsn} {}

Timeline::~Timeline() {
  if (!storage_ || !environment_.disk->exists(folder() / kControlFileName)) return;  // closed, or deleted
  if (const Status closed = close_locked(); !closed) {
    log::warn("timeline closed without writing its positions down", {{"error", closed.error()}});
  }
}

AcceptorState Timeline::state_now() const {
  const std::lock_guard lock(state_mutex_);
  return acceptor_.state();
}

Timeline::View Timeline::view() const {
  const std::lock_guard lock(state_mutex_);
  const AcceptorState& state = acceptor_.state();
  return {.membership = state.membership,
          .filling = state.filling,
          .term = state.term,
          .log_term = acceptor_.log_term(),
          .start_lsn = state.start_lsn,
          .flush_lsn = acceptor_.flush_lsn(),
          .commit_lsn = state.commit_lsn,
          .history = state.history,
          .committed_history = acceptor_.committed_history(),
          .residency = keeping_.residency,
          .local_start_lsn = keeping_.local_start_lsn,
          .backup_lsn = keeping_.backup_lsn,
          .remote_consistent_lsn = keeping_.remote_consistent_lsn};
}

Status Timeline::check_running() const {
  if (stopping_) return fail(ErrorCode::kCanceled, "the safekeeper is shutting down or the timeline is being deleted");
  return {};
}

Result<wire::GreetingReply> Timeline::greet(const wire::Greeting& greeting) {
  HELIUM_TRY(check_running());
  if (greeting.timeline != id()) return fail(ErrorCode::kInvalid, "the greeting names another timeline");
  if (greeting.pg_version != control_.pg_version) {
    return fail(ErrorCode::kInvalid, fmt::format("the compute runs PostgreSQL {}, timeline {} is of version {}",
                                                 greeting.pg_version, to_string(id()), control_.pg_version));
  }
  if (greeting.system_id != 0 && greeting.system_id != control_.system_id) {
    return fail(ErrorCode::kInvalid, fmt::format("the compute's system identifier is {}, timeline {} has {}",
                                                 greeting.system_id, to_string(id()), control_.system_id));
  }
  const std::lock_guard lock(state_mutex_);
  // Whatever generation the proposer knows: it learns ours.
  return wire::GreetingReply{.version = wire::kWalCommitVersion,
                             .generation = acceptor_.state().membership.generation,
                             .safekeeper_id = control_.safekeeper_id,
                             .term = acceptor_.state().term,
                             .pg_version = control_.pg_version,
                             .system_id = control_.system_id,
                             .timeline_start_lsn = acceptor_.state().start_lsn,
                             .filling = acceptor_.state().filling,
                             .membership = acceptor_.state().membership};
}

Result<wire::VoteReply> Timeline::vote(const wire::VoteRequest& request) {
  Result<Acceptor::VoteDecision> decision = fail(ErrorCode::kInternal, "");
  {
    const std::lock_guard write_lock(write_mutex_);
    HELIUM_TRY(check_running());
    HELIUM_TRY(open_locked());
    if (!planted(Bug::kVoteBeforeFlush)) flush_locked();
    const std::lock_guard control_lock(control_mutex_);
    {
      const std::lock_guard lock(state_mutex_);
      decision = acceptor_.on_vote_request(request);
    }
    if (!decision) return fail(decision.error());
    if (!decision->persist) return decision->reply;
    HELIUM_TRY(storage_->erase_tail());
    if (!planted(Bug::kVoteNotPersisted)) {
      HELIUM_TRY(write_control(*decision->persist, acceptor_.flush_lsn(), storage_->verify_lsn()));
    }
    const std::lock_guard lock(state_mutex_);
    acceptor_.install(std::move(*decision->persist));
    current_term_ = acceptor_.state().term;
  }
  metrics_.count_vote();
  log::info("vote given", {{"timeline", to_string(id())},
                           {"term", request.term},
                           {"flush_lsn", decision->reply.flush_lsn},
                           {"history", to_string(decision->reply.history)}});
  notify();
  return decision->reply;
}

Result<wire::AppendReply> Timeline::elected(const wire::Elected& message) {
  Result<wire::AppendReply> reply = fail(ErrorCode::kInternal, "");
  {
    const std::lock_guard write_lock(write_mutex_);
    HELIUM_TRY(check_running());
    HELIUM_TRY(open_locked());
    flush_locked();
    Result<Acceptor::ElectedDecision> decision = fail(ErrorCode::kInternal, "");
    {
      const std::lock_guard lock(state_mutex_);
      decision = acceptor_.on_elected(message);
    }
    if (!decision) return fail(decision.error());
    reply = adopt(*decision);
  }
  notify();
  return reply;
}

Result<wire::AppendReply> Timeline::adopt(const Acceptor::ElectedDecision& decision) {
  const std::lock_guard control_lock(control_mutex_);
  // Only writers change these, and we are the one.
  const AcceptorState before = acceptor_.state();
  const Lsn flush_before = acceptor_.flush_lsn();
  const Lsn to = decision.truncate_to;
  const Lsn verify = std::min(storage_->verify_lsn(), to);
  if (planted(Bug::kHistoryFirst)) HELIUM_TRY(write_control(decision.persist, to, verify));
  if (to < control_.flushed_lsn && !planted(Bug::kFlushedStays)) {
    // Or recovery would take the truncation for damage.
    HELIUM_TRY(write_control(before, to, verify));
  }
  if (Status truncated = storage_->truncate(to); !truncated) {
    // Some of it may be gone already: from here on nobody hears of it.
    const std::lock_guard lock(state_mutex_);
    acceptor_.install(before, to);
    return fail(std::move(truncated).error());
  }
  const Status written =
      decision.persist == control_.acceptor ? Status() : write_control(decision.persist, to, verify);
  const std::lock_guard lock(state_mutex_);
  if (!written) {
    acceptor_.install(before, to);
    return fail(written.error());
  }
  acceptor_.install(decision.persist, to);
  current_term_ = acceptor_.state().term;
  std::erase_if(waiting_for_commit_, [&](const Flushed& flushed) { return flushed.lsn > to; });
  if (to < flush_before) {
    metrics_.count_truncation();
    log::info("WAL cut off at the fork point", {{"timeline", to_string(id())},
                                                {"term", decision.persist.term},
                                                {"fork_lsn", to},
                                                {"flush_lsn", flush_before}});
  }
  return acceptor_.progress();
}

Status Timeline::write_control(const AcceptorState& state, Lsn flushed_lsn, Lsn verify_lsn,
                               const std::function<void(ControlFile& next)>& also) {
  ControlFile next = control_;
  next.acceptor = state;
  next.flushed_lsn = flushed_lsn;
  next.verify_lsn = verify_lsn;
  {
    const std::lock_guard lock(state_mutex_);
    next.backup_lsn = keeping_.backup_lsn;
    next.remote_consistent_lsn = keeping_.remote_consistent_lsn;
  }
  if (also) also(next);
  HELIUM_TRY(environment_.disk->replace_file(folder() / kControlFileName, encode_control_file(next)));
  // Ids and versions are read without a lock: they stay untouched.
  control_.acceptor = state;
  control_.flushed_lsn = flushed_lsn;
  control_.verify_lsn = verify_lsn;
  control_.local_start_lsn = next.local_start_lsn;
  control_.backup_lsn = next.backup_lsn;
  control_.remote_consistent_lsn = next.remote_consistent_lsn;
  control_.evicted = next.evicted;
  control_.partial_object = next.partial_object;
  control_.clean_close = next.clean_close;
  {
    const std::lock_guard lock(state_mutex_);
    keeping_.local_start_lsn = next.local_start_lsn;
    keeping_.verify_lsn = verify_lsn;
  }
  control_written_ = now();
  return {};
}

Status Timeline::append(const wire::Append& append) {
  const auto begin = now();
  const std::lock_guard write_lock(write_mutex_);
  HELIUM_TRY(check_running());
  HELIUM_TRY(open_locked());
  size_t skip = 0;
  {
    const std::lock_guard lock(state_mutex_);
    const auto decision = acceptor_.on_append(append, storage_->end_of_bytes());
    if (!decision) return fail(decision.error());
    skip = decision->skip;
    if (append.term >= told_commit_term_) {
      told_commit_lsn_ = append.term > told_commit_term_ ? append.commit_lsn
                                                         : std::max(told_commit_lsn_, append.commit_lsn);
      told_commit_term_ = append.term;
    }
  }
  bool rose = false;
  const ByteView fresh = append.wal.subspan(skip);
  if (!fresh.empty()) {
    if (storage_->unsynced_bytes() + fresh.size() > kMaxUnsyncedBytes) rose = flush_locked();
    const Status written = storage_->write(fresh);
    {
      // Whole records in front of an error are good.
      const std::lock_guard lock(state_mutex_);
      acceptor_.on_written(storage_->record_end());
    }
    if (!written) {
      metrics_.count_refused_append();
      return written;
    }
    metrics_.observe_append(now() - begin, fresh.size());
    if (storage_->wants_next_segment() && hooks_.wants_housekeeping) hooks_.wants_housekeeping();
  }
  if (storage_->unsynced_bytes() == 0) {
    const std::lock_guard lock(state_mutex_);
    if (acceptor_.on_commit(told_commit_term_, told_commit_lsn_)) {
      measure_commit();
      rose = true;
    }
  }
  if (rose) notify();
  return {};
}

wire::AppendReply Timeline::flush() {
  std::shared_ptr<WalStorage> storage;
  WalStorage::PendingSync pending;
  {
    const std::lock_guard write_lock(write_mutex_);
    storage = storage_;
    if (storage) pending = storage->begin_sync();
  }
  // Others write on meanwhile.
  if (storage) sync(*storage, pending);
  wire::AppendReply reply;
  bool rose = false, progressed = false;
  {
    const std::lock_guard write_lock(write_mutex_);
    std::optional<Lsn> durable;
    if (storage && storage == storage_) durable = storage->finish_sync(pending);  // closing syncs by itself
    const std::lock_guard lock(state_mutex_);
    const Lsn flush_before = acceptor_.flush_lsn();
    rose = note_durable(durable.value_or(flush_before));
    reply = acceptor_.progress();
    progressed = reply.flush_lsn != flush_before;
  }
  if (progressed && hooks_.progressed) hooks_.progressed();
  if (rose) notify();
  return reply;
}

bool Timeline::flush_locked() {
  const WalStorage::PendingSync pending = storage_->begin_sync();
  sync(*storage_, pending);
  const std::optional<Lsn> durable = storage_->finish_sync(pending);
  const std::lock_guard lock(state_mutex_);
  return note_durable(*durable);
}

void Timeline::sync(WalStorage& storage, const WalStorage::PendingSync& pending) {
  if (!pending.segment) return;
  const TimePoint begin = now();
  storage.run_sync(pending);
  metrics_.observe_fsync(now() - begin);
}

bool Timeline::note_durable(Lsn record_end) {
  if (record_end > acceptor_.flush_lsn()) {
    acceptor_.on_flushed(record_end);
    if (waiting_for_commit_.size() < kWaitingForCommitMax) waiting_for_commit_.push_back({record_end, now()});
  }
  const bool rose = acceptor_.on_commit(told_commit_term_, told_commit_lsn_);
  if (rose) measure_commit();
  return rose;
}

void Timeline::measure_commit() {
  const TimePoint at = now();
  while (!waiting_for_commit_.empty() && waiting_for_commit_.front().lsn <= acceptor_.commit_lsn()) {
    metrics_.observe_commit(at - waiting_for_commit_.front().at);
    waiting_for_commit_.pop_front();
  }
}

Status Timeline::catch_up(const HostPort& peer, uint32_t generation, uint64_t log_term, const TermHistory& history,
                          Lsn upto_lsn) {
  const Writer writer(*this);
  Lsn from;
  {
    const std::lock_guard write_lock(write_mutex_);
    HELIUM_TRY(check_running());
    HELIUM_TRY(open_locked());
    flush_locked();
    Result<Acceptor::ElectedDecision> decision = fail(ErrorCode::kInternal, "");
    {
      const std::lock_guard lock(state_mutex_);
      if (acceptor_.log_term() == log_term && acceptor_.flush_lsn() >= upto_lsn) return {};
      decision = acceptor_.on_catch_up(generation, log_term, history);
    }
    if (!decision) return fail(decision.error());
    Result<wire::AppendReply> adopted = adopt(*decision);
    if (!adopted) return fail(adopted.error());
    from = adopted->flush_lsn;
  }
  notify();
  if (from >= upto_lsn) return {};
  const auto consume = [&](Lsn start, ByteView bytes) -> Status {
    return append({.generation = generation, .term = log_term, .wants_reply = false, .start_lsn = start,
                   .commit_lsn = Lsn(), .wal = bytes});
  };
  const Status pulled = environment_.read_peer_wal(
      {.peer = peer, .id = id(), .term = log_term, .start = from, .end = upto_lsn}, consume);
  flush();
  notify();
  if (!pulled) return fail(Error(pulled.error()).context(fmt::format("catch up from {}", to_string(peer))));
  log::info("caught up from a peer", {{"timeline", to_string(id())}, {"log_term", log_term}, {"lsn", upto_lsn}});
  return {};
}

void Timeline::on_peer(const MemberProgress& progress) {
  bool rose = false;
  {
    const std::lock_guard lock(state_mutex_);
    const bool member = wire::is_member(acceptor_.state().membership, progress.safekeeper_id);
    if (!member || progress.safekeeper_id == control_.safekeeper_id) return;
    peers_[progress.safekeeper_id] = progress;
    peers_heard_[progress.safekeeper_id] = now();
    std::vector<MemberProgress> peers;
    for (const auto& [id, peer] : peers_) peers.push_back(peer);
    rose = acceptor_.on_peers(peers);
    if (rose) measure_commit();
  }
  if (rose) notify();
}

// -- membership -----------------------------------------------------------------------------------------------------------

template <typename Decide>
Result<wire::MembershipReply> Timeline::change_membership(Decide decide) {
  std::optional<Acceptor::MembershipDecision> decision;
  {
    const std::lock_guard write_lock(write_mutex_);
    HELIUM_TRY(check_running());
    HELIUM_TRY(open_locked());
    flush_locked();  // what was written counts in what is answered
    const std::lock_guard control_lock(control_mutex_);
    {
      const std::lock_guard lock(state_mutex_);
      decision = decide(acceptor_);
    }
    if (!decision->persist) return decision->reply;
    if (decision->persist->term > acceptor_.state().term) HELIUM_TRY(storage_->erase_tail());
    HELIUM_TRY(write_control(*decision->persist, acceptor_.flush_lsn(), storage_->verify_lsn()));
    const std::lock_guard lock(state_mutex_);
    acceptor_.install(std::move(*decision->persist));
    current_term_ = acceptor_.state().term;
    current_generation_ = acceptor_.state().membership.generation;
  }
  notify();
  return decision->reply;
}

Result<wire::MembershipReply> Timeline::prepare(const wire::PrepareRequest& request) {
  return change_membership([&](const Acceptor& acceptor) { return acceptor.on_prepare(request); });
}

Result<wire::MembershipReply> Timeline::accept(const wire::AcceptRequest& request) {
  const uint32_t before = current_generation_;
  auto reply = change_membership([&](const Acceptor& acceptor) { return acceptor.on_accept(request); });
  if (reply && reply->membership.generation > before) {
    log::info("membership changed", {{"timeline", to_string(id())},
                                     {"membership", wire::to_string(reply->membership)},
                                     {"filling", reply->filling}});
  }
  return reply;
}

Result<wire::MembershipReply> Timeline::fill(const wire::FillRequest& request) {
  auto reply = change_membership([&](const Acceptor& acceptor) { return acceptor.on_fill(request); });
  if (reply && !reply->filling) {
    log::info("this member counts", {{"timeline", to_string(id())},
                                     {"generation", reply->membership.generation},
                                     {"term", reply->term},
                                     {"flush_lsn", reply->flush_lsn}});
  }
  return reply;
}

wire::MembershipReply Timeline::membership() const {
  const std::lock_guard lock(state_mutex_);
  return acceptor_.membership_reply();
}

std::vector<Timeline::Peer> Timeline::peers() const {
  const std::lock_guard lock(state_mutex_);
  std::vector<Peer> all;
  for (const auto& [id, progress] : peers_) {
    const auto heard = peers_heard_.find(id);
    const auto age = heard == peers_heard_.end() ? TimePoint::duration::zero() : now() - heard->second;
    all.push_back({progress, std::chrono::duration_cast<std::chrono::milliseconds>(age)});
  }
  return all;
}

Status Timeline::check_uncommitted_read(uint64_t term, Lsn end) const {
  HELIUM_TRY(check_running());
  const std::lock_guard lock(state_mutex_);
  if (term != acceptor_.state().term && term != acceptor_.log_term()) {
    return fail(ErrorCode::kFenced, fmt::format("term {} is over: this safekeeper is in term {}, its log in term {}",
                                                term, acceptor_.state().term, acceptor_.log_term()));
  }
  if (end > acceptor_.flush_lsn()) {
    return fail(ErrorCode::kLsnInFuture, fmt::format("WAL up to {} is not here: flush_lsn is {}", to_string(end),
                                                     to_string(acceptor_.flush_lsn())));
  }
  return {};
}

uint64_t Timeline::add_listener(std::function<void()> changed) {
  const std::lock_guard lock(listeners_mutex_);
  listeners_.emplace(next_listener_, std::move(changed));
  return next_listener_++;
}

void Timeline::remove_listener(uint64_t number) {
  const std::lock_guard lock(listeners_mutex_);
  listeners_.erase(number);
  readers_.erase(number);
}

void Timeline::note_reader(uint64_t number, Reader reader) {
  const std::lock_guard lock(listeners_mutex_);
  readers_[number] = std::move(reader);
}

std::vector<Timeline::Reader> Timeline::readers() const {
  const std::lock_guard lock(listeners_mutex_);
  std::vector<Reader> all;
  for (const auto& [number, reader] : readers_) all.push_back(reader);
  return all;
}

void Timeline::notify() {
  if (hooks_.progressed) hooks_.progressed();
  const std::lock_guard lock(listeners_mutex_);
  for (const auto& [number, changed] : listeners_) changed();
}

void Timeline::housekeep() {
  if (!recovered_) return;
  std::shared_ptr<WalStorage> storage;
  uint64_t opening = 0;
  {
    const std::lock_guard write_lock(write_mutex_);
    storage = storage_;
    opening = openings_;
  }
  if (storage) {
    if (Status prepared = storage->prepare_next_segment(); !prepared) {
      // The writer will try again when it gets there, and tell the proposer.
      log::warn("cannot prepare the next WAL segment", {{"timeline", to_string(id())}, {"error", prepared.error()}});
    }
  }
  // Nobody waits for the control file but elections.
  const std::lock_guard control_lock(control_mutex_);
  if (now() - control_written_ < kControlInterval || openings_ != opening) return;
  AcceptorState state;
  Lsn flushed;
  bool moved = false;
  {
    const std::lock_guard lock(state_mutex_);
    state = acceptor_.state();
    flushed = acceptor_.flush_lsn();
    moved = flushed != control_.flushed_lsn || state != control_.acceptor ||
            keeping_.backup_lsn != control_.backup_lsn ||
            keeping_.remote_consistent_lsn != control_.remote_consistent_lsn;
  }
  if (!moved) return;
  // WAL first: verify_lsn and flushed_lsn of one moment. A closed timeline's do not move.
  const Lsn verify = control_.clean_close || !storage ? control_.verify_lsn : std::min(storage->verify_lsn(), flushed);
  if (Status written = write_control(state, flushed, verify); !written) {
    log::warn("cannot write positions down", {{"timeline", to_string(id())}, {"error", written.error()}});
    control_written_ = now();
  }
}

void Timeline::stop() {
  stopping_ = true;
  notify();
}

}  // namespace helium::safekeeper
