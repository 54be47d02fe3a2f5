// Tenants: every tenant and timeline of a pageserver, in memory and under <datadir>/tenants.
//
//   tenants/<tenant>/tenant                          the tenant exists (durable)
//   tenants/<tenant>/timelines/<timeline>/index      the timeline exists: its store's index (docs/formats)
//
// Loading reads one small index per timeline, no layer. A timeline whose index is damaged is kept as broken, with its
// branches, and concerns no other. A folder without its file is what a crash left of a creation: it is removed.
// Errors: kExists, kNotFound, kInvalid, those of stores and initdb. Threads: safe from any. Creating a branch takes a
// few milliseconds whatever its size.

#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "broker/client.h"
#include "pageserver/timeline.h"
#include "pageserver/wal_receiver.h"

namespace helium::pageserver {

struct TenantsOptions {
  std::filesystem::path data_dir;
  std::filesystem::path pg_distrib_dir;  // empty: Debian's places
  std::optional<HostPort> broker;
  TimelineOptions timeline;
  layer::StoreOptions store = layer::StoreOptions::defaults();
};

class Tenants {
 public:
  // A timeline, or why it could not be loaded.
  struct Entry {
    TenantTimelineId id;
    std::shared_ptr<Timeline> timeline;    // empty when broken
    std::shared_ptr<WalReceiver> receiver;
    std::optional<TimelineId> ancestor_id;
    std::string broken;
  };

  static Result<std::unique_ptr<Tenants>> open(TenantsOptions options);
  ~Tenants();  // stops

  Status create_tenant(const TenantId& tenant);
  std::vector<TenantId> list_tenants() const;

  struct NewTimeline {
    TimelineId id;
    std::optional<int> pg_version;            // of a root, 15 if not given; a branch has its ancestor's
    std::optional<bool> data_checksums;       // of a root; else as the version's initdb does
    std::optional<TimelineId> ancestor_id;    // makes it a branch
    std::optional<Lsn> ancestor_start_lsn;    // none: the ancestor's end, as far as we have it
    bool exact = false;                       // not rounded down; may lie ahead
  };
  Result<std::shared_ptr<Timeline>> create_timeline(const TenantId& tenant, const NewTimeline& request);

  // kNotFound; kCorrupt when it is broken.
  Result<std::shared_ptr<Timeline>> find(const TenantTimelineId& id) const;
  Result<Entry> find_entry(const TenantTimelineId& id) const;
  // kNotFound: no such tenant.
  Result<std::vector<Entry>> list_timelines(const TenantId& tenant) const;
  std::vector<Entry> all_timelines() const;

  // A safekeeper that has the timeline's WAL up to `upto`.
  void hint_source(const TenantTimelineId& id, const HostPort& safekeeper, Lsn upto);

  // Freezes and flushes everything (bounded by what the disk allows), then ends all threads.
  void stop();

 private:
  struct Tenant {
    std::map<TimelineId, Entry> timelines;
    std::set<TimelineId> being_created;
  };

  explicit Tenants(TenantsOptions options) : options_(std::move(options)) {}
  Status load();
  void load_tenant(const TenantId& id);
  Result<std::shared_ptr<layer::TimelineStore>> create_root_store(const TenantTimelineId& id, int pg_version);
  Result<std::shared_ptr<Timeline>> create_root(const TenantTimelineId& id, const NewTimeline& request);
  Result<std::shared_ptr<Timeline>> create_branch(const TenantTimelineId& id, const NewTimeline& request);
  void add(const std::shared_ptr<Timeline>& timeline);
  void on_progress(const broker::TimelineProgress& progress);
  void housekeeping();

  std::filesystem::path tenant_dir(const TenantId& tenant) const;
  std::filesystem::path timeline_dir(const TenantTimelineId& id) const;

  const TenantsOptions options_;
  mutable std::mutex mutex_;
  std::map<TenantId, Tenant> tenants_;
  // What the broker said last, for timelines that come later.
  std::map<std::pair<TenantTimelineId, uint64_t>, broker::TimelineProgress> progress_;

  std::unique_ptr<broker::BrokerClient> broker_;
  std::condition_variable stopping_changed_;
  bool stopping_ = false;
  std::thread housekeeper_;
};

}  // namespace helium::pageserver
