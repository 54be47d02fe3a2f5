// EndpointSpec: what a compute is told: endpoint.json, written by the control plane into the endpoint's folder.
//
// Ownership: a plain value. Errors: parse_endpoint_spec gives kInvalid and names the field. Threads: any.
// The file's fields: docs/protocols/compute_spec.md. Unknown fields are ignored, so that an older compute_ctl reads a
// later file.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "io/net.h"

namespace helium::compute {

struct SafekeeperAddress {
  uint64_t id = 0;
  HostPort wal;   // the WAL service
  HostPort http;  // management
  friend bool operator==(const SafekeeperAddress&, const SafekeeperAddress&) = default;
};

struct EndpointSpec {
  std::string name;
  TenantTimelineId timeline;
  std::string branch_name;
  int pg_version = 0;      // major
  HostPort pg_address;     // where PostgreSQL listens
  HostPort http_address;   // where compute_ctl listens
  HostPort pageserver;
  std::vector<SafekeeperAddress> safekeepers;
  uint32_t generation = 1;  // of the timeline's membership
  std::string pg_bin_dir;   // holds postgres
  std::map<std::string, std::string> settings;  // the user's PostgreSQL settings, names in lower case
};

Result<EndpointSpec> parse_endpoint_spec(std::string_view json);

}  // namespace helium::compute
