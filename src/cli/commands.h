// The commands of `helium`, one function each: they print what the user sees and return one-line errors.
// main.cc turns arguments into these calls. Blocking; each call is one run of the program.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/config.h"
#include "cli/daemons.h"

namespace helium::cli {

struct InitOptions {
  ClusterConfig config;  // ports, distribution; safekeepers are made from the three below
  uint64_t safekeeper_count = 3;
  uint16_t safekeeper_port = 5454;
  uint16_t safekeeper_http_port = 7676;
};
Status init_cluster(InitOptions options);
Status start_cluster();
Status stop_cluster(StopMode mode);

struct TenantCreateOptions {
  std::string tenant_id;    // "": a new one
  std::string timeline_id;  // "": a new one
  NewCluster cluster;
  bool set_default = false;
};
Status create_tenant_command(const TenantCreateOptions& options);
Status list_tenants(bool as_json);
Status set_default_tenant(const std::string& tenant_id);

struct TimelineCreateOptions {
  std::string tenant_id;  // "": the default one
  std::string timeline_id;
  std::string branch_name;
  NewCluster cluster;
};
Status create_timeline_command(const TimelineCreateOptions& options);

struct BranchOptions {
  std::string tenant_id;
  std::string timeline_id;
  std::string branch_name;
  std::string ancestor_branch_name = "main";
  std::string ancestor_start_lsn;  // "": everything acknowledged so far
};
Status branch_timeline(const BranchOptions& options);
Status list_timelines(const std::string& tenant_id, bool as_json);

struct EndpointCreateOptions {
  std::string name;
  std::string tenant_id;
  std::string branch_name = "main";
  std::optional<int> pg_version;  // none: that of the branch
  std::optional<uint16_t> pg_port;
  std::optional<uint16_t> http_port;
  std::vector<std::string> settings;  // "name=value"
};
Status create_endpoint(const EndpointCreateOptions& options);
Status start_endpoint(const std::string& name);
Status stop_endpoint(const std::string& name, StopMode mode, bool destroy);
Status list_endpoints(const std::string& tenant_id, bool as_json);

struct VerifyOptions {
  std::string name;       // of an endpoint or of a branch
  std::string tenant_id;  // of a branch; "": the default one
  std::string from_lsn;   // "": the branch's start
  std::string to_lsn;     // "": its end
  bool records = true;    // the stored WAL's check images
  bool pages = true;      // stored pages, and a running compute's
  bool as_json = false;
};
// kCorrupt: something differs; the report was printed.
Status verify_command(const VerifyOptions& options);

Status start_pageserver();
Status stop_pageserver(StopMode mode);
Status pageserver_status();
Status start_safekeeper(uint64_t id);
Status stop_safekeeper(uint64_t id, StopMode mode);
Status list_safekeepers(bool as_json);
struct SafekeeperOptions {
  uint64_t id = 1;
  std::string tenant_id;  // of the branch whose name `timeline` is; "": the default one
  std::string timeline;   // id or name of a branch; "": all
  bool as_json = false;
};
Status safekeeper_status(const SafekeeperOptions& options);
// Both become another program: they return only when they fail.
Status dump_safekeeper(const SafekeeperOptions& options);
Status verify_safekeeper(const SafekeeperOptions& options);
Status start_broker();
Status stop_broker(StopMode mode);
Status broker_status();

}  // namespace helium::cli
