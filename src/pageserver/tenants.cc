#include "pageserver/tenants.h"

#include <algorithm>

#include "base/log.h"
#include "io/durable_file.h"
#include "pageserver/format.h"
#include "pageserver/initdb_import.h"
#include "pageserver/initdb_run.h"
#include "io/pg_distribution.h"

namespace helium::pageserver {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kTenantMarker = "helium tenant 1\n";
constexpr size_t kMaxProgressKept = 100'000;
constexpr int kDefaultPgVersion = 15;

}  // namespace

fs::path Tenants::tenant_dir(const TenantId& tenant) const {
  return options_.data_dir / "tenants" / to_string(tenant);
}
fs::path Tenants::timeline_dir(const TenantTimelineId& id) const {
  return tenant_dir(id.tenant) / "timelines" / to_string(id.timeline);
}

Result<std::unique_ptr<Tenants>> Tenants::open(TenantsOptions options) {
  std::unique_ptr<Tenants> tenants(new Tenants(std::move(options)));
  HELIUM_TRY(tenants->load());
  tenants->housekeeper_ = std::thread([raw = tenants.get()] { raw->housekeeping(); });
  if (tenants->options_.broker) {
    tenants->broker_ = std::make_unique<broker::BrokerClient>(*tenants->options_.broker);
    tenants->broker_->subscribe(std::nullopt, [raw = tenants.get()](const broker::TimelineProgress& progress) {
      raw->on_progress(progress);
    });
  }
  return tenants;
}

Tenants::~Tenants() { stop(); }

void Tenants::stop() {
  broker_.reset();  // no progress arrives any more
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    stopping_changed_.notify_all();
  }
  if (housekeeper_.joinable()) housekeeper_.join();
  const std::vector<Entry> entries = all_timelines();
  for (const Entry& entry : entries) {
    // Ingest may be waiting for room on a full disk: that must not keep us from stopping.
    if (entry.timeline && entry.timeline->store()->freeze_would_wait()) entry.timeline->store()->stop();
    if (entry.receiver) entry.receiver->stop();
  }
  for (const Entry& entry : entries) {
    if (!entry.timeline) continue;
    // A disk that is full would make us wait: what is lost is in the WAL.
    if (!entry.timeline->store()->freeze_would_wait())
      if (auto done = entry.timeline->checkpoint(); !done)
        log::info("not flushed at the end", {{"timeline", to_string(entry.id)}, {"error", done.error()}});
    entry.timeline->close();
  }
}

// --- loading ---

Status Tenants::load() {
  const fs::path root = options_.data_dir / "tenants";
  HELIUM_TRY(make_folders(root));
  std::error_code error;
  std::vector<fs::path> folders;
  for (auto it = fs::directory_iterator(root, error); !error && it != fs::directory_iterator(); it.increment(error))
    folders.push_back(it->path());
  if (error) return fail(ErrorCode::kIo, "list " + root.string() + ": " + error.message());
  for (const fs::path& folder : folders) {
    const auto id = parse_tenant_id(folder.filename().string());
    if (!id) continue;
    if (!fs::exists(folder / "tenant")) {
      fs::remove_all(folder, error);
      continue;
    }
    load_tenant(*id);
  }
  return {};
}

