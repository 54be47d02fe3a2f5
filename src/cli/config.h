// What `helium` remembers about one cluster: addresses, tenants, branches. Stored in .helium/config.json.
//
// A daemon listens on `host` and its ports, and `helium` itself talks to it there. Other daemons may have to take another
// way (address translation, a container's published ports, a proxy): then the daemon has an *advertised* address beside
// it, and memberships, the broker and endpoint.json name that one. Set by editing config.json (README.md of this folder).
//
// Plain values. Encoding is JSON with a format_version; decode errors are kCorrupt and kTooNew.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "io/net.h"

namespace helium::cli {

inline constexpr int kConfigFormatVersion = 1;
inline constexpr int kDefaultPgVersion = 15;

// What a branch without an ancestor begins as: an empty PostgreSQL cluster.
struct NewCluster {
  int pg_version = kDefaultPgVersion;
  std::optional<bool> data_checksums = std::nullopt;  // none: as the version's initdb does, on from 18
};

// Where others reach a safekeeper.
struct SafekeeperAddress {
  std::string host;
  uint16_t pg_port = 0;
  uint16_t http_port = 0;
  friend bool operator==(const SafekeeperAddress&, const SafekeeperAddress&) = default;

  HostPort pg() const { return {host, pg_port}; }
  HostPort http() const { return {host, http_port}; }
};

// Active ones become members of new timelines. A spare one waits to replace another (`helium safekeeper replace`), and
// then that one is retired: it stays in the list, so that nobody ever gets its id again.
enum class SafekeeperRole { kActive, kSpare, kRetired };

struct SafekeeperConfig {
  uint64_t id = 0;
  uint16_t pg_port = 0;
  uint16_t http_port = 0;
  std::optional<SafekeeperAddress> advertised = std::nullopt;  // if it is not host and the ports above
  SafekeeperRole role = SafekeeperRole::kActive;
  friend bool operator==(const SafekeeperConfig&, const SafekeeperConfig&) = default;
};

struct TimelineConfig {
  TimelineId id;
  std::string branch_name;
  std::optional<TimelineId> ancestor_id;
  Lsn start_lsn;  // of a branch: where it leaves its ancestor; else the end of its initdb
  int pg_version = kDefaultPgVersion;
  std::string system_id;  // decimal, as PostgreSQL prints it
  uint32_t generation = 1;
  std::vector<uint64_t> members;       // safekeepers that form the quorum
  std::vector<uint64_t> confirmed_by;  // members that have created it, and so are never told to again
  friend bool operator==(const TimelineConfig&, const TimelineConfig&) = default;

  // A branch comes into being at the safekeepers when its first endpoint starts.
  bool has_wal() const { return !members.empty(); }
};

struct TenantConfig {
  TenantId id;
  std::vector<TimelineConfig> timelines;
  friend bool operator==(const TenantConfig&, const TenantConfig&) = default;

  const TimelineConfig* find_branch(std::string_view branch_name) const;
  TimelineConfig* find_timeline(const TimelineId& id);
  const TimelineConfig* find_timeline(const TimelineId& id) const;
};

struct ClusterConfig {
  std::string host = "127.0.0.1";
  uint16_t broker_port = 50051;
  uint16_t broker_http_port = 50052;
  std::optional<HostPort> advertised_broker;
  uint64_t pageserver_id = 1;
  uint16_t pageserver_port = 64000;
  uint16_t pageserver_http_port = 9898;
  std::optional<HostPort> advertised_pageserver;
  std::vector<SafekeeperConfig> safekeepers;
  uint16_t endpoint_port = 55432;  // of the first endpoint; its HTTP port is the next one
  std::string pg_distrib_dir;      // holds vNN/bin/postgres; empty: Debian's directories
  bool check_redo = false;         // the pageserver compares its redo with PostgreSQL's page images
  std::string object_store;        // folder of finished WAL; empty: object_store in the cluster's folder; "none": none
  std::optional<uint64_t> keep_wal_mb, evict_idle_after;  // for the safekeepers; unset: what they do by themselves
  std::optional<TenantId> default_tenant;
  std::vector<TenantConfig> tenants;
  friend bool operator==(const ClusterConfig&, const ClusterConfig&) = default;

  HostPort broker() const { return {host, broker_port}; }
  HostPort broker_http() const { return {host, broker_http_port}; }
  HostPort pageserver() const { return {host, pageserver_port}; }
  HostPort pageserver_http() const { return {host, pageserver_http_port}; }

  // The way that other daemons take.
  HostPort broker_for_others() const { return advertised_broker.value_or(broker()); }
  HostPort pageserver_for_others() const { return advertised_pageserver.value_or(pageserver()); }
  SafekeeperAddress address_for_others(const SafekeeperConfig& safekeeper) const {
    return safekeeper.advertised.value_or(SafekeeperAddress{host, safekeeper.pg_port, safekeeper.http_port});
  }

  const SafekeeperConfig* find_safekeeper(uint64_t id) const;
  SafekeeperConfig* find_safekeeper(uint64_t id);
  // Those that new timelines are made at.
  std::vector<uint64_t> active_safekeepers() const;
  TenantConfig* find_tenant(const TenantId& id);
  const TenantConfig* find_tenant(const TenantId& id) const;
};

// Safekeepers 1 to `count` on consecutive ports.
std::vector<SafekeeperConfig> make_safekeepers(uint64_t count, uint16_t first_pg_port, uint16_t first_http_port);

// kInvalid when two parts of the cluster would share a port; names both.
Status check_ports_differ(const ClusterConfig& config);

std::string encode_config(const ClusterConfig& config);
Result<ClusterConfig> decode_config(std::string_view text);

}  // namespace helium::cli
