#include "safekeeper/safekeeper.h"

#include <fmt/format.h>

#include <chrono>

#include "base/log.h"

namespace helium::safekeeper {
namespace {

constexpr auto kPublishInterval = std::chrono::milliseconds(50);  // at most so often
constexpr auto kPublishAllInterval = std::chrono::seconds(1);     // at least so often
constexpr auto kHousekeepInterval = std::chrono::seconds(1);
constexpr const char* kIdFile = "safekeeper.id";

bool same_facts(const ControlFile& a, const ControlFile& b) {
  return a.pg_version == b.pg_version && a.system_id == b.system_id && a.acceptor.start_lsn == b.acceptor.start_lsn;
}

}  // namespace

Result<std::unique_ptr<Safekeeper>> Safekeeper::open(Options options) {
  std::unique_ptr<Safekeeper> safekeeper(new Safekeeper(std::move(options)));
  HELIUM_TRY(safekeeper->recover());
  return safekeeper;
}

Safekeeper::~Safekeeper() { stop(); }

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
        Timeline::open(options_.environment, folder / name, options_.id, metrics_);
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
      if (same_facts(found->second.timeline->constants(), initial)) return {};
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
  if (timeline) timeline->stop();
  remove_files(id);
  log::info("timeline deleted", {{"timeline", to_string(id)}});
  return {};
}

Result<std::shared_ptr<Timeline>> Safekeeper::timeline(const TenantTimelineId& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = timelines_.find(id);
  if (found == timelines_.end()) {
    return fail(ErrorCode::kNotFound, fmt::format("timeline {} is not at safekeeper {}", to_string(id), options_.id));
  }
  if (!found->second.timeline) return fail(found->second.broken);
  return found->second.timeline;
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
  housekeeper_ = std::thread([this] { housekeep_loop(); });
  if (!options_.broker) return;
  broker_ = std::make_unique<broker::BrokerClient>(*options_.broker);
  broker_->subscribe(std::nullopt, [this](const broker::TimelineProgress& progress) {
    if (progress.safekeeper_id == options_.id) return;
    if (const auto found = timeline(progress.id); found) {
      (*found)->on_peer({.safekeeper_id = progress.safekeeper_id,
                         .generation = progress.generation,
                         .filling = progress.filling,
                         .log_term = progress.log_term,
                         .flush_lsn = progress.flush_lsn,
                         .commit_lsn = progress.commit_lsn});
    }
  });
  publisher_ = std::thread([this] { publish_loop(); });
}

void Safekeeper::note_change(const TenantTimelineId& id) {
  const std::lock_guard lock(work_mutex_);
  if (changed_.insert(id).second) work_.notify_all();
}

void Safekeeper::publish_loop() {
  auto last_all = std::chrono::steady_clock::time_point();
  std::unique_lock lock(work_mutex_);
  while (!stopping_) {
    work_.wait_until(lock, last_all + kPublishAllInterval, [&] { return stopping_ || !changed_.empty(); });
    std::set<TenantTimelineId> changed = std::move(changed_);
    changed_.clear();
    lock.unlock();
    const auto now = std::chrono::steady_clock::now();
    const bool all = now - last_all >= kPublishAllInterval;
    if (all) last_all = now;
    for (const Listed& listed : timelines()) {
      if (!listed.timeline || (!all && !changed.contains(listed.id))) continue;
      const Timeline::View view = listed.timeline->view();
      broker_->publish({.id = listed.id,
                        .safekeeper_id = options_.id,
                        .wal_address = to_string(wal_address_),
                        .http_address = to_string(http_address_),
                        .generation = view.membership.generation,
                        .term = view.term,
                        .log_term = view.log_term,
                        .flush_lsn = view.flush_lsn,
                        .commit_lsn = view.commit_lsn,
                        .timeline_start_lsn = view.start_lsn,
                        .filling = view.filling});
    }
    lock.lock();
    work_.wait_for(lock, kPublishInterval, [&] { return stopping_; });
  }
}

void Safekeeper::housekeep_loop() {
  std::unique_lock lock(work_mutex_);
  while (!stopping_) {
    work_.wait_for(lock, kHousekeepInterval, [&] { return stopping_ || housekeep_soon_; });
    housekeep_soon_ = false;
    lock.unlock();
    for (const Listed& listed : timelines()) {
      if (listed.timeline) listed.timeline->housekeep();
    }
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
  for (const Listed& listed : timelines()) {
    if (listed.timeline) listed.timeline->stop();
  }
  if (publisher_.joinable()) publisher_.join();
  if (housekeeper_.joinable()) housekeeper_.join();
  broker_.reset();
}

}  // namespace helium::safekeeper