// Ancestors first. What cannot be opened, and what hangs on it, is kept as broken.
void Tenants::load_tenant(const TenantId& id) {
  Tenant& tenant = tenants_[id];
  std::map<TimelineId, layer::StoreSummary> waiting;
  std::error_code error;
  std::vector<fs::path> folders;
  const fs::path root = tenant_dir(id) / "timelines";
  for (auto it = fs::directory_iterator(root, error); !error && it != fs::directory_iterator(); it.increment(error))
    folders.push_back(it->path());
  const auto broken = [&](const TimelineId& timeline, std::optional<TimelineId> ancestor, const std::string& why) {
    log::error("timeline cannot be loaded", {{"timeline", to_string(TenantTimelineId{id, timeline})}, {"error", why}});
    tenant.timelines[timeline] = Entry{{id, timeline}, nullptr, nullptr, ancestor, why};
  };
  for (const fs::path& folder : folders) {
    const auto timeline = parse_timeline_id(folder.filename().string());
    if (!timeline && folder.extension() != ".partial") continue;
    if (!timeline || !fs::exists(folder / "index")) {  // what a crash left of a creation
      fs::remove_all(folder, error);
      continue;
    }
    auto summary = layer::read_store_summary(folder);
    if (!summary)
      broken(*timeline, std::nullopt, summary.error().message);
    else
      waiting.emplace(*timeline, std::move(*summary));
  }
  while (!waiting.empty()) {
    bool moved = false;
    for (auto it = waiting.begin(); it != waiting.end();) {
      const auto& [timeline_id, summary] = *it;
      if (summary.ancestor_id && waiting.contains(*summary.ancestor_id)) {
        ++it;
        continue;
      }
      moved = true;
      std::shared_ptr<Timeline> ancestor;
      if (summary.ancestor_id) {
        const auto found = tenant.timelines.find(*summary.ancestor_id);
        if (found != tenant.timelines.end()) ancestor = found->second.timeline;
        if (!ancestor) {
          broken(timeline_id, summary.ancestor_id, "its ancestor " + to_string(*summary.ancestor_id) + " is not there");
          it = waiting.erase(it);
          continue;
        }
      }
      auto store = layer::TimelineStore::open(
          timeline_dir({id, timeline_id}),
          [&](const TimelineId&) -> Result<std::shared_ptr<layer::TimelineStore>> { return ancestor->store(); },
          options_.store);
      Result<std::shared_ptr<Timeline>> timeline =
          store ? Timeline::attach({id, timeline_id}, *store, ancestor, options_.timeline)
                : Result<std::shared_ptr<Timeline>>(fail(std::move(store).error()));
      if (!timeline)
        broken(timeline_id, summary.ancestor_id, timeline.error().message);
      else
        add(*timeline);
      it = waiting.erase(it);
    }
    if (!moved) {  // a ring of ancestors
      for (const auto& [timeline_id, summary] : waiting) broken(timeline_id, summary.ancestor_id, "its ancestors form a ring");
      break;
    }
  }
}

void Tenants::add(const std::shared_ptr<Timeline>& timeline) {
  std::lock_guard lock(mutex_);
  Entry entry{timeline->id(), timeline, std::make_shared<WalReceiver>(timeline), std::nullopt, ""};
  if (timeline->ancestor()) entry.ancestor_id = timeline->ancestor()->id().timeline;
  for (const auto& [key, progress] : progress_) {
    if (key.first != timeline->id()) continue;
    if (const auto address = parse_host_port(progress.wal_address))
      entry.receiver->on_progress(*address, progress.commit_lsn);
  }
  tenants_[timeline->id().tenant].timelines[timeline->id().timeline] = std::move(entry);
}

// --- creating ---

Status Tenants::create_tenant(const TenantId& id) {
  if (!id.is_valid()) return fail(ErrorCode::kInvalid, "the tenant id is zero");
  {
    std::lock_guard lock(mutex_);
    if (tenants_.contains(id)) return fail(ErrorCode::kExists, "tenant " + to_string(id) + " exists already");
  }
  HELIUM_TRY(make_folders(tenant_dir(id) / "timelines"));
  HELIUM_TRY(write_durable(tenant_dir(id) / "tenant", as_bytes(kTenantMarker)));
  std::lock_guard lock(mutex_);
  tenants_[id];
  return {};
}

std::vector<TenantId> Tenants::list_tenants() const {
  std::lock_guard lock(mutex_);
  std::vector<TenantId> ids;
  for (const auto& [id, tenant] : tenants_) ids.push_back(id);
  return ids;
}

