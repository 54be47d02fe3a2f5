#include "cli/timelines.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/names.h"
#include "cli/storage_api.h"

namespace helium::cli {
namespace {

bool has_confirmed(const TimelineConfig& timeline, uint64_t safekeeper_id) {
  return std::ranges::find(timeline.confirmed_by, safekeeper_id) != timeline.confirmed_by.end();
}

bool is_member(const TimelineConfig& timeline, uint64_t safekeeper_id) {
  return std::ranges::find(timeline.members, safekeeper_id) != timeline.members.end();
}

}  // namespace

Result<TenantConfig*> find_tenant(ClusterConfig& config, const std::string& text) {
  std::optional<TenantId> id = config.default_tenant;
  if (!text.empty()) {
    HELIUM_ASSIGN(id, parse_tenant_id(text));
  }
  if (!id && config.tenants.empty()) {
    return fail(ErrorCode::kNotFound, "there is no tenant yet: create one with 'helium tenant create --set-default'");
  }
  if (!id) {
    return fail(ErrorCode::kNotFound,
                "no tenant is the default one: pass --tenant-id, or choose one with 'helium tenant set-default TENANT_ID'");
  }
  TenantConfig* tenant = config.find_tenant(*id);
  if (tenant == nullptr) {
    return fail(ErrorCode::kNotFound, fmt::format("there is no tenant {}: 'helium tenant list' shows those that there are", to_string(*id)));
  }
  return tenant;
}

Result<const TimelineConfig*> find_branch(const TenantConfig& tenant, const std::string& branch_name) {
  if (const TimelineConfig* timeline = tenant.find_branch(branch_name)) return timeline;
  std::vector<std::string> names;
  for (const TimelineConfig& timeline : tenant.timelines) names.push_back(timeline.branch_name);
  return fail(ErrorCode::kNotFound, fmt::format("tenant {} has no branch '{}' (branches: {}): create it with 'helium timeline "
                                                "branch --branch-name {}'",
                                                to_string(tenant.id), branch_name, join_names(names), branch_name));
}

Result<TimelineId> choose_timeline_id(const ClusterConfig& config, const std::string& text) {
  if (text.empty()) return random_id<TimelineId>();
  HELIUM_ASSIGN(const TimelineId id, parse_timeline_id(text));
  for (const TenantConfig& tenant : config.tenants) {
    if (tenant.find_timeline(id) != nullptr) {
      return fail(ErrorCode::kExists, fmt::format("timeline {} exists already: leave --timeline-id out to get a new id", text));
    }
  }
  return id;
}

Status check_new_branch_name(const TenantConfig& tenant, const std::string& branch_name) {
  HELIUM_TRY(check_name("branch", branch_name));
  if (tenant.find_branch(branch_name) != nullptr) {
    return fail(ErrorCode::kExists, fmt::format("tenant {} has a branch '{}' already: choose another --branch-name",
                                                to_string(tenant.id), branch_name));
  }
  return {};
}

Status create_at_safekeepers(const ClusterConfig& config, const TenantId& tenant, TimelineConfig& timeline) {
  if (timeline.members.empty()) {
    timeline.members = config.active_safekeepers();
  }
  std::string first_error;
  for (const uint64_t id : timeline.members) {
    if (has_confirmed(timeline, id)) continue;
    if (const Status created = create_on_safekeeper(config, id, tenant, timeline)) {
      timeline.confirmed_by.push_back(id);
    } else if (first_error.empty()) {
      first_error = created.error().message;
    }
  }
  if (timeline.confirmed_by.size() > timeline.members.size() / 2) return {};
  return fail(ErrorCode::kUnavailable,
              fmt::format("only {} of {} safekeepers have timeline {}: {}; start them with 'helium start'",
                          timeline.confirmed_by.size(), timeline.members.size(), to_string(timeline.id), first_error));
}

Status create_missed_timelines(Cluster& cluster, uint64_t safekeeper_id) {
  HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
  HELIUM_TRY(cluster.load());
  bool is_changed = false;
  for (TenantConfig& tenant : cluster.config.tenants) {
    for (TimelineConfig& timeline : tenant.timelines) {
      if (!is_member(timeline, safekeeper_id) || has_confirmed(timeline, safekeeper_id)) continue;
      HELIUM_TRY(create_on_safekeeper(cluster.config, safekeeper_id, tenant.id, timeline));
      timeline.confirmed_by.push_back(safekeeper_id);
      is_changed = true;
    }
  }
  return is_changed ? cluster.store() : Status();
}

}  // namespace helium::cli
