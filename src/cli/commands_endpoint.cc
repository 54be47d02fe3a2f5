// endpoint create, start, stop, list.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/endpoints.h"
#include "cli/names.h"
#include "cli/output.h"
#include "cli/storage_api.h"
#include "cli/text.h"
#include "cli/timelines.h"

namespace helium::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr Timeout kFastStopTimeout = std::chrono::seconds(60);
constexpr Timeout kImmediateStopTimeout = std::chrono::seconds(10);

Status check_ports_unused(const Cluster& cluster, const Endpoint& endpoint) {
  if (endpoint.pg_port == endpoint.http_port) {
    return fail(ErrorCode::kInvalid, fmt::format("--pg-port and --http-port are both {}: choose two", endpoint.pg_port));
  }
  for (const Endpoint& other : load_endpoints(cluster)) {
    for (const uint16_t port : {endpoint.pg_port, endpoint.http_port}) {
      if (port == other.pg_port || port == other.http_port) {
        return fail(ErrorCode::kExists, fmt::format("port {} belongs to endpoint '{}': choose another", port, other.name));
      }
    }
  }
  return {};
}

// Stored addresses are new, and the timeline exists at the safekeepers. Call under the lock.
Status prepare_start(Cluster& cluster, const Endpoint& endpoint) {
  TenantConfig* tenant = cluster.config.find_tenant(endpoint.tenant);
  TimelineConfig* timeline = tenant == nullptr ? nullptr : tenant->find_timeline(endpoint.timeline);
  if (timeline == nullptr) {
    return fail(ErrorCode::kNotFound, fmt::format("endpoint '{}' belongs to timeline {}, which this cluster does not have: create "
                                                  "it anew after 'helium endpoint stop {} --destroy'",
                                                  endpoint.name, to_string(endpoint.timeline), endpoint.name));
  }
  HELIUM_TRY(check_safekeeper_majority(cluster.config));
  const TimelineConfig before = *timeline;
  const Status created = create_at_safekeepers(cluster.config, tenant->id, *timeline);
  if (*timeline != before) HELIUM_TRY(cluster.store());  // also half of it: who confirmed is never told again
  HELIUM_TRY(created);
  return store_endpoint(cluster, endpoint);
}

}  // namespace

Status create_endpoint(const EndpointCreateOptions& options) {
  HELIUM_TRY(check_name("endpoint", options.name));
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
  HELIUM_TRY(cluster.load());
  const fs::path folder = cluster.endpoints_folder() / options.name;
  if (fs::exists(folder / "endpoint.json")) {
    return fail(ErrorCode::kExists, fmt::format("endpoint '{}' exists already: start it with 'helium endpoint start {}', or remove it "
                                                "with 'helium endpoint stop {} --destroy'",
                                                options.name, options.name, options.name));
  }
  HELIUM_ASSIGN(const TenantConfig* tenant, find_tenant(cluster.config, options.tenant_id));
  HELIUM_ASSIGN(const TimelineConfig* timeline, find_branch(*tenant, options.branch_name));
  if (options.pg_version && *options.pg_version != timeline->pg_version) {
    return fail(ErrorCode::kInvalid, fmt::format("branch '{}' is of PostgreSQL {}, not {}: leave --pg-version out", options.branch_name,
                                                 timeline->pg_version, *options.pg_version));
  }
  Endpoint endpoint;
  endpoint.name = options.name;
  endpoint.tenant = tenant->id;
  endpoint.timeline = timeline->id;
  endpoint.branch_name = timeline->branch_name;
  endpoint.pg_version = timeline->pg_version;
  for (const std::string& text : options.settings) {
    HELIUM_ASSIGN(auto setting, parse_setting(text));
    endpoint.settings.insert_or_assign(std::move(setting.first), std::move(setting.second));
  }
  if (options.pg_port && options.http_port) {
    endpoint.pg_port = *options.pg_port;
    endpoint.http_port = *options.http_port;
  } else {
    HELIUM_ASSIGN(const auto ports, choose_endpoint_ports(cluster));
    endpoint.pg_port = options.pg_port.value_or(ports.first);
    endpoint.http_port = options.http_port.value_or(ports.second);
  }
  HELIUM_TRY(check_ports_unused(cluster, endpoint));
  return store_endpoint(cluster, endpoint);
}

