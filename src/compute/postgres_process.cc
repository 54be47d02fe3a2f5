#include "compute/postgres_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

#include "base/log.h"
#include "io/durable_file.h"

extern char** environ;

namespace helium::compute {
namespace {

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// In the child, between vfork and exec, in our own memory: only system calls, and nothing of ours is changed.
[[noreturn]] void become_postgres(const PostgresCommand& command, char** argv, char** envp, pid_t agent) {
  const auto die = [](const char* what) {
    const char* reason = ::strerrordesc_np(errno);
    for (const char* part : {"compute_ctl: cannot start postgres: ", what, ": ", reason ? reason : "unknown", "\n"}) {
      if (::write(STDERR_FILENO, part, std::strlen(part)) < 0) break;
    }
    ::_exit(127);
  };
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != agent) ::_exit(127);  // it died before the line above
  ::setsid();
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);

  const int nothing = ::open("/dev/null", O_RDONLY);
  if (nothing < 0 || ::dup2(nothing, STDIN_FILENO) < 0) die("open /dev/null");
  if (::dup2(command.log_fd, STDOUT_FILENO) < 0 || ::dup2(command.log_fd, STDERR_FILENO) < 0) die("open the log");
  for (const int fd : command.inherited_fds) ::fcntl(fd, F_SETFD, 0);
  ::fcntl(command.library_fd, F_SETFD, 0);
  ::fcntl(command.pgdata_fd, F_SETFD, 0);
  if (::fchdir(command.pgdata_fd) != 0) die("enter the data directory");
  ::execve(argv[0], argv, envp);
  die(argv[0]);
  ::_exit(127);
}

std::optional<pid_t> parent_of(const char* pid_text) {
  const Result<std::string> stat = read_text_file(fmt::format("/proc/{}/stat", pid_text));
  if (!stat) return {};
  // "pid (command) state ppid …": the command may hold anything, so from its last parenthesis on.
  const size_t close = stat->rfind(')');
  if (close == std::string::npos || close + 4 >= stat->size()) return {};
  pid_t parent = 0;
  const char* from = stat->data() + close + 4;
  if (std::from_chars(from, stat->data() + stat->size(), parent).ec != std::errc()) return {};
  return parent;
}

}  // namespace

std::vector<std::string> clean_environment() {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const bool drop = text.starts_with("LD_") || text.starts_with("PG") || text.starts_with("HELIUM_") ||
                      text.starts_with("LC_") || text.starts_with("LANG") || text.starts_with("TZ=");
    if (!drop) result.emplace_back(text);
  }
  result.emplace_back("LC_ALL=C.UTF-8");
  return result;
}

Result<pid_t> spawn_postgres(const PostgresCommand& command) {
  std::vector<std::string> arguments = {command.program, "-D", fmt::format("/proc/self/fd/{}", command.pgdata_fd)};
  arguments.insert(arguments.end(), command.arguments.begin(), command.arguments.end());
  std::vector<std::string> environment = clean_environment();
  environment.insert(environment.end(), command.environment.begin(), command.environment.end());
  environment.push_back(fmt::format("LD_PRELOAD=/proc/self/fd/{}", command.library_fd));
  std::vector<char*> argv = pointers(arguments);
  std::vector<char*> envp = pointers(environment);

  // vfork: no page tables are copied, and none of our many threads pays for pages shared with a child.
  const pid_t agent = ::getpid();
  const pid_t pid = ::vfork();
  if (pid < 0) return fail_errno("start a process for postgres", errno);
  if (pid == 0) become_postgres(command, argv.data(), envp.data(), agent);
  return pid;
}

std::string postmaster_status(std::string_view lock_file) {
  constexpr int kStatusLine = 8;
  for (int line = 1; line < kStatusLine; ++line) {
    const size_t newline = lock_file.find('\n');
    if (newline == std::string_view::npos) return "";
    lock_file.remove_prefix(newline + 1);
  }
  lock_file = lock_file.substr(0, lock_file.find('\n'));
  while (!lock_file.empty() && lock_file.back() == ' ') lock_file.remove_suffix(1);
  return std::string(lock_file);
}

void become_subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

void kill_children() {
  DIR* processes = ::opendir("/proc");
  if (processes == nullptr) return;
  const pid_t self = ::getpid();
  while (const dirent* entry = ::readdir(processes)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    if (parent_of(entry->d_name) != self) continue;
    pid_t pid = 0;
    std::from_chars(entry->d_name, entry->d_name + std::strlen(entry->d_name), pid);
    if (pid > 1) ::kill(pid, SIGKILL);
  }
  ::closedir(processes);
}

bool end_descendants(int seconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (true) {
    kill_children();
    pid_t reaped;
    do {
      reaped = ::waitpid(-1, nullptr, WNOHANG);
    } while (reaped > 0 || (reaped < 0 && errno == EINTR));
    if (reaped < 0 && errno == ECHILD) return true;
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace helium::compute
