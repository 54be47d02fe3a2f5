// Endpoints: the registration of a compute (endpoints/NAME/endpoint.json) and its agent as a process.
//
// The registration lives in the endpoint's own folder and nowhere else, so deleting the folder loses just that.
// It is also what compute_ctl reads: addresses are filled in anew at each start. Plain values and blocking calls.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "cli/cluster.h"
#include "cli/daemons.h"

namespace helium::cli {

struct Endpoint {
  std::string name;
  TenantId tenant;
  TimelineId timeline;
  std::string branch_name;
  int pg_version = kDefaultPgVersion;
  uint16_t pg_port = 0;
  uint16_t http_port = 0;
  std::map<std::string, std::string> settings;  // postgresql.conf settings that stay with the endpoint

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

std::string encode_endpoint(const Endpoint& endpoint, const ClusterConfig& config, const TimelineConfig& timeline,
                            const std::filesystem::path& pg_bin_dir);
Result<Endpoint> decode_endpoint(std::string_view text);

// kNotFound names the endpoints that exist.
Result<Endpoint> load_endpoint(const Cluster& cluster, const std::string& name);
// In the order of their names. A folder whose registration is damaged or missing is left out.
std::vector<Endpoint> load_endpoints(const Cluster& cluster);
// Fills in the addresses of storage and stores the registration durably.
Status store_endpoint(const Cluster& cluster, const Endpoint& endpoint);

// The first pair of ports, from the cluster's endpoint port upwards, that no endpoint has and nobody listens on.
Result<std::pair<uint16_t, uint16_t>> choose_endpoint_ports(const Cluster& cluster);

enum class ComputeState { kStopped, kStarting, kRunning, kStopping, kFailed, kSilent };
std::string_view to_string(ComputeState state);
// From the agent's own word; kStopped when no process of it runs, kSilent when it runs and does not answer.
ComputeState compute_state(const Cluster& cluster, const Endpoint& endpoint);

// Starts the agent; returns when its process exists.
struct LaunchedCompute {
  pid_t pid = 0;
  uintmax_t log_from = 0;
};
Result<LaunchedCompute> launch_compute(const Cluster& cluster, const Endpoint& endpoint);
// Returns when PostgreSQL takes connections.
Status wait_for_compute(const Cluster& cluster, const Endpoint& endpoint, const LaunchedCompute& compute);

// Stops all of them at once. kTimeout when one does not end: a fast stop needs a quorum.
Status stop_computes(const Cluster& cluster, const std::vector<Endpoint>& endpoints, StopMode mode, Timeout timeout);

}  // namespace helium::cli
