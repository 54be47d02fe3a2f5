// safekeeper start, stop, list, status, dump, verify.

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/storage_api.h"
#include "cli/text.h"
#include "cli/timelines.h"

namespace helium::cli {
namespace {

using nlohmann::json;
using Rows = std::vector<std::vector<std::string>>;

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return "-";
  if (found->is_string()) return *found == "0/0" ? "-" : found->get<std::string>();
  return found->dump();
}

// 32 hex digits, or the name of a branch of the tenant.
Result<TimelineId> parse_timeline(ClusterConfig& config, const std::string& tenant_id, const std::string& text) {
  if (const auto id = parse_timeline_id(text)) return *id;
  HELIUM_ASSIGN(const TenantConfig* tenant, find_tenant(config, tenant_id));
  HELIUM_ASSIGN(const TimelineConfig* branch, find_branch(*tenant, text));
  return branch->id;
}

std::string branch_name(const ClusterConfig& config, const json& timeline) {
  const auto tenant = parse_tenant_id(text_of(timeline, "tenant_id"));
  const auto id = parse_timeline_id(text_of(timeline, "timeline_id"));
  if (!tenant || !id) return "-";
  const TenantConfig* owner = config.find_tenant(*tenant);
  const TimelineConfig* found = owner == nullptr ? nullptr : owner->find_timeline(*id);
  return found == nullptr ? "-" : found->branch_name;
}

std::string_view name_of(SafekeeperRole role) {
  switch (role) {
    case SafekeeperRole::kActive: return "active";
    case SafekeeperRole::kSpare: return "spare";
    case SafekeeperRole::kRetired: return "retired";
  }
  return "-";
}

// What one safekeeper says, and what we know of its process.
struct Seen {
  std::string status;  // "running", "stopped", or "silent": it runs, but does not answer
  std::optional<pid_t> pid;
  json timelines = json::array();
};

Seen look_at(const Cluster& cluster, uint64_t id) {
  Seen seen;
  seen.pid = running_pid(cluster.safekeeper_files(id).pid_file);
  const Result<std::string> answer = get_from_safekeeper(cluster.config, id, "/v1/timeline");
  if (answer) seen.timelines = json::parse(*answer, nullptr, false);
  if (!seen.timelines.is_array()) seen.timelines = json::array();
  seen.status = answer ? "running" : seen.pid ? "silent" : "stopped";
  return seen;
}

Rows timeline_rows(const ClusterConfig& config, const json& timelines) {
  Rows rows;
  for (const json& t : timelines) {
    rows.push_back({text_of(t, "timeline_id"), branch_name(config, t), text_of(t, "state"), text_of(t, "generation"),
                    text_of(t, "term"), text_of(t, "log_term"), text_of(t, "flush_lsn"), text_of(t, "commit_lsn"),
                    text_of(t, "backup_lsn"), text_of(t, "local_start_lsn")});
  }
  return rows;
}

std::string age_of(const json& peer) {
  const auto found = peer.find("heard_ms_ago");
  if (found == peer.end() || !found->is_number()) return "-";
  return fmt::format("{:.1f} s ago", found->get<double>() / 1000);
}

void print_timelines(const ClusterConfig& config, const json& timelines) {
  Rows peers, readers;
  for (const json& t : timelines) {
    const std::string id = text_of(t, "timeline_id");
    for (const json& peer : t.value("peers", json::array())) {
      peers.push_back({id, text_of(peer, "id"), text_of(peer, "log_term"), text_of(peer, "flush_lsn"),
                       text_of(peer, "commit_lsn"), age_of(peer)});
    }
    for (const json& reader : t.value("readers", json::array())) {
      readers.push_back({id, text_of(reader, "name"), text_of(reader, "kind"), text_of(reader, "sent_lsn"),
                         text_of(reader, "received_lsn"), text_of(reader, "flush_lsn"), text_of(reader, "apply_lsn")});
    }
  }
  fmt::print("{}", format_table({"TIMELINE", "BRANCH", "STATE", "GENERATION", "TERM", "LOG TERM", "FLUSH LSN",
                                 "COMMIT LSN", "BACKUP LSN", "LOCAL FROM"},
                                timeline_rows(config, timelines)));
  if (!peers.empty()) {
    fmt::print("\n{}", format_table({"TIMELINE", "PEER", "LOG TERM", "FLUSH LSN", "COMMIT LSN", "HEARD"}, peers));
  }
  if (!readers.empty()) {
    fmt::print("\n{}", format_table({"TIMELINE", "READER", "KIND", "SENT", "RECEIVED", "FLUSHED", "APPLIED"}, readers));
  }
  for (const json& t : timelines) {
    if (t.contains("reason")) say("\n{}: {}", text_of(t, "timeline_id"), text_of(t, "reason"));
  }
}

json to_json(const Cluster& cluster, const SafekeeperConfig& safekeeper, const Seen& seen) {
  return {{"id", safekeeper.id},
          {"role", name_of(safekeeper.role)},
          {"status", seen.status},
          {"pid", seen.pid ? json(*seen.pid) : json(nullptr)},
          {"address", to_string(HostPort{cluster.config.host, safekeeper.pg_port})},
          {"http_address", to_string(HostPort{cluster.config.host, safekeeper.http_port})},
          {"timelines", seen.timelines}};
}

// Becomes `safekeeper COMMAND` on that safekeeper's folder; returns only when that fails.
Status inspect_files(const char* command, const SafekeeperOptions& options) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  HELIUM_ASSIGN([[maybe_unused]] const Daemon daemon, safekeeper_daemon(cluster, options.id));
  HELIUM_ASSIGN(const std::filesystem::path program, sibling_program("safekeeper"));
  std::vector<std::string> arguments{program.string(), command, "--datadir",
                                     cluster.safekeeper_files(options.id).folder.string()};
  if (!options.timeline.empty()) {
    HELIUM_ASSIGN(const TimelineId timeline, parse_timeline(cluster.config, options.tenant_id, options.timeline));
    arguments.insert(arguments.end(), {"--timeline", to_string(timeline)});
  }
  if (options.as_json) arguments.emplace_back("--json");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::fflush(nullptr);
  ::execv(argv[0], argv.data());
  return fail_errno(fmt::format("run '{}'", program.string()), errno);
}

}  // namespace

