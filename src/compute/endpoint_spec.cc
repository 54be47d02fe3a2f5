#include "compute/endpoint_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "base/pg_version.h"

namespace helium::compute {
namespace {

using nlohmann::json;


std::unexpected<Error> bad(std::string_view field, std::string_view problem) {
  return fail(ErrorCode::kInvalid, fmt::format("endpoint.json: \"{}\" {}", field, problem));
}

Result<std::string> text_field(const json& object, const char* field) {
  const auto it = object.find(field);
  if (it == object.end()) return bad(field, "is missing");
  if (!it->is_string()) return bad(field, "must be a string");
  return it->get<std::string>();
}

std::string text_field_or(const json& object, const char* field, std::string fallback) {
  const auto it = object.find(field);
  return it != object.end() && it->is_string() ? it->get<std::string>() : fallback;
}

Result<uint64_t> number_field(const json& object, const char* field, uint64_t min, uint64_t max) {
  const auto it = object.find(field);
  if (it == object.end()) return bad(field, "is missing");
  if (!it->is_number_unsigned()) return bad(field, "must be a number that is not negative");
  const uint64_t value = it->get<uint64_t>();
  if (value < min || value > max) return bad(field, fmt::format("must lie between {} and {}", min, max));
  return value;
}

Result<uint16_t> port_field(const json& object, const char* field) {
  HELIUM_ASSIGN(const uint64_t port, number_field(object, field, 1, 65535));
  return static_cast<uint16_t>(port);
}

Result<std::vector<SafekeeperAddress>> parse_safekeepers(const json& object) {
  const auto it = object.find("safekeepers");
  if (it == object.end() || !it->is_array() || it->empty()) return bad("safekeepers", "must be a list of at least one");
  std::vector<SafekeeperAddress> list;
  std::set<uint64_t> ids;
  for (const json& member : *it) {
    if (!member.is_object()) return bad("safekeepers", "must be a list of objects");
    SafekeeperAddress one;
    HELIUM_ASSIGN(one.id, number_field(member, "id", 1, UINT64_MAX));
    const std::string host = text_field_or(member, "host", "127.0.0.1");
    HELIUM_ASSIGN(const uint16_t pg_port, port_field(member, "pg_port"));
    one.wal = HostPort{host, pg_port};
    if (member.contains("http_port")) {
      HELIUM_ASSIGN(const uint16_t http_port, port_field(member, "http_port"));
      one.http = HostPort{host, http_port};
    }
    if (!ids.insert(one.id).second) return bad("safekeepers", fmt::format("names safekeeper {} twice", one.id));
    list.push_back(std::move(one));
  }
  return list;
}

// Values may be written as JSON numbers and booleans too: {"fsync": true, "work_mem": 4096}.
Result<std::map<std::string, std::string>> parse_settings(const json& object) {
  std::map<std::string, std::string> settings;
  const auto it = object.find("settings");
  if (it == object.end() || it->is_null()) return settings;
  if (!it->is_object()) return bad("settings", "must be an object of names and values");
  for (const auto& [name, value] : it->items()) {
    std::string lower = name;
    std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
    if (value.is_string()) {
      settings[lower] = value.get<std::string>();
    } else if (value.is_boolean()) {
      settings[lower] = value.get<bool>() ? "on" : "off";
    } else if (value.is_number()) {
      settings[lower] = value.dump();
    } else {
      return bad("settings", fmt::format("has a value for {} that is neither text, number nor boolean", name));
    }
  }
  return settings;
}

}  // namespace

Result<EndpointSpec> parse_endpoint_spec(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return fail(ErrorCode::kInvalid, "endpoint.json: not a JSON object");

  EndpointSpec spec;
  HELIUM_ASSIGN(spec.name, text_field(object, "name"));
  HELIUM_ASSIGN(const std::string tenant, text_field(object, "tenant_id"));
  HELIUM_ASSIGN(const std::string timeline, text_field(object, "timeline_id"));
  HELIUM_ASSIGN(spec.timeline.tenant, parse_tenant_id(tenant));
  HELIUM_ASSIGN(spec.timeline.timeline, parse_timeline_id(timeline));
  spec.branch_name = text_field_or(object, "branch_name", "");
  HELIUM_ASSIGN(const uint64_t version, number_field(object, "pg_version", kOldestPgVersion, kNewestPgVersion));
  spec.pg_version = static_cast<int>(version);
  const std::string host = text_field_or(object, "host", "127.0.0.1");
  HELIUM_ASSIGN(const uint16_t pg_port, port_field(object, "pg_port"));
  HELIUM_ASSIGN(const uint16_t http_port, port_field(object, "http_port"));
  spec.pg_address = HostPort{host, pg_port};
  spec.http_address = HostPort{host, http_port};
  HELIUM_ASSIGN(const std::string pageserver, text_field(object, "pageserver"));
  HELIUM_ASSIGN(spec.pageserver, parse_host_port(pageserver));
  HELIUM_ASSIGN(spec.safekeepers, parse_safekeepers(object));
  if (object.contains("generation")) {
    HELIUM_ASSIGN(const uint64_t generation, number_field(object, "generation", 0, UINT32_MAX));
    spec.generation = static_cast<uint32_t>(generation);
  }
  HELIUM_ASSIGN(spec.pg_bin_dir, text_field(object, "pg_bin_dir"));
  if (spec.pg_bin_dir.empty() || spec.pg_bin_dir[0] != '/') return bad("pg_bin_dir", "must be an absolute path");
  HELIUM_ASSIGN(spec.settings, parse_settings(object));
  return spec;
}

}  // namespace helium::compute
