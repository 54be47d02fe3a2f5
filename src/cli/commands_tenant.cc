// tenant create, list, set-default; timeline create, branch, list.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "cli/commands.h"
#include "cli/names.h"
#include "cli/now.h"
#include "cli/output.h"
#include "cli/storage_api.h"
#include "cli/text.h"
#include "cli/timelines.h"
#include "io/pg_distribution.h"

namespace helium::cli {
namespace {

using nlohmann::json;

constexpr auto kIngestTimeout = std::chrono::seconds(30);

// A timeline of its own on pageserver and safekeepers, added to the tenant. Call under the lock.
Result<TimelineConfig> add_root_timeline(const ClusterConfig& config, TenantConfig& tenant, const TimelineId& id,
                                         const std::string& branch_name, const NewCluster& wanted) {
  TimelineConfig timeline;
  timeline.id = id;
  timeline.branch_name = branch_name;
  timeline.pg_version = wanted.pg_version;
  HELIUM_ASSIGN(const PageserverTimeline created, create_root_timeline(config, {tenant.id, id}, wanted));
  timeline.start_lsn = created.start_lsn;
  timeline.system_id = created.system_id;
  HELIUM_TRY(create_at_safekeepers(config, tenant.id, timeline));
  tenant.timelines.push_back(timeline);
  return timeline;
}

Status check_installed(const ClusterConfig& config, int pg_version) {
  HELIUM_ASSIGN([[maybe_unused]] const auto bin, find_pg_bin_dir(config.pg_distrib_dir, pg_version));
  return {};
}

// The position that a branch at `lsn` needs the pageserver to have seen: it rounds down to what it knows.
Status wait_for_ingest(const ClusterConfig& config, const TenantTimelineId& id, Lsn lsn) {
  const auto deadline = std::chrono::steady_clock::now() + kIngestTimeout;
  while (true) {
    HELIUM_ASSIGN(const PageserverTimeline timeline, pageserver_timeline(config, id));
    if (timeline.last_record_lsn >= lsn) return {};
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(ErrorCode::kTimeout, fmt::format("the pageserver has read WAL up to {} only, not to {}: try again later",
                                                   to_string(timeline.last_record_lsn), to_string(lsn)));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

Result<BranchPoint> choose_branch_point(const ClusterConfig& config, const TenantId& tenant, const TimelineConfig& ancestor,
                                        const std::string& lsn_text) {
  if (lsn_text.empty()) {
    HELIUM_ASSIGN(const Lsn now, resolve_now(config, tenant, ancestor));
    return BranchPoint{ancestor.id, now, true};
  }
  HELIUM_ASSIGN(const Lsn lsn, parse_lsn(lsn_text));
  const TenantTimelineId id{tenant, ancestor.id};
  HELIUM_ASSIGN(const PageserverTimeline seen, pageserver_timeline(config, id));
  if (lsn > seen.last_record_lsn) {
    HELIUM_ASSIGN(const Lsn now, resolve_now(config, tenant, ancestor));
    if (lsn > now) {
      return fail(ErrorCode::kInvalid, fmt::format("LSN {} lies ahead of branch '{}', which ends at {}: name an earlier one, or leave "
                                                   "--ancestor-start-lsn out to branch at its end",
                                                   to_string(lsn), ancestor.branch_name, to_string(now)));
    }
    HELIUM_TRY(wait_for_ingest(config, id, lsn));
  }
  return BranchPoint{ancestor.id, lsn, false};
}

}  // namespace

Status create_tenant_command(const TenantCreateOptions& options) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  return cluster.update([&](ClusterConfig& config) -> Status {
    TenantConfig tenant;
    tenant.id = random_id<TenantId>();
    if (!options.tenant_id.empty()) {
      HELIUM_ASSIGN(tenant.id, parse_tenant_id(options.tenant_id));
    }
    if (config.find_tenant(tenant.id) != nullptr) {
      return fail(ErrorCode::kExists, fmt::format("tenant {} exists already: leave --tenant-id out to get a new id", to_string(tenant.id)));
    }
    HELIUM_ASSIGN(const TimelineId timeline_id, choose_timeline_id(config, options.timeline_id));
    HELIUM_TRY(check_installed(config, options.cluster.pg_version));
    HELIUM_TRY(check_safekeeper_majority(config));  // before anything is created anywhere

    HELIUM_TRY(create_tenant(config, tenant.id));
    say("tenant {} successfully created on the pageserver", to_string(tenant.id));
    HELIUM_ASSIGN(const TimelineConfig timeline, add_root_timeline(config, tenant, timeline_id, "main", options.cluster));
    say("Created an initial timeline '{}' at Lsn {} for tenant: {}", to_string(timeline.id), to_string(timeline.start_lsn),
        to_string(tenant.id));
    if (options.set_default) {
      say("Setting tenant {} as a default one", to_string(tenant.id));
      config.default_tenant = tenant.id;
    }
    config.tenants.push_back(std::move(tenant));
    return {};
  });
}

Status list_tenants(bool as_json) {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  json list = json::array();
  std::vector<std::vector<std::string>> rows;
  for (const TenantConfig& tenant : cluster.config.tenants) {
    const bool is_default = cluster.config.default_tenant == tenant.id;
    std::set<int> versions;
    for (const TimelineConfig& timeline : tenant.timelines) versions.insert(timeline.pg_version);
    rows.push_back({to_string(tenant.id), std::to_string(tenant.timelines.size()), fmt::format("{}", fmt::join(versions, ", ")),
                    is_default ? "yes" : ""});
    list.push_back({{"tenant_id", to_string(tenant.id)},
                    {"timelines", tenant.timelines.size()},
                    {"pg_versions", versions},
                    {"is_default", is_default}});
  }
  if (as_json) {
    say("{}", list.dump(2));
  } else {
    fmt::print("{}", format_table({"TENANT", "TIMELINES", "POSTGRESQL", "DEFAULT"}, rows));
  }
  return {};
}

Status set_default_tenant(const std::string& tenant_id) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  return cluster.update([&](ClusterConfig& config) -> Status {
    HELIUM_ASSIGN(const TenantConfig* tenant, find_tenant(config, tenant_id));
    config.default_tenant = tenant->id;
    say("Setting tenant {} as a default one", to_string(tenant->id));
    return {};
  });
}

Status create_timeline_command(const TimelineCreateOptions& options) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  return cluster.update([&](ClusterConfig& config) -> Status {
    HELIUM_ASSIGN(TenantConfig* tenant, find_tenant(config, options.tenant_id));
    HELIUM_TRY(check_new_branch_name(*tenant, options.branch_name));
    HELIUM_ASSIGN(const TimelineId id, choose_timeline_id(config, options.timeline_id));
    HELIUM_TRY(check_installed(config, options.cluster.pg_version));
    HELIUM_TRY(check_safekeeper_majority(config));
    HELIUM_ASSIGN(const TimelineConfig timeline, add_root_timeline(config, *tenant, id, options.branch_name, options.cluster));
    say("Created timeline '{}' at Lsn {} for tenant: {}", to_string(timeline.id), to_string(timeline.start_lsn), to_string(tenant->id));
    return {};
  });
}

