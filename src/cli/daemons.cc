#include "cli/daemons.h"

#include <fmt/format.h>
#include <signal.h>

#include <thread>

#include "cli/names.h"
#include "cli/output.h"
#include "cli/ports.h"
#include "http/client.h"
#include "io/durable_file.h"

namespace helium::cli {
namespace {

namespace fs = std::filesystem;

constexpr Timeout kStartTimeout = std::chrono::seconds(60);
constexpr Timeout kStopTimeout = std::chrono::seconds(60);
constexpr Timeout kKillTimeout = std::chrono::seconds(10);
constexpr size_t kLogLines = 10;

uintmax_t size_or_zero(const fs::path& file) {
  std::error_code error;
  const uintmax_t size = fs::file_size(file, error);
  return error ? 0 : size;
}

struct Started {
  pid_t pid = 0;
  uintmax_t log_from = 0;
};

Status check_ports(const Daemon& daemon) {
  for (const auto& [address, purpose] : daemon.ports) HELIUM_TRY(check_port_free(address, purpose));
  return {};
}

Result<Started> launch(const Daemon& daemon) {
  HELIUM_ASSIGN(const fs::path program, sibling_program(daemon.program));
  HELIUM_TRY(make_folders(daemon.files.folder));
  std::vector<std::string> argv{program.string()};
  argv.insert(argv.end(), daemon.arguments.begin(), daemon.arguments.end());
  Started started;
  started.log_from = size_or_zero(daemon.files.log_file);
  HELIUM_ASSIGN(started.pid, spawn_daemon(argv, daemon.files));
  return started;
}

Error with_log(std::string message, const DaemonFiles& files, uintmax_t log_from) {
  const std::string tail = log_tail(files.log_file, log_from, kLogLines);
  if (tail.empty()) {
    message += fmt::format(" (its log '{}' says nothing)", files.log_file.string());
  } else {
    message += fmt::format("; the last lines of '{}':\n{}", files.log_file.string(), tail);
    message.erase(message.find_last_not_of('\n') + 1);
  }
  return Error{ErrorCode::kInternal, std::move(message)};
}

}  // namespace

Daemon broker_daemon(const Cluster& cluster) {
  const ClusterConfig& config = cluster.config;
  Daemon daemon;
  daemon.name = "storage_broker";
  daemon.announced = fmt::format("Starting storage broker at {}.", to_string(config.broker()));
  daemon.program = "storage_broker";
  daemon.arguments = {"--listen", to_string(config.broker()), "--listen-http", to_string(config.broker_http())};
  daemon.files = cluster.broker_files();
  daemon.ports = {{config.broker(), "the storage broker"}, {config.broker_http(), "the storage broker's HTTP"}};
  daemon.status = config.broker_http();
  return daemon;
}

Daemon pageserver_daemon(const Cluster& cluster) {
  const ClusterConfig& config = cluster.config;
  Daemon daemon;
  daemon.name = "pageserver";
  daemon.announced = fmt::format("Starting pageserver node {} at '{}' in \"{}\".", config.pageserver_id,
                                 to_string(config.pageserver()), cluster.shown());
  daemon.program = "pageserver";
  daemon.files = cluster.pageserver_files();
  daemon.arguments = {"--id",          std::to_string(config.pageserver_id),
                      "--datadir",     daemon.files.folder.string(),
                      "--listen-pg",   to_string(config.pageserver()),
                      "--listen-http", to_string(config.pageserver_http()),
                      "--broker",      to_string(config.broker_for_others())};
  if (!config.pg_distrib_dir.empty()) {
    daemon.arguments.insert(daemon.arguments.end(), {"--pg-distrib-dir", config.pg_distrib_dir});
  }
  if (config.check_redo) daemon.arguments.push_back("--check-redo");
  daemon.ports = {{config.pageserver(), "the pageserver"}, {config.pageserver_http(), "the pageserver's HTTP"}};
  daemon.status = config.pageserver_http();
  return daemon;
}

Result<Daemon> safekeeper_daemon(const Cluster& cluster, uint64_t id) {
  const ClusterConfig& config = cluster.config;
  const SafekeeperConfig* safekeeper = config.find_safekeeper(id);
  if (safekeeper == nullptr) {
    std::vector<std::string> ids;
    for (const SafekeeperConfig& each : config.safekeepers) ids.push_back(std::to_string(each.id));
    return fail(ErrorCode::kNotFound, fmt::format("there is no safekeeper {}: this cluster has {}", id, join_names(ids)));
  }
  const HostPort pg{config.host, safekeeper->pg_port};
  const HostPort http{config.host, safekeeper->http_port};
  Daemon daemon;
  daemon.name = fmt::format("safekeeper {}", id);
  daemon.announced = fmt::format("Starting safekeeper at '{}' in '{}/safekeepers/sk{}'.", to_string(pg), cluster.shown(), id);
  daemon.program = "safekeeper";
  daemon.files = cluster.safekeeper_files(id);
  daemon.arguments = {"--id",          std::to_string(id),
                      "--datadir",     daemon.files.folder.string(),
                      "--listen-pg",   to_string(pg),
                      "--listen-http", to_string(http),
                      "--broker",      to_string(config.broker_for_others())};
  if (const auto& advertised = safekeeper->advertised) {
    daemon.arguments.insert(daemon.arguments.end(), {"--advertise-pg", to_string(advertised->pg()), "--advertise-http",
                                                     to_string(advertised->http())});
  }
  if (const auto store = cluster.object_store()) {
    daemon.arguments.insert(daemon.arguments.end(), {"--object-store", store->string()});
  }
  if (config.keep_wal_mb) {
    daemon.arguments.insert(daemon.arguments.end(), {"--keep-wal-mb", std::to_string(*config.keep_wal_mb)});
  }
  if (config.evict_idle_after) {
    daemon.arguments.insert(daemon.arguments.end(), {"--evict-idle-after", std::to_string(*config.evict_idle_after)});
  }
  daemon.ports = {{pg, daemon.name}, {http, daemon.name + "'s HTTP"}};
  daemon.status = http;
  return daemon;
}

std::vector<Daemon> storage_daemons(const Cluster& cluster) {
  std::vector<Daemon> daemons{broker_daemon(cluster), pageserver_daemon(cluster)};
  for (const SafekeeperConfig& safekeeper : cluster.config.safekeepers) {
    if (safekeeper.role == SafekeeperRole::kRetired) continue;
    if (Result<Daemon> daemon = safekeeper_daemon(cluster, safekeeper.id)) daemons.push_back(std::move(*daemon));
  }
  return daemons;
}

Status wait_until_ready(const std::string& name, pid_t pid, const HostPort& status, const DaemonFiles& files,
                        uintmax_t log_from, Timeout timeout, Readiness (*is_ready)(const std::string& body)) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  auto pause = std::chrono::milliseconds(1);
  while (true) {
    const Result<std::string> answer = http::expect_ok(http::request(status, "GET", "/v1/status", "", std::chrono::seconds(2)));
    const Readiness readiness = answer ? is_ready(*answer) : Readiness::kNotYet;
    if (readiness == Readiness::kReady && !has_exited(pid)) return {};
    if (has_exited(pid)) return fail(with_log(name + " ended while it started", files, log_from));
    if (readiness == Readiness::kFailed) return fail(with_log(name + " failed to start", files, log_from));
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(with_log(fmt::format("{} does not answer at {} after {} s", name, to_string(status),
                                       std::chrono::duration_cast<std::chrono::seconds>(timeout).count()),
                           files, log_from));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(10));
  }
}

