#include "cli/endpoints.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/names.h"
#include "cli/output.h"
#include "cli/ports.h"
#include "http/client.h"
#include "io/durable_file.h"
#include "io/pg_distribution.h"

namespace helium::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr Timeout kStartTimeout = std::chrono::seconds(120);

fs::path registration_file(const Cluster& cluster, const std::string& name) {
  return cluster.endpoints_folder() / name / "endpoint.json";
}

std::vector<std::string> endpoint_names(const Cluster& cluster) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(cluster.endpoints_folder(), error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (fs::exists(entry->path() / "endpoint.json", ignored)) names.push_back(entry->path().filename());
  }
  std::ranges::sort(names);
  return names;
}

std::string state_word(const std::string& body) {
  const json status = json::parse(body, nullptr, false);
  if (!status.is_object() || !status.contains("status") || !status["status"].is_string()) return "";
  return status["status"].get<std::string>();
}

Readiness compute_readiness(const std::string& body) {
  const std::string word = state_word(body);
  if (word == "running") return Readiness::kReady;
  return word == "failed" ? Readiness::kFailed : Readiness::kNotYet;
}

}  // namespace

std::string encode_endpoint(const Endpoint& endpoint, const ClusterConfig& config, const TimelineConfig& timeline,
                            const fs::path& pg_bin_dir) {
  json safekeepers = json::array();
  for (const uint64_t id : timeline.members) {
    if (const SafekeeperConfig* member = config.find_safekeeper(id)) {
      const SafekeeperAddress address = config.address_for_others(*member);
      safekeepers.push_back(
          {{"id", id}, {"host", address.host}, {"pg_port", address.pg_port}, {"http_port", address.http_port}});
    }
  }
  const json out{{"name", endpoint.name},
                 {"tenant_id", to_string(endpoint.tenant)},
                 {"timeline_id", to_string(endpoint.timeline)},
                 {"branch_name", endpoint.branch_name},
                 {"pg_version", endpoint.pg_version},
                 {"host", config.host},
                 {"pg_port", endpoint.pg_port},
                 {"http_port", endpoint.http_port},
                 {"pageserver", to_string(config.pageserver_for_others())},
                 {"safekeepers", std::move(safekeepers)},
                 {"generation", timeline.generation},
                 {"pg_bin_dir", pg_bin_dir.string()},
                 {"settings", endpoint.settings}};
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<Endpoint> decode_endpoint(std::string_view text) {
  const json in = json::parse(text, nullptr, false);
  if (!in.is_object()) return fail(ErrorCode::kCorrupt, "not a JSON object");
  try {
    Endpoint endpoint;
    endpoint.name = in.at("name").get<std::string>();
    HELIUM_ASSIGN(endpoint.tenant, parse_tenant_id(in.at("tenant_id").get<std::string>()));
    HELIUM_ASSIGN(endpoint.timeline, parse_timeline_id(in.at("timeline_id").get<std::string>()));
    endpoint.branch_name = in.at("branch_name").get<std::string>();
    endpoint.pg_version = in.at("pg_version").get<int>();
    endpoint.pg_port = in.at("pg_port").get<uint16_t>();
    endpoint.http_port = in.at("http_port").get<uint16_t>();
    endpoint.settings = in.at("settings").get<std::map<std::string, std::string>>();
    return endpoint;
  } catch (const std::exception& error) {
    return fail(ErrorCode::kCorrupt, error.what());
  }
}

Result<Endpoint> load_endpoint(const Cluster& cluster, const std::string& name) {
  HELIUM_TRY(check_name("endpoint", name));
  const Result<std::string> text = read_text_file(registration_file(cluster, name));
  if (!text && text.error().code == ErrorCode::kNotFound) {
    return fail(ErrorCode::kNotFound, fmt::format("there is no endpoint '{}' (endpoints: {}): create it with 'helium endpoint create {}'",
                                                  name, join_names(endpoint_names(cluster)), name));
  }
  if (!text) return fail(text.error());
  Result<Endpoint> endpoint = decode_endpoint(*text);
  if (!endpoint) {
    return fail(std::move(endpoint).error().context(fmt::format(
        "read '{}/endpoints/{}/endpoint.json' (remove that folder and create the endpoint anew, nothing else is lost)",
        cluster.shown(), name)));
  }
  return endpoint;
}

std::vector<Endpoint> load_endpoints(const Cluster& cluster) {
  std::vector<Endpoint> endpoints;
  for (const std::string& name : endpoint_names(cluster)) {
    if (Result<Endpoint> endpoint = load_endpoint(cluster, name)) endpoints.push_back(std::move(*endpoint));
  }
  return endpoints;
}

Status store_endpoint(const Cluster& cluster, const Endpoint& endpoint) {
  const TenantConfig* tenant = cluster.config.find_tenant(endpoint.tenant);
  const TimelineConfig* timeline = tenant == nullptr ? nullptr : tenant->find_timeline(endpoint.timeline);
  if (timeline == nullptr) {
    return fail(ErrorCode::kNotFound, fmt::format("endpoint '{}' belongs to timeline {}, which this cluster does not have",
                                                  endpoint.name, to_string(endpoint.timeline)));
  }
  HELIUM_ASSIGN(const fs::path pg_bin_dir, find_pg_bin_dir(cluster.config.pg_distrib_dir, endpoint.pg_version));
  const fs::path file = registration_file(cluster, endpoint.name);
  const std::string content = encode_endpoint(endpoint, cluster.config, *timeline, pg_bin_dir);
  if (const Result<std::string> present = read_text_file(file); present && *present == content) return {};
  HELIUM_TRY(make_folders(file.parent_path()));
  return write_durable(file, as_bytes(content));
}

Result<std::pair<uint16_t, uint16_t>> choose_endpoint_ports(const Cluster& cluster) {
  std::set<uint16_t> used;
  for (const Endpoint& endpoint : load_endpoints(cluster)) used.insert({endpoint.pg_port, endpoint.http_port});
  const std::string& host = cluster.config.host;
  const auto is_usable = [&](uint16_t port) { return !used.contains(port) && is_port_free({host, port}); };
  for (uint32_t port = cluster.config.endpoint_port; port + 1 <= UINT16_MAX; port += 2) {
    const auto pg_port = static_cast<uint16_t>(port);
    const auto http_port = static_cast<uint16_t>(port + 1);
    if (is_usable(pg_port) && is_usable(http_port)) return std::pair(pg_port, http_port);
  }
  return fail(ErrorCode::kNotFound, fmt::format("no two free ports from {} upwards: name them with --pg-port and --http-port",
                                                cluster.config.endpoint_port));
}

std::string_view to_string(ComputeState state) {
  switch (state) {
    case ComputeState::kStopped: return "stopped";
    case ComputeState::kStarting: return "starting";
    case ComputeState::kRunning: return "running";
    case ComputeState::kStopping: return "stopping";
    case ComputeState::kFailed: return "failed";
    case ComputeState::kSilent: return "not answering";
  }
  return "unknown";
}

ComputeState compute_state(const Cluster& cluster, const Endpoint& endpoint) {
  if (!running_pid(cluster.endpoint_files(endpoint.name).pid_file)) return ComputeState::kStopped;
  const Result<std::string> body = http::expect_ok(
      http::request({cluster.config.host, endpoint.http_port}, "GET", "/v1/status", "", std::chrono::seconds(2)));
  // An agent opens its HTTP port a moment after it began to exist.
  if (!body) return body.error().code == ErrorCode::kTimeout ? ComputeState::kSilent : ComputeState::kStarting;
  const std::string word = state_word(*body);
  if (word == "running") return ComputeState::kRunning;
  if (word == "stopping") return ComputeState::kStopping;
  if (word == "failed") return ComputeState::kFailed;
  return ComputeState::kStarting;
}

Result<LaunchedCompute> launch_compute(const Cluster& cluster, const Endpoint& endpoint) {
  HELIUM_ASSIGN(const fs::path program, sibling_program("compute_ctl"));
  const std::string& host = cluster.config.host;
  HELIUM_TRY(check_port_free({host, endpoint.pg_port}, fmt::format("endpoint {}", endpoint.name)));
  HELIUM_TRY(check_port_free({host, endpoint.http_port}, fmt::format("endpoint {}'s HTTP", endpoint.name)));
  const DaemonFiles files = cluster.endpoint_files(endpoint.name);
  LaunchedCompute launched;
  std::error_code error;
  launched.log_from = fs::file_size(files.log_file, error);
  if (error) launched.log_from = 0;
  HELIUM_ASSIGN(launched.pid, spawn_daemon({program.string(), "--endpoint-dir", files.folder.string()}, files));
  return launched;
}

Status wait_for_compute(const Cluster& cluster, const Endpoint& endpoint, const LaunchedCompute& compute) {
  return wait_until_ready("endpoint " + endpoint.name, compute.pid, {cluster.config.host, endpoint.http_port},
                          cluster.endpoint_files(endpoint.name), compute.log_from, kStartTimeout, compute_readiness);
}

Status stop_computes(const Cluster& cluster, const std::vector<Endpoint>& endpoints, StopMode mode, Timeout timeout) {
  std::vector<const Endpoint*> stopping;
  for (const Endpoint& endpoint : endpoints) {
    const bool signalled =
        signal_daemon(cluster.endpoint_files(endpoint.name).pid_file, mode == StopMode::kFast ? SIGTERM : SIGINT);
    if (signalled) stopping.push_back(&endpoint);
  }
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  Status status;
  for (const Endpoint* endpoint : stopping) {
    const auto left = std::chrono::duration_cast<Timeout>(deadline - std::chrono::steady_clock::now());
    if (wait_until_stopped(cluster.endpoint_files(endpoint->name).pid_file, std::max(left, Timeout(0)))) {
      say("endpoint {} stopped", endpoint->name);
    } else if (status) {
      status = fail(ErrorCode::kTimeout,
                    fmt::format("endpoint {} did not stop within {} s (a fast stop needs a majority of safekeepers): use "
                                "-m immediate, nothing acknowledged is lost by it",
                                endpoint->name, timeout.count() / 1000));
    }
  }
  return status;
}

}  // namespace helium::cli