Status branch_timeline(const BranchOptions& options) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  return cluster.update([&](ClusterConfig& config) -> Status {
    HELIUM_ASSIGN(TenantConfig* tenant, find_tenant(config, options.tenant_id));
    HELIUM_TRY(check_new_branch_name(*tenant, options.branch_name));
    HELIUM_ASSIGN(const TimelineConfig* ancestor, find_branch(*tenant, options.ancestor_branch_name));
    HELIUM_ASSIGN(const TimelineId id, choose_timeline_id(config, options.timeline_id));
    HELIUM_ASSIGN(const BranchPoint point, choose_branch_point(config, tenant->id, *ancestor, options.ancestor_start_lsn));
    HELIUM_ASSIGN(const PageserverTimeline created, create_branch(config, {tenant->id, id}, point));

    TimelineConfig timeline;
    timeline.id = id;
    timeline.branch_name = options.branch_name;
    timeline.ancestor_id = ancestor->id;
    timeline.start_lsn = created.start_lsn;
    timeline.pg_version = ancestor->pg_version;
    timeline.system_id = ancestor->system_id;  // a branch is the same PostgreSQL cluster in another life
    timeline.generation = 1;
    say("Created timeline '{}' at Lsn {} for tenant: {}. Ancestor timeline: '{}'", to_string(timeline.id),
        to_string(timeline.start_lsn), to_string(tenant->id), ancestor->branch_name);
    tenant->timelines.push_back(std::move(timeline));
    return {};
  });
}

Status list_timelines(const std::string& tenant_id, bool as_json) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const TenantConfig* tenant, find_tenant(cluster.config, tenant_id));
  std::vector<TreeEntry> entries;
  json list = json::array();
  for (const TimelineConfig& timeline : tenant->timelines) {
    entries.push_back({timeline.branch_name, timeline.id, timeline.ancestor_id, timeline.start_lsn});
    json item{{"tenant_id", to_string(tenant->id)},
              {"timeline_id", to_string(timeline.id)},
              {"branch_name", timeline.branch_name},
              {"pg_version", timeline.pg_version},
              {"start_lsn", to_string(timeline.start_lsn)},
              {"ancestor_timeline_id", nullptr}};
    if (timeline.ancestor_id) item["ancestor_timeline_id"] = to_string(*timeline.ancestor_id);
    list.push_back(std::move(item));
  }
  if (as_json) {
    say("{}", list.dump(2));
  } else {
    fmt::print("{}", format_timeline_tree(entries));
  }
  return {};
}

}  // namespace helium::cli
