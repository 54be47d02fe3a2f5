// init, start, stop, and the commands for single daemons.

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/endpoints.h"
#include "cli/output.h"
#include "cli/timelines.h"
#include "io/durable_file.h"
#include "io/pg_distribution.h"

namespace helium::cli {
namespace {

namespace fs = std::filesystem;

constexpr Timeout kFastStopTimeout = std::chrono::seconds(30);
constexpr Timeout kImmediateStopTimeout = std::chrono::seconds(10);

// A folder that init may fill: absent, or empty but for what an interrupted init left.
Status check_place(const Cluster& cluster) {
  if (cluster.exists()) {
    return fail(ErrorCode::kExists, fmt::format("a cluster exists already in '{}', nothing was changed: start it with "
                                                "'helium start', or remove that folder to begin anew",
                                                cluster.shown()));
  }
  std::error_code error;
  for (fs::directory_iterator entry(cluster.folder(), error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    const bool is_ours = name == "safekeepers" || name == "object_store" || name == "endpoints" || name == "lock" || name == "config.json.tmp" ||
                         name.starts_with("pageserver_");
    if (!is_ours) {
      return fail(ErrorCode::kExists, fmt::format("'{}' is no cluster and not empty (it holds '{}'): choose another folder with "
                                                  "HELIUM_REPO_DIR",
                                                  cluster.shown(), name));
    }
  }
  return {};
}

Status start_one(Result<Daemon> daemon) {
  if (!daemon) return fail(std::move(daemon).error());
  return start_daemons({std::move(*daemon)});
}

Status stop_one(Result<Daemon> daemon, StopMode mode) {
  if (!daemon) return fail(std::move(daemon).error());
  return stop_daemons({std::move(*daemon)}, mode);
}

}  // namespace

Status init_cluster(InitOptions options) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::at_default_place());
  HELIUM_TRY(check_place(cluster));

  ClusterConfig& config = options.config;
  if (options.safekeeper_count == 0 || options.safekeeper_count > 9) {
    return fail(ErrorCode::kInvalid, fmt::format("--num-safekeepers {}: choose 1 to 9 (an odd number serves best)", options.safekeeper_count));
  }
  const uint32_t last = options.safekeeper_count - 1;
  if (options.safekeeper_port + last > UINT16_MAX || options.safekeeper_http_port + last > UINT16_MAX) {
    return fail(ErrorCode::kInvalid, "the safekeepers' ports would pass 65535: choose lower ones");
  }
  config.safekeepers = make_safekeepers(options.safekeeper_count, options.safekeeper_port, options.safekeeper_http_port);
  HELIUM_TRY(check_ports_differ(config));
  if (!config.pg_distrib_dir.empty()) config.pg_distrib_dir = fs::absolute(config.pg_distrib_dir).lexically_normal();
  if (!config.object_store.empty() && config.object_store != "none") {
    config.object_store = fs::absolute(config.object_store).lexically_normal();
    HELIUM_TRY(make_folders(config.object_store));
  }
  if (installed_pg_versions(config.pg_distrib_dir).empty()) {
    HELIUM_ASSIGN([[maybe_unused]] const fs::path bin, find_pg_bin_dir(config.pg_distrib_dir, kDefaultPgVersion));
  }

  say("Initializing pageserver node {} at '{}' in \"{}\".", config.pageserver_id, to_string(config.pageserver()), cluster.shown());
  cluster.config = std::move(config);
  HELIUM_TRY(make_folders(cluster.pageserver_files().folder));
  for (const SafekeeperConfig& safekeeper : cluster.config.safekeepers) {
    HELIUM_TRY(make_folders(cluster.safekeeper_files(safekeeper.id).folder));
  }
  HELIUM_TRY(make_folders(cluster.endpoints_folder()));
  return cluster.store();  // last: from here on it is a cluster
}

Status start_cluster() {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  {
    HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
    HELIUM_TRY(start_daemons(storage_daemons(cluster)));
  }
  for (const SafekeeperConfig& safekeeper : cluster.config.safekeepers) {
    if (safekeeper.role == SafekeeperRole::kRetired) continue;
    HELIUM_TRY(create_missed_timelines(cluster, safekeeper.id));
  }
  return {};
}

Status stop_cluster(StopMode mode) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
  const std::vector<Endpoint> endpoints = load_endpoints(cluster);
  Status computes = stop_computes(cluster, endpoints, mode, mode == StopMode::kFast ? kFastStopTimeout : kImmediateStopTimeout);
  if (!computes && mode == StopMode::kFast) {
    // Without a majority of safekeepers a compute cannot write its last record, and need not.
    say("{}", computes.error().message);
    computes = stop_computes(cluster, endpoints, StopMode::kImmediate, kImmediateStopTimeout);
  }
  HELIUM_TRY(std::move(computes));
  // All get the signal at once; the broker is told last, and waited for last.
  std::vector<Daemon> daemons = storage_daemons(cluster);
  std::rotate(daemons.begin(), daemons.begin() + 1, daemons.end());
  return stop_daemons(daemons, mode);
}

Status start_pageserver() {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
  return start_one(pageserver_daemon(cluster));
}

Status stop_pageserver(StopMode mode) {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  return stop_one(pageserver_daemon(cluster), mode);
}

Status pageserver_status() {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  return print_daemon_status(pageserver_daemon(cluster));
}

Status start_broker() {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
  return start_one(broker_daemon(cluster));
}

Status stop_broker(StopMode mode) {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  return stop_one(broker_daemon(cluster), mode);
}

Status broker_status() {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  return print_daemon_status(broker_daemon(cluster));
}

}  // namespace helium::cli
