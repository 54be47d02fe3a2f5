#include "compute/privileges.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace helium::compute {
namespace {

namespace fs = std::filesystem;

std::optional<RunAs> find_user(const char* name) {
  const passwd* entry = ::getpwnam(name);
  if (entry == nullptr) return {};
  return RunAs{entry->pw_name, entry->pw_uid, entry->pw_gid};
}

}  // namespace

Result<std::optional<RunAs>> choose_user() {
  if (::geteuid() != 0) return std::nullopt;
  if (const char* wanted = std::getenv("HELIUM_PG_USER"); wanted != nullptr && *wanted != '\0') {
    std::optional<RunAs> user = find_user(wanted);
    if (!user) {
      return fail(ErrorCode::kInvalid, fmt::format("there is no user '{}': set HELIUM_PG_USER to an ordinary user", wanted));
    }
    if (user->uid == 0) {
      return fail(ErrorCode::kInvalid, "PostgreSQL does not run as root: set HELIUM_PG_USER to an ordinary user");
    }
    return user;
  }
  for (const char* name : {"postgres", "nobody"}) {
    if (std::optional<RunAs> user = find_user(name); user && user->uid != 0) return user;
  }
  return fail(ErrorCode::kInvalid,
              "PostgreSQL does not run as root, and there is neither a user 'postgres' nor 'nobody': set HELIUM_PG_USER");
}

Status give_working_directory(const RunAs& user) {
  struct stat here {};
  if (::stat(".", &here) != 0) return fail_errno("look at the endpoint's folder", errno);
  if (::chown(".", user.uid, user.gid) != 0) {
    return fail_errno(fmt::format("give the endpoint's folder to user '{}'", user.name), errno);
  }
  std::error_code error;
  for (fs::recursive_directory_iterator it(".", error), end; !error && it != end; it.increment(error)) {
    struct stat status {};
    if (::lstat(it->path().c_str(), &status) != 0) continue;
    if (status.st_uid == user.uid) {
      // pgdata and the cache were made by this user: all below is his.
      if (S_ISDIR(status.st_mode)) it.disable_recursion_pending();
      continue;
    }
    if (::lchown(it->path().c_str(), user.uid, user.gid) != 0 && errno != ENOENT) {
      return fail_errno(fmt::format("give '{}' to user '{}'", it->path().string(), user.name), errno);
    }
  }
  if (error) return fail(ErrorCode::kIo, fmt::format("list the endpoint's folder: {}", error.message()));
  return {};
}

Status step_down(const RunAs& user) {
  if (::initgroups(user.name.c_str(), user.gid) != 0) return fail_errno("set the groups of PostgreSQL's user", errno);
  if (::setgid(user.gid) != 0) return fail_errno("set the group of PostgreSQL's user", errno);
  if (::setuid(user.uid) != 0) return fail_errno(fmt::format("become user '{}'", user.name), errno);
  // Changing the user made /proc/self unreadable for ourselves, where inherited descriptors are named.
  ::prctl(PR_SET_DUMPABLE, 1);
  return {};
}

}  // namespace helium::compute