Status start_daemons(const std::vector<Daemon>& daemons) {
  std::vector<std::optional<pid_t>> running;
  for (const Daemon& daemon : daemons) {
    running.push_back(running_pid(daemon.files.pid_file));
    if (!running.back()) HELIUM_TRY(check_ports(daemon));
  }
  std::vector<Result<Started>> launched;
  for (size_t i = 0; i < daemons.size(); ++i) {
    launched.push_back(running[i] ? Result<Started>(Started{*running[i], 0}) : launch(daemons[i]));
  }
  for (size_t i = 0; i < daemons.size(); ++i) {
    const Daemon& daemon = daemons[i];
    if (running[i]) {
      say("{} is already running, pid: {}", daemon.name, *running[i]);
      continue;
    }
    say("{}", daemon.announced);
    if (!launched[i]) return fail(std::move(launched[i]).error().context(daemon.name));
    HELIUM_TRY(wait_until_ready(daemon.name, launched[i]->pid, daemon.status, daemon.files, launched[i]->log_from,
                                kStartTimeout, [](const std::string&) { return Readiness::kReady; }));
    say("{} started, pid: {}", daemon.name, launched[i]->pid);
  }
  return {};
}

Status stop_daemons(const std::vector<Daemon>& daemons, StopMode mode) {
  std::vector<bool> signalled;
  for (const Daemon& daemon : daemons) {
    signalled.push_back(signal_daemon(daemon.files.pid_file, mode == StopMode::kFast ? SIGTERM : SIGKILL));
  }
  Status status;
  for (size_t i = 0; i < daemons.size(); ++i) {
    const Daemon& daemon = daemons[i];
    if (!signalled[i]) {
      wait_until_stopped(daemon.files.pid_file, Timeout(0));  // takes a stale pid file away
      say("{} is not running", daemon.name);
    } else if (wait_until_stopped(daemon.files.pid_file, mode == StopMode::kFast ? kStopTimeout : kKillTimeout)) {
      say("{} stopped", daemon.name);
    } else if (status) {
      status = fail(ErrorCode::kTimeout, fmt::format("{} did not end within {} s: look at '{}', or stop it with -m immediate",
                                                     daemon.name, kStopTimeout.count() / 1000, daemon.files.log_file.string()));
    }
  }
  return status;
}

Status print_daemon_status(const Daemon& daemon) {
  const std::optional<pid_t> pid = running_pid(daemon.files.pid_file);
  if (!pid) return fail(ErrorCode::kUnavailable, fmt::format("{} is not running: start it with 'helium start'", daemon.name));
  const Result<std::string> answer =
      http::expect_ok(http::request(daemon.status, "GET", "/v1/status", "", std::chrono::seconds(2)));
  if (!answer) {
    return fail(ErrorCode::kUnavailable, fmt::format("{} runs (pid: {}), but does not answer at {}: look at '{}'", daemon.name,
                                                     *pid, to_string(daemon.status), daemon.files.log_file.string()));
  }
  say("{} is running, pid: {}, at {}, HTTP at {}", daemon.name, *pid, to_string(daemon.ports.front().first),
      to_string(daemon.status));
  return {};
}

}  // namespace helium::cli
