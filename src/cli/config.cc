#include "cli/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace helium::cli {
namespace {

using nlohmann::json;

// Inside this file malformed text travels as an exception, as the JSON library throws it; decode_config ends it.
struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename T>
T value_or_throw(Result<T> result) {
  if (!result) throw Malformed(result.error().message);
  return *std::move(result);
}

json encode_timeline(const TimelineConfig& timeline) {
  json out{{"timeline_id", to_string(timeline.id)},   {"branch_name", timeline.branch_name},
           {"start_lsn", to_string(timeline.start_lsn)}, {"pg_version", timeline.pg_version},
           {"system_id", timeline.system_id},         {"generation", timeline.generation},
           {"members", timeline.members},             {"confirmed_by", timeline.confirmed_by}};
  if (timeline.ancestor_id) out["ancestor_timeline_id"] = to_string(*timeline.ancestor_id);
  return out;
}

TimelineConfig decode_timeline(const json& in) {
  TimelineConfig timeline;
  timeline.id = value_or_throw(parse_timeline_id(in.at("timeline_id").get<std::string>()));
  timeline.branch_name = in.at("branch_name").get<std::string>();
  timeline.start_lsn = value_or_throw(parse_lsn(in.at("start_lsn").get<std::string>()));
  timeline.pg_version = in.at("pg_version").get<int>();
  timeline.system_id = in.at("system_id").get<std::string>();
  timeline.generation = in.at("generation").get<uint32_t>();
  timeline.members = in.at("members").get<std::vector<uint64_t>>();
  timeline.confirmed_by = in.at("confirmed_by").get<std::vector<uint64_t>>();
  if (in.contains("ancestor_timeline_id")) {
    timeline.ancestor_id = value_or_throw(parse_timeline_id(in["ancestor_timeline_id"].get<std::string>()));
  }
  return timeline;
}

// {"host": …, "port": …} below "advertised", if it is there.
std::optional<HostPort> decode_advertised(const json& daemon) {
  if (!daemon.contains("advertised")) return std::nullopt;
  const json& in = daemon.at("advertised");
  return HostPort{in.at("host").get<std::string>(), in.at("port").get<uint16_t>()};
}

constexpr std::pair<SafekeeperRole, const char*> kRoles[] = {
    {SafekeeperRole::kActive, "active"}, {SafekeeperRole::kSpare, "spare"}, {SafekeeperRole::kRetired, "retired"}};

const char* role_name(SafekeeperRole role) {
  return std::ranges::find(kRoles, role, &std::pair<SafekeeperRole, const char*>::first)->second;
}

SafekeeperRole decode_role(const std::string& name) {
  for (const auto& [role, its_name] : kRoles) {
    if (name == its_name) return role;
  }
  throw Malformed(fmt::format("a safekeeper's role is '{}': active, spare or retired are known", name));
}

SafekeeperConfig decode_safekeeper(const json& in) {
  SafekeeperConfig safekeeper{in.at("id").get<uint64_t>(), in.at("pg_port").get<uint16_t>(), in.at("http_port").get<uint16_t>()};
  if (in.contains("advertised")) {
    const json& advertised = in.at("advertised");
    safekeeper.advertised = {advertised.at("host").get<std::string>(), advertised.at("pg_port").get<uint16_t>(),
                             advertised.at("http_port").get<uint16_t>()};
  }
  safekeeper.role = decode_role(in.value("role", "active"));
  return safekeeper;
}

json encode_safekeeper(const SafekeeperConfig& safekeeper) {
  json out{{"id", safekeeper.id}, {"pg_port", safekeeper.pg_port}, {"http_port", safekeeper.http_port}};
  if (safekeeper.role != SafekeeperRole::kActive) out["role"] = role_name(safekeeper.role);
  if (const auto& advertised = safekeeper.advertised) {
    out["advertised"] = {
        {"host", advertised->host}, {"pg_port", advertised->pg_port}, {"http_port", advertised->http_port}};
  }
  return out;
}

ClusterConfig decode_or_throw(const json& in) {
  ClusterConfig config;
  config.host = in.at("host").get<std::string>();
  config.broker_port = in.at("storage_broker").at("port").get<uint16_t>();
  config.broker_http_port = in.at("storage_broker").at("http_port").get<uint16_t>();
  config.advertised_broker = decode_advertised(in["storage_broker"]);
  config.pageserver_id = in.at("pageserver").at("id").get<uint64_t>();
  config.pageserver_port = in.at("pageserver").at("port").get<uint16_t>();
  config.pageserver_http_port = in.at("pageserver").at("http_port").get<uint16_t>();
  config.advertised_pageserver = decode_advertised(in["pageserver"]);
  for (const json& safekeeper : in.at("safekeepers")) config.safekeepers.push_back(decode_safekeeper(safekeeper));
  config.endpoint_port = in.at("endpoint_port").get<uint16_t>();
  config.pg_distrib_dir = in.at("pg_distrib_dir").get<std::string>();
  config.check_redo = in.value("check_redo", false);
  config.object_store = in.value("object_store", "");
  if (in.contains("keep_wal_mb")) config.keep_wal_mb = in["keep_wal_mb"].get<uint64_t>();
  if (in.contains("evict_idle_after")) config.evict_idle_after = in["evict_idle_after"].get<uint64_t>();
  if (in.contains("default_tenant_id")) {
    config.default_tenant = value_or_throw(parse_tenant_id(in["default_tenant_id"].get<std::string>()));
  }
  for (const json& tenant : in.at("tenants")) {
    TenantConfig decoded;
    decoded.id = value_or_throw(parse_tenant_id(tenant.at("tenant_id").get<std::string>()));
    for (const json& timeline : tenant.at("timelines")) decoded.timelines.push_back(decode_timeline(timeline));
    config.tenants.push_back(std::move(decoded));
  }
  return config;
}

}  // namespace