Result<std::shared_ptr<Timeline>> Tenants::create_timeline(const TenantId& tenant_id, const NewTimeline& request) {
  const TenantTimelineId id{tenant_id, request.id};
  if (!request.id.is_valid()) return fail(ErrorCode::kInvalid, "the timeline id is zero");
  {
    std::lock_guard lock(mutex_);
    const auto tenant = tenants_.find(tenant_id);
    if (tenant == tenants_.end()) return fail(ErrorCode::kNotFound, "there is no tenant " + to_string(tenant_id));
    if (tenant->second.timelines.contains(request.id))
      return fail(ErrorCode::kExists, "timeline " + to_string(request.id) + " exists already");
    if (!tenant->second.being_created.insert(request.id).second)
      return fail(ErrorCode::kExists, "timeline " + to_string(request.id) + " is being created");
  }
  auto timeline = request.ancestor_id ? create_branch(id, request) : create_root(id, request);
  if (timeline) {
    add(*timeline);
  } else {
    std::error_code ignored;
    fs::remove_all(timeline_dir(id), ignored);
  }
  std::lock_guard lock(mutex_);
  tenants_[tenant_id].being_created.erase(request.id);
  return timeline;
}

Result<std::shared_ptr<Timeline>> Tenants::create_root(const TenantTimelineId& id, const NewTimeline& request) {
  const int pg_version = request.pg_version.value_or(kDefaultPgVersion);
  HELIUM_ASSIGN(const fs::path bin_dir, find_pg_bin_dir(options_.pg_distrib_dir, pg_version));
  const bool data_checksums = request.data_checksums.value_or(has_checksums_by_default(pg_version));
  HELIUM_ASSIGN(const fs::path cluster,
                cached_initdb(options_.data_dir / "initdb_cache", bin_dir, pg_version, data_checksums));
  HELIUM_ASSIGN(const InitdbImage image, InitdbImage::open(cluster, pg_version));
  if (image.data_checksums() != data_checksums)
    return fail(ErrorCode::kCorrupt, cluster.string() + " is not the cluster that initdb was asked for: remove it");

  // In a folder without its final name until it is whole: a crash leaves nothing that looks like a timeline.
  const fs::path final_dir = timeline_dir(id);
  const fs::path partial_dir = final_dir.string() + ".partial";
  std::error_code error;
  fs::remove_all(partial_dir, error);
  layer::CreateOptions create;
  create.timeline_id = id.timeline;
  create.start_lsn = image.end_lsn();
  create.metadata = encode(TimelineMetadata{pg_version, 0, std::nullopt});
  create.store = options_.store;
  {
    HELIUM_ASSIGN(const auto store, layer::TimelineStore::create(partial_dir, std::move(create)));
    HELIUM_TRY(image.import_into(*store, new_system_identifier()));
    store->stop();
  }
  fs::rename(partial_dir, final_dir, error);
  if (error) return fail(ErrorCode::kIo, "publish " + final_dir.string() + ": " + error.message());
  HELIUM_TRY(sync_folder(final_dir.parent_path()));
  HELIUM_ASSIGN(auto store, layer::TimelineStore::open(
                                final_dir,
                                [](const TimelineId&) -> Result<std::shared_ptr<layer::TimelineStore>> {
                                  return fail(ErrorCode::kInternal, "a root has no ancestor");
                                },
                                options_.store));
  log::info("timeline created", {{"timeline", to_string(id)},
                                 {"pg_version", pg_version},
                                 {"data_checksums", data_checksums},
                                 {"lsn", store->start_lsn()}});
  return Timeline::attach(id, std::move(store), nullptr, options_.timeline);
}

Result<std::shared_ptr<Timeline>> Tenants::create_branch(const TenantTimelineId& id, const NewTimeline& request) {
  HELIUM_ASSIGN(const std::shared_ptr<Timeline> ancestor, find({id.tenant, *request.ancestor_id}));
  if (request.pg_version && *request.pg_version != ancestor->pg_version())
    return fail(ErrorCode::kInvalid, fmt::format("a branch of timeline {} is of PostgreSQL {} like it, not {}",
                                                 *request.ancestor_id, ancestor->pg_version(), *request.pg_version));
  if (request.data_checksums) {
    HELIUM_ASSIGN(const bool data_checksums, ancestor->data_checksums());
    if (*request.data_checksums != data_checksums)
      return fail(ErrorCode::kInvalid, fmt::format("a branch of timeline {} has data checksums {} like it",
                                                   *request.ancestor_id, data_checksums ? "on" : "off"));
  }
  const Lsn asked = request.ancestor_start_lsn.value_or(ancestor->readable_lsn());
  HELIUM_ASSIGN(const Timeline::BranchPoint point,
                ancestor->branch_point(asked, request.exact ? Timeline::Rounding::kExact : Timeline::Rounding::kDown));
  TimelineMetadata metadata{ancestor->pg_version(), ancestor->system_identifier(), std::nullopt};
  if (point.start) metadata.state = IngestState{point.start->record_start, point.lsn, point.start->checkpoint, {}};
  layer::CreateOptions create;
  create.timeline_id = id.timeline;
  create.start_lsn = point.lsn;
  create.ancestor = ancestor->store();
  create.ancestor_lsn = point.lsn;
  create.metadata = encode(metadata);
  create.store = options_.store;
  HELIUM_ASSIGN(auto store, layer::TimelineStore::create(timeline_dir(id), std::move(create)));
  log::info("branch created", {{"timeline", to_string(id)},
                               {"ancestor", *request.ancestor_id},
                               {"asked", asked},
                               {"lsn", point.lsn},
                               {"ahead", !point.start.has_value()}});
  return Timeline::attach(id, std::move(store), ancestor, options_.timeline);
}

