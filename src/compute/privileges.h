// Privileges: PostgreSQL refuses to run as root, so compute_ctl steps down to an ordinary user before it starts anything.
//
// The user is $HELIUM_PG_USER, else "postgres", else "nobody". Parents of the endpoint's folder may be closed to that
// user (mode 0700): compute_ctl is in the folder already, and everything is relative to it from then on.
// Ownership: plain values. Errors: text for the user, kInvalid or kIo. Threads: before any thread is started.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace helium::compute {

struct RunAs {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

// Nothing when the process is not root.
Result<std::optional<RunAs>> choose_user();
// The working directory and what lies in it belong to the user afterwards. Symbolic links are not followed.
Status give_working_directory(const RunAs& user);
// No way back: groups, group and user of all threads.
Status step_down(const RunAs& user);

}  // namespace helium::compute