const TimelineConfig* TenantConfig::find_branch(std::string_view branch_name) const {
  const auto found = std::ranges::find(timelines, branch_name, &TimelineConfig::branch_name);
  return found == timelines.end() ? nullptr : &*found;
}

const TimelineConfig* TenantConfig::find_timeline(const TimelineId& id) const {
  const auto found = std::ranges::find(timelines, id, &TimelineConfig::id);
  return found == timelines.end() ? nullptr : &*found;
}

TimelineConfig* TenantConfig::find_timeline(const TimelineId& id) {
  return const_cast<TimelineConfig*>(std::as_const(*this).find_timeline(id));
}

const SafekeeperConfig* ClusterConfig::find_safekeeper(uint64_t id) const {
  const auto found = std::ranges::find(safekeepers, id, &SafekeeperConfig::id);
  return found == safekeepers.end() ? nullptr : &*found;
}

SafekeeperConfig* ClusterConfig::find_safekeeper(uint64_t id) {
  return const_cast<SafekeeperConfig*>(std::as_const(*this).find_safekeeper(id));
}

std::vector<uint64_t> ClusterConfig::active_safekeepers() const {
  std::vector<uint64_t> ids;
  for (const SafekeeperConfig& safekeeper : safekeepers) {
    if (safekeeper.role == SafekeeperRole::kActive) ids.push_back(safekeeper.id);
  }
  return ids;
}

const TenantConfig* ClusterConfig::find_tenant(const TenantId& id) const {
  const auto found = std::ranges::find(tenants, id, &TenantConfig::id);
  return found == tenants.end() ? nullptr : &*found;
}

TenantConfig* ClusterConfig::find_tenant(const TenantId& id) {
  return const_cast<TenantConfig*>(std::as_const(*this).find_tenant(id));
}

std::vector<SafekeeperConfig> make_safekeepers(uint64_t count, uint16_t first_pg_port, uint16_t first_http_port) {
  std::vector<SafekeeperConfig> safekeepers;
  for (uint64_t i = 0; i < count; ++i) {
    safekeepers.push_back(
        {i + 1, static_cast<uint16_t>(first_pg_port + i), static_cast<uint16_t>(first_http_port + i)});
  }
  return safekeepers;
}

Status check_ports_differ(const ClusterConfig& config) {
  std::map<uint16_t, std::string> owners;
  Status status;
  const auto claim = [&](uint16_t port, std::string owner) {
    const auto [place, is_new] = owners.emplace(port, owner);
    if (!is_new && status) {
      status = fail(ErrorCode::kInvalid, fmt::format("port {} would serve both {} and {}: choose another for one",
                                                     port, place->second, owner));
    }
  };
  claim(config.broker_port, "the storage broker");
  claim(config.broker_http_port, "the storage broker's HTTP");
  claim(config.pageserver_port, "the pageserver");
  claim(config.pageserver_http_port, "the pageserver's HTTP");
  for (const SafekeeperConfig& safekeeper : config.safekeepers) {
    claim(safekeeper.pg_port, fmt::format("safekeeper {}", safekeeper.id));
    claim(safekeeper.http_port, fmt::format("safekeeper {}'s HTTP", safekeeper.id));
  }
  claim(config.endpoint_port, "the first endpoint");
  return status;
}

std::string encode_config(const ClusterConfig& config) {
  json out{{"format_version", kConfigFormatVersion},
           {"host", config.host},
           {"storage_broker", {{"port", config.broker_port}, {"http_port", config.broker_http_port}}},
           {"pageserver",
            {{"id", config.pageserver_id}, {"port", config.pageserver_port}, {"http_port", config.pageserver_http_port}}},
           {"safekeepers", json::array()},
           {"endpoint_port", config.endpoint_port},
           {"pg_distrib_dir", config.pg_distrib_dir},
           {"check_redo", config.check_redo},
           {"object_store", config.object_store},
           {"tenants", json::array()}};
  const auto advertise = [](json& daemon, const std::optional<HostPort>& address) {
    if (address) daemon["advertised"] = {{"host", address->host}, {"port", address->port}};
  };
  advertise(out["storage_broker"], config.advertised_broker);
  advertise(out["pageserver"], config.advertised_pageserver);
  for (const SafekeeperConfig& safekeeper : config.safekeepers) out["safekeepers"].push_back(encode_safekeeper(safekeeper));
  if (config.keep_wal_mb) out["keep_wal_mb"] = *config.keep_wal_mb;
  if (config.evict_idle_after) out["evict_idle_after"] = *config.evict_idle_after;
  if (config.default_tenant) out["default_tenant_id"] = to_string(*config.default_tenant);
  for (const TenantConfig& tenant : config.tenants) {
    json timelines = json::array();
    for (const TimelineConfig& timeline : tenant.timelines) timelines.push_back(encode_timeline(timeline));
    out["tenants"].push_back({{"tenant_id", to_string(tenant.id)}, {"timelines", std::move(timelines)}});
  }
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<ClusterConfig> decode_config(std::string_view text) {
  const json in = json::parse(text, nullptr, false);
  if (!in.is_object()) return fail(ErrorCode::kCorrupt, "not a JSON object");
  try {
    if (const int version = in.at("format_version").get<int>(); version > kConfigFormatVersion) {
      return fail(ErrorCode::kTooNew, fmt::format("format_version {} is newer than this program's {}: update helium",
                                                  version, kConfigFormatVersion));
    }
    return decode_or_throw(in);
  } catch (const std::exception& error) {
    return fail(ErrorCode::kCorrupt, error.what());
  }
}

}  // namespace helium::cli
