#include "safekeeper/safekeeper.h"

#include <fmt/format.h>

#include <chrono>

#include "base/log.h"
#include "pg/constants.h"

namespace helium::safekeeper {
namespace {

constexpr auto kPublishInterval = std::chrono::milliseconds(50);  // at most so often
constexpr auto kPublishAllInterval = std::chrono::seconds(1);     // at least so often: open timelines,
constexpr size_t kPublishClosedParts = 60;                        // and each time so much of the others
constexpr auto kHousekeepInterval = std::chrono::seconds(1);
constexpr auto kOffloadInterval = std::chrono::seconds(1);
constexpr const char* kIdFile = "safekeeper.id";

bool same_facts(const ControlFile& a, const ControlFile& b) {
  return a.pg_version == b.pg_version && a.system_id == b.system_id && a.acceptor.start_lsn == b.acceptor.start_lsn;
}

void count(const Timeline::Retention& known, Metrics::Residencies& total) {
  switch (known.residency) {
    case Timeline::Residency::kRecovering: ++total.recovering; break;
    case Timeline::Residency::kOpen: ++total.open; break;
    case Timeline::Residency::kClosed: ++total.closed; break;
    case Timeline::Residency::kEvicted: ++total.evicted; return;
  }
  const uint64_t first = pg::wal_segment_number(known.local_start_lsn);
  total.local_wal_bytes += (pg::wal_segment_number(known.flush_lsn) + 1 - first) * pg::kWalSegmentSize;
  const Lsn backup = std::max(known.backup_lsn, backup_start(known.start_lsn));
  if (known.commit_lsn > backup) total.not_offloaded_bytes += known.commit_lsn - backup;
}

}  // namespace

Result<std::unique_ptr<Safekeeper>> Safekeeper::open(Options options) {
  std::unique_ptr<Safekeeper> safekeeper(new Safekeeper(std::move(options)));
  HELIUM_TRY(safekeeper->recover());
  return safekeeper;
}

Safekeeper::~Safekeeper() {
  stop();
  // They write down how far they are, and say so to us: before anything of ours is gone.
  timelines_.clear();
}

Status Safekeeper::recover() {
  Disk& disk = *options_.environment.disk;
  HELIUM_TRY(disk.make_folders(options_.datadir));
  const std::filesystem::path id_file = options_.datadir / kIdFile;
  if (Result<Bytes> content = disk.read_all(id_file); content) {
    const std::string_view text = as_text(*content);
    if (text != fmt::format("{}\n", options_.id)) {
      return fail(ErrorCode::kInvalid, fmt::format("'{}' holds the state of safekeeper {}; start it with --id of that "
                                                   "number, or use another --datadir",
                                                   options_.datadir.string(), text.substr(0, text.find('\n'))));
    }
  } else if (content.error().code == ErrorCode::kNotFound) {
    HELIUM_TRY(disk.replace_file(id_file, as_bytes(fmt::format("{}\n", options_.id))));
  } else {
    return fail(content.error());
  }
  auto lock = disk.lock_file(id_file);
  if (!lock && lock.error().code == ErrorCode::kExists) {
    return fail(ErrorCode::kExists, fmt::format("another safekeeper runs on '{}'; stop it first",
                                                options_.datadir.string()));
  }
  if (!lock) return fail(std::move(lock).error());
  lock_ = std::move(*lock);
  // A process that was killed may have left names that are not durable yet.
  HELIUM_TRY(disk.sync_folder(options_.datadir));
  HELIUM_ASSIGN(const std::vector<std::string> folders, disk.list_folders(options_.datadir));
  for (const std::string& name : folders) {
    const Result<TenantId> tenant = parse_tenant_id(name);
    if (tenant) HELIUM_TRY(recover_tenant(options_.datadir / name, *tenant));
  }
  metrics_.set_timelines(timelines_.size());
  return {};
}

Status Safekeeper::recover_tenant(const std::filesystem::path& folder, TenantId tenant) {
  Disk& disk = *options_.environment.disk;
  HELIUM_TRY(disk.sync_folder(folder));
  HELIUM_ASSIGN(const std::vector<std::string> folders, disk.list_folders(folder));
  for (const std::string& name : folders) {
    const Result<TimelineId> timeline_id = parse_timeline_id(name);
    if (!timeline_id) continue;
    const TenantTimelineId id{tenant, *timeline_id};
    if (disk.exists(tombstone_of(id))) {  // deletion was interrupted
      remove_files(id);
      continue;
    }
    Result<std::shared_ptr<Timeline>> opened =
        Timeline::load(options_.environment, folder / name, options_.id, metrics_);
    if (opened) {
      adopt(*opened);
    } else if (opened.error().code == ErrorCode::kNotFound) {  // creation was interrupted: nobody was told of it
      remove_files(id);
    } else {
      log::error("timeline refused", {{"timeline", to_string(id)}, {"error", opened.error()}});
      timelines_[id] = {.timeline = nullptr, .broken = opened.error()};
    }
  }
  return {};
}

void Safekeeper::remove_files(const TenantTimelineId& id) {
  Disk& disk = *options_.environment.disk;
  // The control file first: what is left without it is no timeline.
  (void)disk.remove_file(folder_of(id) / kControlFileName);
  if (const Status removed = disk.remove_tree(folder_of(id)); !removed) {
    log::warn("cannot remove a timeline's files; the next start will",
              {{"timeline", to_string(id)}, {"error", removed.error()}});
  }
}

std::filesystem::path Safekeeper::folder_of(const TenantTimelineId& id) const {
  return options_.datadir / to_string(id.tenant) / to_string(id.timeline);
}

std::filesystem::path Safekeeper::tombstone_of(const TenantTimelineId& id) const {
  std::filesystem::path path = folder_of(id);
  path += ".deleted";
  return path;
}

void Safekeeper::adopt(const std::shared_ptr<Timeline>& timeline) {
  timeline->set_hooks({.wants_housekeeping =
                           [this] {
                             const std::lock_guard lock(work_mutex_);
                             housekeep_soon_ = true;
                             work_.notify_all();
                           },
                       .progressed = [this, id = timeline->id()] { note_change(id); }});
  timelines_[timeline->id()] = {.timeline = timeline, .broken = {}};
}

Status Safekeeper::create_timeline(const ControlFile& initial) {
  const TenantTimelineId id = initial.id;
  {
    std::lock_guard lock(mutex_);
    if (options_.environment.disk->exists(tombstone_of(id))) {
      return fail(ErrorCode::kExists, fmt::format("timeline {} was deleted here; its id cannot be used again",
                                                  to_string(id)));
    }
    if (const auto found = timelines_.find(id); found != timelines_.end()) {
      if (!found->second.timeline) return fail(found->second.broken);
      if (same_facts(found->second.timeline->constants(), initial)) {
        return options_.environment.disk->sync_folder(folder_of(id));  // perhaps a killed process made it
      }
      return fail(ErrorCode::kExists, fmt::format("timeline {} is there already, with another start_lsn, version or "
                                                  "system identifier",
                                                  to_string(id)));
    }
    if (!being_created_.insert(id).second) {
      return fail(ErrorCode::kUnavailable, fmt::format("timeline {} is being created; ask again", to_string(id)));
    }
  }
  Result<std::shared_ptr<Timeline>> opened = fail(ErrorCode::kInternal, "");
  const Status created = Timeline::create(options_.environment, folder_of(id), initial);
  if (created) opened = Timeline::open(options_.environment, folder_of(id), options_.id, metrics_);

  const std::lock_guard lock(mutex_);
  being_created_.erase(id);
  if (!created) {
    remove_files(id);
    return fail(Error(created.error()).context(fmt::format("create timeline {}", to_string(id))));
  }
  if (!opened) return fail(opened.error());
  adopt(*opened);
  metrics_.set_timelines(timelines_.size());
  note_change(id);
  log::info("timeline created", {{"timeline", to_string(id)}, {"start_lsn", initial.acceptor.start_lsn}});
  return {};
}

Status Safekeeper::delete_timeline(const TenantTimelineId& id) {
  std::shared_ptr<Timeline> timeline;
  {
    const std::lock_guard lock(mutex_);
    const auto found = timelines_.find(id);
    if (found == timelines_.end()) {
      if (options_.environment.disk->exists(tombstone_of(id))) return {};
      return fail(ErrorCode::kNotFound, fmt::format("timeline {} is not here", to_string(id)));
    }
    timeline = found->second.timeline;
    // First the tombstone: from here on it is deleted, whatever happens (rule 8).
    HELIUM_TRY(options_.environment.disk->replace_file(tombstone_of(id), as_bytes("deleted\n")));
    timelines_.erase(found);
    metrics_.set_timelines(timelines_.size());
  }
  if (timeline) {
    timeline->stop();
    // What is ours alone in the store. Finished segments are not: other members may need them.
    const Status removed = timeline->archive() ? timeline->archive()->remove_partials(options_.id, "") : Status();
    if (!removed) {
      log::warn("cannot remove a deleted timeline's partial segment from the object store",
                {{"timeline", to_string(id)}, {"error", removed.error()}});
    }
  }
  remove_files(id);
  log::info("timeline deleted", {{"timeline", to_string(id)}});
  return {};
}

Result<std::shared_ptr<Timeline>> Safekeeper::timeline(const TenantTimelineId& id) {
  std::shared_ptr<Timeline> timeline;
  {
    const std::lock_guard lock(mutex_);
    const auto found = timelines_.find(id);
    if (found == timelines_.end()) {
      return fail(ErrorCode::kNotFound, fmt::format("timeline {} is not at safekeeper {}", to_string(id), options_.id));
    }
    if (!found->second.timeline) return fail(found->second.broken);
    timeline = found->second.timeline;
  }
  if (timeline->recovered()) return timeline;
  if (const Status recovered = timeline->ensure_recovered(); !recovered) {
    if (recovered.error().code == ErrorCode::kCorrupt) {
      log::error("timeline refused", {{"timeline", to_string(id)}, {"error", recovered.error()}});
      const std::lock_guard lock(mutex_);
      const auto found = timelines_.find(id);
      if (found != timelines_.end() && found->second.timeline == timeline) {
        found->second = {.timeline = nullptr, .broken = recovered.error()};
      }
    }
    return fail(recovered.error());
  }
  note_change(id);
  return timeline;
}

std::shared_ptr<Timeline> Safekeeper::find(const TenantTimelineId& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = timelines_.find(id);
  return found == timelines_.end() ? nullptr : found->second.timeline;
}

std::vector<Safekeeper::Listed> Safekeeper::timelines() const {
  const std::lock_guard lock(mutex_);
  std::vector<Listed> all;
  for (const auto& [id, entry] : timelines_) all.push_back({id, entry.timeline, entry.broken.message});
  return all;
}

void Safekeeper::start(const HostPort& wal_address, const HostPort& http_address) {
  wal_address_ = wal_address;
  http_address_ = http_address;
  metrics_.set_positions_source([this] {
    std::vector<Metrics::TimelinePositions> all;
    for (const Listed& listed : timelines()) {
      if (!listed.timeline || !listed.timeline->recovered()) continue;
      const Timeline::View view = listed.timeline->view();
      all.push_back({.id = listed.id,
                     .term = view.term,
                     .flush_lsn = view.flush_lsn,
                     .commit_lsn = view.commit_lsn,
                     .backup_lsn = view.backup_lsn,
                     .local_start_lsn = view.local_start_lsn});
    }
    return all;
  });
  housekeeper_ = std::thread([this] { housekeep_loop(); });
  recoverer_ = std::thread([this] { recover_loop(); });
  offloader_thread_ = std::thread([this] { offload_loop(); });
  if (!options_.broker) return;
  broker_ = std::make_unique<broker::BrokerClient>(*options_.broker);
  broker_->subscribe(std::nullopt, [this](const broker::TimelineProgress& progress) { on_progress(progress); });
  publisher_ = std::thread([this] { publish_loop(); });
}

void Safekeeper::on_progress(const broker::TimelineProgress& progress) {
  if (progress.safekeeper_id == options_.id) return;
  {
    const std::lock_guard lock(heard_mutex_);
    heard_[progress.safekeeper_id] = options_.environment.time->now();
  }
  const std::shared_ptr<Timeline> timeline = find(progress.id);
  if (!timeline || !timeline->recovered()) return;
  timeline->on_peer({.safekeeper_id = progress.safekeeper_id,
                     .generation = progress.generation,
                     .filling = progress.filling,
                     .term = progress.term,
                     .log_term = progress.log_term,
                     .flush_lsn = progress.flush_lsn,
                     .commit_lsn = progress.commit_lsn});
  timeline->note_backup(progress.backup_lsn);
  timeline->note_remote_consistent(progress.remote_consistent_lsn);
}

Offloader::Silence Safekeeper::silence() const {
  const auto now = options_.environment.time->now();
  Offloader::Silence silence;
  const std::lock_guard lock(heard_mutex_);
  for (const auto& [id, at] : heard_) silence[id] = std::chrono::duration_cast<Age>(now - at);
  return silence;
}

void Safekeeper::note_change(const TenantTimelineId& id) {
  const std::lock_guard lock(work_mutex_);
  if (changed_.insert(id).second) work_.notify_all();
}

void Safekeeper::publish_loop() {
  auto last_all = std::chrono::steady_clock::time_point();
  size_t part = 0;
  std::unique_lock lock(work_mutex_);
  while (!stopping_) {
    work_.wait_until(lock, last_all + kPublishAllInterval, [&] { return stopping_ || !changed_.empty(); });
    std::set<TenantTimelineId> changed = std::move(changed_);
    changed_.clear();
    lock.unlock();
    const auto now = std::chrono::steady_clock::now();
    const bool all = now - last_all >= kPublishAllInterval;
    if (all) {
      last_all = now;
      part = (part + 1) % kPublishClosedParts;
    }
    size_t number = 0;
    for (const Listed& listed : timelines()) {
      ++number;
      if (!listed.timeline || !listed.timeline->recovered()) continue;
      // What is closed has not changed; the broker's client says it again by itself when the broker was away.
      const bool due = all && (listed.timeline->is_open() || number % kPublishClosedParts == part || number == 1);
      if (due || changed.contains(listed.id)) publish(listed.id, *listed.timeline);
    }
    lock.lock();
    work_.wait_for(lock, kPublishInterval, [&] { return stopping_; });
  }
}

void Safekeeper::publish(const TenantTimelineId& id, const Timeline& timeline) {
  const Timeline::View view = timeline.view();
  broker_->publish({.id = id,
                    .safekeeper_id = options_.id,
                    .wal_address = to_string(wal_address_),
                    .http_address = to_string(http_address_),
                    .generation = view.membership.generation,
                    .term = view.term,
                    .log_term = view.log_term,
                    .flush_lsn = view.flush_lsn,
                    .commit_lsn = view.commit_lsn,
                    .timeline_start_lsn = view.start_lsn,
                    .backup_lsn = view.backup_lsn,
                    .remote_consistent_lsn = view.remote_consistent_lsn,
                    .filling = view.filling});
}

void Safekeeper::housekeep_loop() {
  std::unique_lock lock(work_mutex_);
  while (!stopping_) {
    work_.wait_for(lock, kHousekeepInterval, [&] { return stopping_ || housekeep_soon_; });
    housekeep_soon_ = false;
    lock.unlock();
    Metrics::Residencies residencies;
    for (const Listed& listed : timelines()) {
      if (!listed.timeline) continue;
      listed.timeline->housekeep();
      count(listed.timeline->retention(), residencies);
    }
    metrics_.set_residencies(residencies);
    lock.lock();
  }
}

void Safekeeper::recover_loop() {
  for (const Listed& listed : timelines()) {
    {
      const std::lock_guard lock(work_mutex_);
      if (stopping_) return;
    }
    if (!listed.timeline || listed.timeline->recovered()) continue;
    if (const auto recovered = timeline(listed.id); !recovered && recovered.error().code != ErrorCode::kCorrupt) {
      log::warn("cannot recover a timeline now; its first user will", {{"timeline", to_string(listed.id)},
                                                                       {"error", recovered.error()}});
    }
  }
}

void Safekeeper::offload_loop() {
  Offloader offloader({.safekeeper_id = options_.id,
                       .keep_bytes = options_.keep_wal_bytes,
                       .idle_after = options_.evict_idle_after},
                      *options_.environment.time, metrics_);
  std::set<TenantTimelineId> known;
  bool more = false;
  std::unique_lock lock(work_mutex_);
  while (!stopping_) {
    if (!more) work_.wait_for(lock, kOffloadInterval, [&] { return stopping_; });
    more = false;
    if (stopping_) return;
    lock.unlock();
    std::set<TenantTimelineId> seen;
    for (const Listed& listed : timelines()) {
      if (!listed.timeline) continue;
      seen.insert(listed.id);
      more = offloader.round(*listed.timeline, silence()) || more;
    }
    for (const TenantTimelineId& id : known) {
      if (!seen.contains(id)) offloader.forget(id);
    }
    known = std::move(seen);
    lock.lock();
  }
}

void Safekeeper::stop() {
  {
    const std::lock_guard lock(work_mutex_);
    if (stopping_) return;
    stopping_ = true;
    work_.notify_all();
  }
  metrics_.set_positions_source(nullptr);
  for (const Listed& listed : timelines()) {
    if (listed.timeline) listed.timeline->stop();
  }
  if (publisher_.joinable()) publisher_.join();
  if (housekeeper_.joinable()) housekeeper_.join();
  if (recoverer_.joinable()) recoverer_.join();
  if (offloader_thread_.joinable()) offloader_thread_.join();
  broker_.reset();
}

}  // namespace helium::safekeeper