Status start_safekeeper(uint64_t id) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  {
    HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
    HELIUM_ASSIGN(const Daemon daemon, safekeeper_daemon(cluster, id));
    HELIUM_TRY(start_daemons({daemon}));
  }
  return create_missed_timelines(cluster, id);
}

Status stop_safekeeper(uint64_t id, StopMode mode) {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Daemon daemon, safekeeper_daemon(cluster, id));
  return stop_daemons({daemon}, mode);
}

Status list_safekeepers(bool as_json) {
  HELIUM_ASSIGN(const Cluster cluster, Cluster::open());
  Rows rows;
  json list = json::array();
  for (const SafekeeperConfig& safekeeper : cluster.config.safekeepers) {
    const Seen seen = look_at(cluster, safekeeper.id);
    list.push_back(to_json(cluster, safekeeper, seen));
    rows.push_back({std::to_string(safekeeper.id), text_of(list.back(), "role"), text_of(list.back(), "address"), text_of(list.back(), "http_address"),
                    seen.pid ? std::to_string(*seen.pid) : "-",
                    seen.status == "running" ? std::to_string(seen.timelines.size()) : "-", seen.status});
  }
  if (as_json) {
    say("{}", list.dump(2));
  } else {
    fmt::print("{}", format_table({"ID", "ROLE", "ADDRESS", "HTTP", "PID", "TIMELINES", "STATUS"}, rows));
  }
  return {};
}

Status safekeeper_status(const SafekeeperOptions& options) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Daemon daemon, safekeeper_daemon(cluster, options.id));
  std::optional<TimelineId> only;
  if (!options.timeline.empty()) {
    HELIUM_ASSIGN(only, parse_timeline(cluster.config, options.tenant_id, options.timeline));
  }
  if (!options.as_json) HELIUM_TRY(print_daemon_status(daemon));
  Seen seen = look_at(cluster, options.id);
  json timelines = json::array();
  for (json& timeline : seen.timelines) {
    if (!only || text_of(timeline, "timeline_id") == to_string(*only)) timelines.push_back(std::move(timeline));
  }
  seen.timelines = std::move(timelines);
  if (only && seen.timelines.empty() && seen.status == "running") {
    return fail(ErrorCode::kNotFound, fmt::format("timeline {} is not at safekeeper {}: 'helium safekeeper status {}' shows those "
                                                  "that are",
                                                  to_string(*only), options.id, options.id));
  }
  if (options.as_json) {
    say("{}", to_json(cluster, *cluster.config.find_safekeeper(options.id), seen).dump(2));
  } else if (!seen.timelines.empty()) {
    fmt::print("\n");
    print_timelines(cluster.config, seen.timelines);
  }
  return {};
}

Status dump_safekeeper(const SafekeeperOptions& options) { return inspect_files("dump", options); }
Status verify_safekeeper(const SafekeeperOptions& options) { return inspect_files("verify", options); }

}  // namespace helium::cli
