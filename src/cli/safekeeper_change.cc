#include "cli/safekeeper_change.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/cluster.h"
#include "cli/daemons.h"
#include "cli/membership_host.h"
#include "cli/output.h"
#include "cli/ports.h"
#include "io/durable_file.h"

namespace helium::cli {
namespace {

using walclient::MembershipChange;

bool has(const std::vector<uint64_t>& ids, uint64_t id) { return std::ranges::find(ids, id) != ids.end(); }

// The first port above all of its kind that nobody has.
uint16_t free_port(const ClusterConfig& config, uint16_t SafekeeperConfig::*port) {
  uint16_t candidate = 0;
  for (const SafekeeperConfig& safekeeper : config.safekeepers) candidate = std::max(candidate, safekeeper.*port);
  const auto is_ours = [&](uint16_t number) {
    return std::ranges::any_of(config.safekeepers, [&](const SafekeeperConfig& safekeeper) {
      return safekeeper.pg_port == number || safekeeper.http_port == number;
    });
  };
  do {
    ++candidate;
  } while (candidate < UINT16_MAX && (is_ours(candidate) || !is_port_free({config.host, candidate})));
  return candidate;
}

// Under the lock; the caller stores.
Status enlist(const Cluster& cluster, ClusterConfig& config, uint64_t id, const SafekeeperAddOptions& options) {
  SafekeeperConfig added;
  added.id = id;
  added.pg_port = options.pg_port.value_or(free_port(config, &SafekeeperConfig::pg_port));
  added.http_port = options.http_port.value_or(free_port(config, &SafekeeperConfig::http_port));
  added.role = SafekeeperRole::kSpare;
  config.safekeepers.push_back(added);
  HELIUM_TRY(check_ports_differ(config));
  return make_folders(cluster.safekeeper_files(id).folder);
}

Status start_it(const Cluster& cluster, uint64_t id) {
  HELIUM_ASSIGN(Daemon daemon, safekeeper_daemon(cluster, id));
  if (running_pid(daemon.files.pid_file)) return {};
  return start_daemons({std::move(daemon)});
}

// Both are known, and the new one runs. Creates it if there is none of that number.
Status make_ready(Cluster& cluster, const SafekeeperReplaceOptions& options) {
  HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
  HELIUM_TRY(cluster.load());
  const auto name_all = [&] {
    std::string text;
    for (const SafekeeperConfig& each : cluster.config.safekeepers) {
      if (each.role != SafekeeperRole::kRetired) text += fmt::format("{}{}", text.empty() ? "" : ", ", each.id);
    }
    return text;
  };
  if (options.old_id == options.new_id || options.new_id == 0) {
    return fail(ErrorCode::kInvalid, fmt::format("safekeeper {} cannot be replaced by {}: a new one has a number of its own, "
                                                 "'helium safekeeper add' gives it one",
                                                 options.old_id, options.new_id));
  }
  if (cluster.config.find_safekeeper(options.old_id) == nullptr) {
    return fail(ErrorCode::kNotFound, fmt::format("there is no safekeeper {}: this cluster has {}", options.old_id, name_all()));
  }
  if (options.abort) return {};
  const SafekeeperConfig* added = cluster.config.find_safekeeper(options.new_id);
  if (added != nullptr && added->role == SafekeeperRole::kRetired) {
    return fail(ErrorCode::kInvalid, fmt::format("safekeeper {} is retired, and an acceptor never comes back with another "
                                                 "memory: make a new one with 'helium safekeeper add'",
                                                 options.new_id));
  }
  for (const TenantConfig& tenant : cluster.config.tenants) {
    for (const TimelineConfig& timeline : tenant.timelines) {
      if (!has(timeline.members, options.old_id) || !has(timeline.members, options.new_id)) continue;
      return fail(ErrorCode::kInvalid, fmt::format("safekeeper {} is a member already, of branch '{}' with {}: name one that "
                                                   "is not, or make a new one with 'helium safekeeper add'",
                                                   options.new_id, timeline.branch_name, options.old_id));
    }
  }
  if (added == nullptr) {
    HELIUM_TRY(enlist(cluster, cluster.config, options.new_id, {}));
    HELIUM_TRY(cluster.store());
  }
  return start_it(cluster, options.new_id);
}

// What .helium remembers of the members, so that computes find them.
Status remember(Cluster& cluster, const TenantId& tenant, const TimelineId& id, const wire::Membership& membership) {
  return cluster.update([&](ClusterConfig& config) -> Status {
    TenantConfig* found = config.find_tenant(tenant);
    TimelineConfig* timeline = found == nullptr ? nullptr : found->find_timeline(id);
    if (timeline == nullptr) return {};
    std::vector<uint64_t> before = std::exchange(timeline->members, {});
    for (const wire::Member& member : membership.members) timeline->members.push_back(member.id);
    timeline->generation = membership.generation;
    std::erase_if(timeline->confirmed_by, [&](uint64_t each) { return !wire::is_in(membership.members, each); });
    for (const wire::Member& member : membership.members) {
      // A newcomer has its timeline, by the change itself; never make it another one.
      const bool is_new = std::ranges::find(before, member.id) == before.end();
      const bool is_noted = std::ranges::find(timeline->confirmed_by, member.id) != timeline->confirmed_by.end();
      if (is_new && !is_noted) timeline->confirmed_by.push_back(member.id);
    }
    return {};
  });
}

bool is_used(const ClusterConfig& config, uint64_t safekeeper_id) {
  return std::ranges::any_of(config.tenants, [&](const TenantConfig& tenant) {
    return std::ranges::any_of(tenant.timelines, [&](const auto& each) { return has(each.members, safekeeper_id); });
  });
}

struct Outcome {
  size_t changed = 0;
  std::vector<std::string> failed;
  bool is_refused = false;  // the order itself, at every timeline
};

Status replace_at(Cluster& cluster, const SafekeeperReplaceOptions& options, const TenantId& tenant,
                  const TimelineConfig& timeline, const std::string& name) {
  MembershipChange::Config order;
  order.id = random_id<ChangerId>();
  order.abort = options.abort;
  order.known = known_members(cluster.config);
  if (!options.abort) {
    order.remove = options.old_id;
    order.add = *wire::find_member(order.known, options.new_id);
  }
  HELIUM_ASSIGN(const wire::Membership membership,
                run_membership_change(cluster.config, tenant, timeline, std::move(order),
                                      [&](const std::string& line) { say("{}: {}", name, line); }));
  return remember(cluster, tenant, timeline.id, membership);
}

Outcome replace_everywhere(Cluster& cluster, const SafekeeperReplaceOptions& options) {
  Outcome outcome{.is_refused = true};
  const std::vector<TenantConfig> tenants = cluster.config.tenants;
  for (const TenantConfig& tenant : tenants) {
    for (const TimelineConfig& timeline : tenant.timelines) {
      if (!timeline.has_wal()) continue;  // its members are chosen at its first start
      if (!has(timeline.members, options.old_id) && !has(timeline.members, options.new_id)) continue;
      const std::string name = fmt::format("branch '{}' ({})", timeline.branch_name, to_string(timeline.id));
      // One that fails does not make the others less urgent.
      if (const Status done = replace_at(cluster, options, tenant.id, timeline, name)) {
        ++outcome.changed;
      } else {
        outcome.failed.push_back(fmt::format("{}: {}", name, done.error().message));
        if (done.error().code != ErrorCode::kInvalid) outcome.is_refused = false;
      }
    }
  }
  if (outcome.changed > 0 || outcome.failed.empty()) outcome.is_refused = false;
  return outcome;
}

// New timelines are made at the new one from here on, so that none is missed. (If the order turns out to be refused, that
// is taken back.)
Status switch_roles(Cluster& cluster, const SafekeeperReplaceOptions& options, ClusterConfig& before) {
  return cluster.update([&](ClusterConfig& config) -> Status {
    before = config;
    config.find_safekeeper(options.new_id)->role = SafekeeperRole::kActive;
    SafekeeperConfig* old = config.find_safekeeper(options.old_id);
    if (old->role == SafekeeperRole::kActive) old->role = SafekeeperRole::kSpare;
    return {};
  });
}

Status restore_roles(Cluster& cluster, const SafekeeperReplaceOptions& options, const ClusterConfig& before) {
  return cluster.update([&](ClusterConfig& config) -> Status {
    for (const uint64_t id : {options.old_id, options.new_id}) {
      config.find_safekeeper(id)->role = is_used(config, id) ? SafekeeperRole::kActive : before.find_safekeeper(id)->role;
    }
    return {};
  });
}

Status finish_abort(Cluster& cluster, const SafekeeperReplaceOptions& options) {
  HELIUM_TRY(cluster.update([&](ClusterConfig& config) -> Status {
    SafekeeperConfig* old = config.find_safekeeper(options.old_id);
    if (is_used(config, options.old_id)) old->role = SafekeeperRole::kActive;
    // What it has of these timelines is of no use: another attempt takes another one.
    SafekeeperConfig* added = config.find_safekeeper(options.new_id);
    if (added != nullptr && !is_used(config, options.new_id)) added->role = SafekeeperRole::kRetired;
    return {};
  }));
  say("nothing of a replacement is left unfinished");
  return {};
}

Status retire(Cluster& cluster, uint64_t id) {
  HELIUM_TRY(cluster.update([&](ClusterConfig& config) -> Status {
    config.find_safekeeper(id)->role = SafekeeperRole::kRetired;
    return {};
  }));
  HELIUM_ASSIGN(Daemon daemon, safekeeper_daemon(cluster, id));
  if (running_pid(daemon.files.pid_file)) HELIUM_TRY(stop_daemons({std::move(daemon)}, StopMode::kFast));
  say("safekeeper {} is retired; its folder '{}' can be removed", id, cluster.safekeeper_files(id).folder.string());
  return {};
}

}  // namespace

Status add_safekeeper(const SafekeeperAddOptions& options) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Fd lock, cluster.take_lock());
  HELIUM_TRY(cluster.load());
  uint64_t id = 0;
  for (const SafekeeperConfig& each : cluster.config.safekeepers) id = std::max(id, each.id);
  ++id;
  HELIUM_TRY(enlist(cluster, cluster.config, id, options));
  HELIUM_TRY(cluster.store());
  HELIUM_TRY(start_it(cluster, id));
  say("safekeeper {} is a spare one: put it in the place of another with 'helium safekeeper replace OLD {}'", id, id);
  return {};
}

Status replace_safekeeper(const SafekeeperReplaceOptions& options) {
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  HELIUM_TRY(make_ready(cluster, options));
  ClusterConfig before;
  if (!options.abort) HELIUM_TRY(switch_roles(cluster, options, before));
  const Outcome outcome = replace_everywhere(cluster, options);
  if (!outcome.failed.empty()) {
    if (outcome.is_refused && !options.abort) HELIUM_TRY(restore_roles(cluster, options, before));
    std::string text;
    for (const std::string& each : outcome.failed) text += (text.empty() ? "" : "; ") + each;
    return fail(ErrorCode::kUnavailable, std::move(text));
  }
  if (options.abort) return finish_abort(cluster, options);
  say("safekeeper {} has taken the place of safekeeper {}, {} timeline{} changed", options.new_id, options.old_id,
      outcome.changed, outcome.changed == 1 ? "" : "s");
  return retire(cluster, options.old_id);
}

}  // namespace helium::cli
