#include "compute/settings_trial.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "compute/postgres_process.h"
#include "io/durable_file.h"
#include "io/fd.h"

namespace helium::compute {
namespace {

constexpr const char* kFolder = "settings_trial";
constexpr int kFolderFd = 3;  // in the child: folders above ours may be closed to PostgreSQL's user
constexpr size_t kOutputMax = 64 * 1024;

// "2026-11-22 14:48:51.669 GMT [23921] LOG:  invalid value for …" without what precedes the message; what is about the
// trial alone is left out.
std::string complaints(const std::string& output) {
  std::string text;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    const size_t level = line.find("]");
    const size_t message = level == std::string::npos ? std::string::npos : line.find(":  ", level);
    if (message != std::string::npos) line = line.substr(message + 3);
    if (line.empty() || line.find("postgresql.auto.conf") != std::string::npos) continue;
    if (line.find("contains errors") != std::string::npos) continue;
    line = line.substr(0, line.find(" in file \""));
    text += (text.empty() ? "" : "; ") + line;
  }
  return text;
}

struct Ended {
  int status = 0;
  std::string output;
};

Result<Ended> run(std::vector<std::string> arguments, const Fd& folder) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe", errno);
  const Fd from_child(ends[0]);
  Fd to_us(ends[1]);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, to_us.get(), STDERR_FILENO);
  posix_spawn_file_actions_adddup2(&actions, folder.get(), kFolderFd);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

  std::vector<std::string> environment = clean_environment();
  std::vector<char*> argv, envp;
  for (std::string& text : arguments) argv.push_back(text.data());
  for (std::string& text : environment) envp.push_back(text.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return fail_errno(fmt::format("run '{}'", arguments[0]), failed);

  to_us.reset();
  Ended ended;
  char buffer[4096];
  for (ssize_t n; (n = ::read(from_child.get(), buffer, sizeof(buffer))) > 0;) {
    if (ended.output.size() < kOutputMax) ended.output.append(buffer, static_cast<size_t>(n));
  }
  while (::waitpid(pid, &ended.status, 0) < 0 && errno == EINTR) {
  }
  return ended;
}

}  // namespace

Status try_settings(const std::string& postgres_program, const SettingsInput& input) {
  HELIUM_ASSIGN(const PgSettings settings, make_settings(input));
  std::error_code ignored;
  std::filesystem::remove_all(kFolder, ignored);
  HELIUM_TRY(make_folders(kFolder));
  const std::filesystem::path file = std::filesystem::path(kFolder) / "postgresql.conf";
  if (!(std::ofstream(file) << settings.postgresql_conf << std::flush)) return fail_errno(fmt::format("write '{}'", file.string()), errno);
  HELIUM_ASSIGN(const Fd folder, open_file(kFolder, O_RDONLY | O_DIRECTORY));
  // -C comes first: only there does PostgreSQL allow it to root, too.
  std::vector<std::string> arguments{postgres_program, "-C", "port", "-D", fmt::format("/proc/self/fd/{}", kFolderFd)};
  arguments.insert(arguments.end(), settings.command_line.begin(), settings.command_line.end());
  const Result<Ended> ended = run(std::move(arguments), folder);
  std::filesystem::remove_all(kFolder, ignored);
  if (!ended) return fail(ended.error());
  if (ended->status == 0) return {};
  return fail(ErrorCode::kInvalid, fmt::format("PostgreSQL refuses the endpoint's settings: {}; change them at 'endpoint create'",
                                               complaints(ended->output)));
}

}  // namespace helium::compute
