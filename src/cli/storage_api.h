// Requests to the storage daemons' HTTP APIs, with errors that say what to do. Blocking; plain values.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "cli/config.h"
#include "wire/membership.h"

namespace helium::cli {

struct PageserverTimeline {
  TimelineId id;
  Lsn start_lsn;  // initdb_lsn, or of a branch ancestor_lsn
  Lsn last_record_lsn;
  Lsn disk_consistent_lsn;
  std::string system_id;
};

struct BranchPoint {
  TimelineId ancestor_id;
  Lsn lsn;
  bool exact = false;  // take it as it is; else the pageserver rounds down to a WAL position
};

// The pageserver answers, or kUnavailable.
Status check_pageserver(const ClusterConfig& config);
Status create_tenant(const ClusterConfig& config, const TenantId& tenant);
// A timeline of its own, from a fresh initdb.
Result<PageserverTimeline> create_root_timeline(const ClusterConfig& config, const TenantTimelineId& id,
                                                const NewCluster& wanted);
Result<PageserverTimeline> create_branch(const ClusterConfig& config, const TenantTimelineId& id, const BranchPoint& at);
Result<PageserverTimeline> pageserver_timeline(const ClusterConfig& config, const TenantTimelineId& id);

// Verification of stored WAL and pages; bodies and answers are JSON (docs/pageserver_api.md).
Result<std::string> start_verification(const ClusterConfig& config, const TenantTimelineId& id, const std::string& body);
Result<std::string> verification_state(const ClusterConfig& config, const TenantTimelineId& id);
Status cancel_verification(const ClusterConfig& config, const TenantTimelineId& id);

struct TermStart {
  uint64_t term = 0;
  Lsn lsn;
};

struct SafekeeperTimeline {
  uint64_t safekeeper_id = 0;
  uint64_t log_term = 0;
  Lsn flush_lsn;
  Lsn commit_lsn;
  std::vector<TermStart> term_history;
  wire::Membership membership;  // as it says
  bool filling = false;         // a newcomer that does not count yet
  uint64_t term = 0;            // promised
};

// Ids of the safekeepers that answer /v1/status.
std::vector<uint64_t> reachable_safekeepers(const ClusterConfig& config);
// kUnavailable when fewer than a majority answer; names the silent ones.
Status check_safekeeper_majority(const ClusterConfig& config);
// Tells one member that the timeline exists; harmless when it has it already, in the same shape.
Status create_on_safekeeper(const ClusterConfig& config, uint64_t safekeeper_id, const TenantId& tenant,
                            const TimelineConfig& timeline);
// Asks all members at once. Silent ones are left out; does not wait long for them once a majority has answered.
std::vector<SafekeeperTimeline> ask_safekeepers(const ClusterConfig& config, const std::vector<uint64_t>& members,
                                                const TenantTimelineId& id);
// The body of a GET, a JSON text.
Result<std::string> get_from_safekeeper(const ClusterConfig& config, uint64_t safekeeper_id, const std::string& path);
// Makes a member pull WAL of the donor's log term up to `upto`.
Status catch_up_safekeeper(const ClusterConfig& config, uint64_t safekeeper_id, const TenantTimelineId& id,
                           const SafekeeperTimeline& donor, Lsn upto);

}  // namespace helium::cli