Status start_endpoint(const std::string& name) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Endpoint endpoint, load_endpoint(cluster, name));
  LaunchedCompute compute;
  {
    HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
    HELIUM_TRY(cluster.load());
    if (const std::optional<pid_t> pid = running_pid(cluster.endpoint_files(name).pid_file)) {
      return fail(ErrorCode::kExists, fmt::format("endpoint '{}' is running already (pid: {}): stop it with 'helium endpoint stop {}'",
                                                  name, *pid, name));
    }
    HELIUM_TRY(check_pageserver(cluster.config));
    say("Starting new endpoint {} (PostgreSQL v{}) on timeline {} ...", name, endpoint.pg_version, to_string(endpoint.timeline));
    HELIUM_TRY(prepare_start(cluster, endpoint));
    HELIUM_ASSIGN(compute, launch_compute(cluster, endpoint));
  }
  say("Starting postgres at 'postgresql://cloud_admin@{}:{}/postgres'", cluster.config.host, endpoint.pg_port);
  return wait_for_compute(cluster, endpoint, compute);
}

Status stop_endpoint(const std::string& name, StopMode mode, bool destroy) {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Endpoint endpoint, load_endpoint(cluster, name));
  if (running_pid(cluster.endpoint_files(name).pid_file)) {
    HELIUM_TRY(stop_computes(cluster, {endpoint}, mode, mode == StopMode::kFast ? kFastStopTimeout : kImmediateStopTimeout));
  } else {
    wait_until_stopped(cluster.endpoint_files(name).pid_file, Timeout(0));  // takes a stale pid file away
    say("endpoint {} is not running", name);
  }
  if (!destroy) return {};
  HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
  std::error_code error;
  fs::remove_all(cluster.endpoint_files(name).folder, error);
  if (error) return fail(ErrorCode::kIo, fmt::format("remove '{}': {}", cluster.endpoint_files(name).folder.string(), error.message()));
  say("endpoint {} destroyed", name);
  return {};
}

Status list_endpoints(const std::string& tenant_id, bool as_json) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  std::optional<TenantId> only;
  if (!tenant_id.empty()) {
    HELIUM_ASSIGN(const TenantConfig* tenant, find_tenant(cluster.config, tenant_id));
    only = tenant->id;
  }
  json list = json::array();
  std::vector<std::vector<std::string>> rows;
  for (const Endpoint& endpoint : load_endpoints(cluster)) {
    if (only && endpoint.tenant != *only) continue;
    const Result<PageserverTimeline> timeline = pageserver_timeline(cluster.config, {endpoint.tenant, endpoint.timeline});
    const std::string lsn = timeline ? to_string(timeline->last_record_lsn) : "-";
    const std::string address = to_string(HostPort{cluster.config.host, endpoint.pg_port});
    const std::string state(to_string(compute_state(cluster, endpoint)));
    rows.push_back({endpoint.name, address, to_string(endpoint.timeline), endpoint.branch_name, lsn, state});
    list.push_back({{"name", endpoint.name},
                    {"address", address},
                    {"http_port", endpoint.http_port},
                    {"connection_string", fmt::format("postgresql://cloud_admin@{}/postgres", address)},
                    {"tenant_id", to_string(endpoint.tenant)},
                    {"timeline_id", to_string(endpoint.timeline)},
                    {"branch_name", endpoint.branch_name},
                    {"pg_version", endpoint.pg_version},
                    {"lsn", timeline ? json(lsn) : json(nullptr)},
                    {"settings", endpoint.settings},
                    {"status", state}});
  }
  if (as_json) {
    say("{}", list.dump(2));
  } else {
    fmt::print("{}", format_table({"ENDPOINT", "ADDRESS", "TIMELINE", "BRANCH NAME", "LSN", "STATUS"}, rows));
  }
  return {};
}

}  // namespace helium::cli
