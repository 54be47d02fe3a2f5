// Daemons as local processes: started in sessions of their own, found again through pid files, stopped by pid.
//
// A pid file holds one number. Beside it, FILE.identity holds when that process started (clock ticks since
// boot, from /proc/PID/stat) and in which boot, so that a pid that came to belong to somebody else counts as
// "not running" and is never signalled. A zombie counts as ended: in containers nobody may reap it.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/net.h"

namespace helium::cli {

struct DaemonFiles {
  std::filesystem::path folder;    // its working directory
  std::filesystem::path pid_file;
  std::filesystem::path log_file;  // stdout and stderr, appended
};

// Starts argv[0] with `argv`, detached from the terminal, and writes the pid file. The process is our child:
// see has_exited(). Errors: kIo.
Result<pid_t> spawn_daemon(const std::vector<std::string>& argv, const DaemonFiles& files);

// The process that the file was written for, if it still runs. One that was killed a moment ago is waited for until it is
// gone, with all that it held (10 s at most: then it counts as running).
std::optional<pid_t> running_pid(const std::filesystem::path& pid_file);

// True when it ended (or is a zombie). Reaps our own children.
bool has_exited(pid_t pid);

// Signals the process of the pid file; false when it does not run (any more).
bool signal_daemon(const std::filesystem::path& pid_file, int signal);

// Waits until the process of the pid file has ended, then removes the file. False when `timeout` passed first.
bool wait_until_stopped(const std::filesystem::path& pid_file, Timeout timeout);

// The last lines of a log, from byte `from` on; "" when there is none. JSON log lines are kept as they are.
std::string log_tail(const std::filesystem::path& log_file, uintmax_t from, size_t lines);

}  // namespace helium::cli
