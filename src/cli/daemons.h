// The storage daemons of a cluster: how each is started, known to be ready, and stopped.
//
// Several start at once; what is printed keeps the order of the list. Functions print progress on stdout.

#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "cli/cluster.h"

namespace helium::cli {

enum class StopMode { kFast, kImmediate };

struct Daemon {
  std::string name;       // "safekeeper 1": in messages
  std::string announced;  // "Starting safekeeper at '127.0.0.1:5454' in '.helium/safekeepers/sk1'."
  std::string program;    // found beside our own
  std::vector<std::string> arguments;
  DaemonFiles files;
  std::vector<std::pair<HostPort, std::string>> ports;  // what it listens on, and what for
  HostPort status;                                      // answers /v1/status when it is ready
};

Daemon broker_daemon(const Cluster& cluster);
Daemon pageserver_daemon(const Cluster& cluster);
// kNotFound for an id that the cluster does not have; names those that it has.
Result<Daemon> safekeeper_daemon(const Cluster& cluster, uint64_t id);
// Broker, pageserver, safekeepers: the order of `helium start`.
std::vector<Daemon> storage_daemons(const Cluster& cluster);

// Returns when all answer. Those that run already are left alone. An error names the daemon and brings the last
// lines of its log; the others stay up.
Status start_daemons(const std::vector<Daemon>& daemons);

// Fast: SIGTERM, and SIGKILL after a long wait would be wrong: kTimeout says what to do. Immediate: SIGKILL, from
// which every daemon recovers. One that does not run is fine.
Status stop_daemons(const std::vector<Daemon>& daemons, StopMode mode);

// Prints where it runs; kUnavailable when it does not, or does not answer.
Status print_daemon_status(const Daemon& daemon);

// Waits until GET /v1/status on `status` is answered and `is_ready(body)` says so. Ends early when the process does.
// `body` is the answer's text. Errors carry the last lines of the log, from `log_from` on.
enum class Readiness { kNotYet, kReady, kFailed };
Status wait_until_ready(const std::string& name, pid_t pid, const HostPort& status, const DaemonFiles& files,
                        uintmax_t log_from, Timeout timeout, Readiness (*is_ready)(const std::string& body));

}  // namespace helium::cli