// --- finding ---

Result<Tenants::Entry> Tenants::find_entry(const TenantTimelineId& id) const {
  std::lock_guard lock(mutex_);
  const auto tenant = tenants_.find(id.tenant);
  if (tenant == tenants_.end()) return fail(ErrorCode::kNotFound, "there is no tenant " + to_string(id.tenant));
  const auto timeline = tenant->second.timelines.find(id.timeline);
  if (timeline == tenant->second.timelines.end())
    return fail(ErrorCode::kNotFound, fmt::format("tenant {} has no timeline {}", id.tenant, id.timeline));
  return timeline->second;
}

Result<std::shared_ptr<Timeline>> Tenants::find(const TenantTimelineId& id) const {
  HELIUM_ASSIGN(const Entry entry, find_entry(id));
  if (!entry.timeline)
    return fail(ErrorCode::kCorrupt, "timeline " + to_string(id.timeline) + " is broken: " + entry.broken);
  return entry.timeline;
}

Result<std::vector<Tenants::Entry>> Tenants::list_timelines(const TenantId& id) const {
  std::lock_guard lock(mutex_);
  const auto tenant = tenants_.find(id);
  if (tenant == tenants_.end()) return fail(ErrorCode::kNotFound, "there is no tenant " + to_string(id));
  std::vector<Entry> entries;
  for (const auto& [timeline_id, entry] : tenant->second.timelines) entries.push_back(entry);
  return entries;
}

std::vector<Tenants::Entry> Tenants::all_timelines() const {
  std::lock_guard lock(mutex_);
  std::vector<Entry> entries;
  for (const auto& [tenant_id, tenant] : tenants_)
    for (const auto& [timeline_id, entry] : tenant.timelines) entries.push_back(entry);
  return entries;
}

// --- WAL ---

void Tenants::hint_source(const TenantTimelineId& id, const HostPort& safekeeper, Lsn upto) {
  if (const auto entry = find_entry(id); entry && entry->receiver) entry->receiver->on_hint(safekeeper, upto);
}

void Tenants::on_progress(const broker::TimelineProgress& progress) {
  std::shared_ptr<WalReceiver> receiver;
  {
    std::lock_guard lock(mutex_);
    const auto key = std::make_pair(progress.id, progress.safekeeper_id);
    if (progress_.size() < kMaxProgressKept || progress_.contains(key)) progress_[key] = progress;
    const auto tenant = tenants_.find(progress.id.tenant);
    if (tenant == tenants_.end()) return;
    const auto timeline = tenant->second.timelines.find(progress.id.timeline);
    if (timeline == tenant->second.timelines.end()) return;
    receiver = timeline->second.receiver;
  }
  if (!receiver) return;
  if (const auto address = parse_host_port(progress.wal_address)) receiver->on_progress(*address, progress.commit_lsn);
}

void Tenants::housekeeping() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    stopping_changed_.wait_for(lock, std::chrono::milliseconds(200));
    lock.unlock();
    const auto now = Clock::now();
    for (const Entry& entry : all_timelines())
      if (entry.timeline) entry.timeline->housekeep(now);
    lock.lock();
  }
}

}  // namespace helium::pageserver
