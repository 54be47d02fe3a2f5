// PostgresProcess: one running postmaster, spawned directly (no pg_ctl), with the file layer loaded into it.
//
// The postmaster and all its children die with compute_ctl: the spawning thread is the one whose end sends the
// parent-death signal, so spawn() belongs to the main thread. compute_ctl is a subreaper: what a postmaster leaves
// behind becomes its child, and end_descendants() ends that too.
// The data directory and the library are named by inherited descriptors (/proc/self/fd/N): parent folders may be
// closed to PostgreSQL's user.
//
// Ownership: none of the process; the caller reaps. Errors: kIo. Threads: the main thread.

#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace helium::compute {

struct PostgresCommand {
  std::string program;                   // path of postgres
  std::vector<std::string> arguments;    // behind -D
  std::vector<std::string> environment;  // "NAME=value", added to a cleaned copy of ours
  std::vector<int> inherited_fds;
  int library_fd = -1;                   // libhelium_vfs.so
  int pgdata_fd = -1;                    // the data directory
  int log_fd = -1;                       // stdout and stderr
};

// Starts it. Errors come from making the process only; a failed exec shows as exit status 127 and a line in the log.
Result<pid_t> spawn_postgres(const PostgresCommand& command);

// What the environment of PostgreSQL is made from: ours, without what would change how it runs.
std::vector<std::string> clean_environment();

// From the postmaster's lock file: "starting", "ready", "standby", "stopping"; "" if there is none yet.
// Line 8 of the file, in the versions from 10 on. Source: PostgreSQL 15 pidfile.h.
std::string postmaster_status(std::string_view lock_file);

// Become the parent of orphaned descendants.
void become_subreaper();
// SIGKILL to every child process that we have, orphans included.
void kill_children();
// Kills and reaps until no descendant is left, at most for `seconds`. False if some are.
bool end_descendants(int seconds);

}  // namespace helium::compute
