// Finding tenants and branches by what the user typed, and bringing timelines into being at the safekeepers.

#pragma once

#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "cli/cluster.h"

namespace helium::cli {

// The tenant of `text`, or the default one when it is empty. kNotFound says how to choose or create one.
Result<TenantConfig*> find_tenant(ClusterConfig& config, const std::string& text);

// kNotFound names the branches that there are.
Result<const TimelineConfig*> find_branch(const TenantConfig& tenant, const std::string& branch_name);

// The id that the user wants, or a new one when `text` is empty. kExists when a timeline has it.
Result<TimelineId> choose_timeline_id(const ClusterConfig& config, const std::string& text);

// kExists when the tenant has a branch of that name; kInvalid for a bad name.
Status check_new_branch_name(const TenantConfig& tenant, const std::string& branch_name);

// Makes a timeline known to all safekeepers that have not confirmed it yet and answer now; notes who confirmed.
// On the first call the cluster's safekeepers become its members. kUnavailable when a majority has not confirmed.
// Call under the cluster's lock: `timeline` is changed and must be stored.
Status create_at_safekeepers(const ClusterConfig& config, const TenantId& tenant, TimelineConfig& timeline);

// Tells a safekeeper that just came up about the timelines whose creation it missed.
Status create_missed_timelines(Cluster& cluster, uint64_t safekeeper_id);

}  // namespace helium::cli
