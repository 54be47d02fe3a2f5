#include "pageserver/initdb_run.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/log.h"
#include "io/durable_file.h"
#include "io/fd.h"

namespace helium::pageserver {
namespace {

namespace fs = std::filesystem;

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

Result<User> unprivileged_user() {
  std::vector<std::string> names;
  if (const char* wanted = getenv("HELIUM_PG_USER"); wanted && *wanted) names = {wanted};
  else names = {"postgres", "nobody"};
  for (const std::string& name : names)
    if (const passwd* entry = getpwnam(name.c_str()); entry && entry->pw_uid != 0)
      return User{name, entry->pw_uid, entry->pw_gid};
  return fail(ErrorCode::kNotFound,
              "run initdb: PostgreSQL does not run as root, and there is no user " + names.front() +
                  " to run it as; set HELIUM_PG_USER to an ordinary user");
}

// Runs a program, as `user` if one is given, and returns what it printed.
Result<std::string> run_program(const std::vector<std::string>& arguments, const std::optional<User>& user) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe", errno);
  Fd read_end(ends[0]), write_end(ends[1]);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  // Our own locale and PG* settings must not leak into the cluster.
  const char* environment[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", nullptr};

  const pid_t child = fork();
  if (child < 0) return fail_errno("fork", errno);
  if (child == 0) {  // only async-signal-safe calls from here on
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    dup2(write_end.get(), 1);
    dup2(write_end.get(), 2);
    if (chdir("/") != 0) _exit(126);
    if (user && (setgroups(1, &user->gid) != 0 || setgid(user->gid) != 0 || setuid(user->uid) != 0)) _exit(126);
    execve(argv[0], argv.data(), const_cast<char**>(environment));
    const char* why = strerror(errno);
    (void)!write(2, why, strlen(why));
    _exit(127);
  }
  write_end.reset();
  std::string output;
  char buffer[4096];
  while (true) {
    const ssize_t got = read(read_end.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    output.append(buffer, static_cast<size_t>(got));
    if (output.size() > 64 * 1024) output.erase(0, output.size() - 32 * 1024);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    while (!output.empty() && output.back() == '\n') output.pop_back();
    return fail(ErrorCode::kIo,
                "run " + arguments.front() + (user ? " as user " + user->name : "") + ": it failed: " + output);
  }
  return output;
}

// A folder that removes itself.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> create() {
    std::string path = "/tmp/helium-initdb-XXXXXX";
    if (!mkdtemp(path.data())) return fail_errno("make temporary folder " + path, errno);
    return TemporaryFolder(path);
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

Status run_initdb(const fs::path& bin_dir, const char* checksum_option, const fs::path& target) {
  std::optional<User> user;
  if (geteuid() == 0) {
    HELIUM_ASSIGN(user, unprivileged_user());
  }
  HELIUM_ASSIGN(const TemporaryFolder folder, TemporaryFolder::create());
  if (user && chown(folder.path().c_str(), user->uid, user->gid) != 0)
    return fail_errno("give " + folder.path().string() + " to " + user->name, errno);
  const fs::path cluster = folder.path() / "cluster";
  std::vector<std::string> arguments{(bin_dir / "initdb").string(), "-D", cluster.string(), "-U", "cloud_admin",
                                     "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"};
  if (checksum_option) arguments.push_back(checksum_option);
  HELIUM_TRY(run_program(arguments, user));
  std::error_code error;
  fs::copy(cluster, target, fs::copy_options::recursive, error);
  if (error) return fail(ErrorCode::kIo, "copy the new cluster to " + target.string() + ": " + error.message());
  return {};
}

}  // namespace

Result<fs::path> cached_initdb(const fs::path& cache_folder, const fs::path& bin_dir, int pg_version,
                               bool data_checksums) {
  static std::mutex one_at_a_time;
  std::lock_guard lock(one_at_a_time);
  if (access((bin_dir / "initdb").c_str(), X_OK) != 0)
    return fail(ErrorCode::kNotFound, "there is no initdb in " + bin_dir.string() + ": a new timeline needs it");

  // The minor version is part of the kind: "initdb (PostgreSQL) 15.18 (Debian …)".
  HELIUM_ASSIGN(const std::string version, run_program({(bin_dir / "initdb").string(), "--version"}, std::nullopt));
  std::string kind;
  for (const char c : version.substr(0, version.find('\n')))
    if (isalnum(static_cast<unsigned char>(c)) || c == '.') kind += c;
    else if (!kind.empty() && kind.back() != '_') kind += '_';
  kind += "-cloud_admin-UTF8-C.UTF-8";
  const char* checksum_option = nullptr;  // only where the default is another one: older versions know no option for "off"
  if (data_checksums != has_checksums_by_default(pg_version))
    checksum_option = data_checksums ? "--data-checksums" : "--no-data-checksums";
  if (data_checksums) kind += "-checksums";

  const fs::path ready = cache_folder / kind;
  if (fs::exists(ready / "global" / "pg_control")) return ready;

  HELIUM_TRY(make_folders(cache_folder));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(cache_folder, error))
    if (entry.path().extension() == ".partial") fs::remove_all(entry.path(), error);
  const fs::path partial = cache_folder / (kind + ".partial");
  const auto started = std::chrono::steady_clock::now();
  HELIUM_TRY(run_initdb(bin_dir, checksum_option, partial));
  {
    HELIUM_ASSIGN(const Fd folder, open_file(cache_folder, O_RDONLY | O_DIRECTORY));
    if (syncfs(folder.get()) != 0) return fail_errno("sync " + partial.string(), errno);
  }
  fs::rename(partial, ready, error);
  if (error) return fail(ErrorCode::kIo, "publish " + ready.string() + ": " + error.message());
  HELIUM_TRY(sync_folder(cache_folder));
  log::info("initdb image made", {{"path", ready.string()},
                                  {"ms", std::chrono::duration_cast<std::chrono::milliseconds>(
                                             std::chrono::steady_clock::now() - started)
                                             .count()}});
  return ready;
}

}  // namespace helium::pageserver
