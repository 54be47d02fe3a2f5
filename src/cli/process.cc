#include "cli/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <thread>

#include "io/durable_file.h"

namespace helium::cli {
namespace {

namespace fs = std::filesystem;

constexpr Timeout kDeathTimeout = std::chrono::seconds(10);

struct ProcessStat {
  char state = '?';
  uint64_t flags = 0;
  uint64_t threads = 0;
  uint64_t start_ticks = 0;

  // A zombie may be just the first thread of a process that is being killed: its ports are free when the last has gone.
  bool has_ended() const { return (state == 'Z' || state == 'X') && threads <= 1; }
  bool is_exiting() const {
    constexpr uint64_t kExiting = 0x4;  // PF_EXITING of the kernel's sched.h
    return (flags & kExiting) != 0;
  }
};

// /proc/PID/stat: "PID (name) STATE …"; the name may hold anything, so count from its last ')'.
std::optional<ProcessStat> read_stat(pid_t pid) {
  const Result<std::string> text = read_text_file(fmt::format("/proc/{}/stat", pid));
  if (!text) return std::nullopt;
  const size_t name_end = text->rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::vector<std::string_view> fields;  // fields[0] is field 3 of proc(5): the state
  std::string_view rest = std::string_view(*text).substr(name_end + 1);
  while (!rest.empty()) {
    const size_t begin = rest.find_first_not_of(" \n");
    if (begin == std::string_view::npos) break;
    const size_t end = std::min(rest.find_first_of(" \n", begin), rest.size());
    fields.push_back(rest.substr(begin, end - begin));
    rest.remove_prefix(end);
  }
  constexpr size_t kFlagsField = 9 - 3;
  constexpr size_t kThreadsField = 20 - 3;
  constexpr size_t kStartTimeField = 22 - 3;
  if (fields.size() <= kStartTimeField) return std::nullopt;
  ProcessStat stat;
  stat.state = fields[0][0];
  const auto read_number = [&](size_t field, uint64_t& value) {
    std::from_chars(fields[field].data(), fields[field].data() + fields[field].size(), value);
  };
  read_number(kFlagsField, stat.flags);
  read_number(kThreadsField, stat.threads);
  read_number(kStartTimeField, stat.start_ticks);
  return stat;
}

// /proc/PID/status: a SIGKILL that was sent and has not been taken yet.
bool is_being_killed(pid_t pid) {
  const Result<std::string> text = read_text_file(fmt::format("/proc/{}/status", pid));
  if (!text) return true;  // gone meanwhile
  for (const std::string_view name : {"\nSigPnd:\t", "\nShdPnd:\t"}) {
    const size_t at = text->find(name);
    if (at == std::string::npos) continue;
    uint64_t pending = 0;
    std::from_chars(text->data() + at + name.size(), text->data() + text->size(), pending, 16);
    if (pending >> (SIGKILL - 1) & 1) return true;
  }
  return false;
}

std::string boot_id() {
  Result<std::string> text = read_text_file("/proc/sys/kernel/random/boot_id");
  if (!text) return "unknown";
  return text->substr(0, text->find('\n'));
}

fs::path identity_file(const fs::path& pid_file) {
  fs::path path = pid_file;
  path += ".identity";
  return path;
}

std::string describe_identity(pid_t pid, uint64_t start_ticks) {
  return fmt::format("{} started {} boot {}\n", pid, start_ticks, boot_id());
}

std::optional<pid_t> read_pid(const fs::path& pid_file) {
  const Result<std::string> text = read_text_file(pid_file);
  if (!text) return std::nullopt;
  pid_t pid = 0;
  std::from_chars(text->data(), text->data() + text->size(), pid);
  return pid > 1 ? std::optional(pid) : std::nullopt;
}

// Pid files need not survive a power loss: no process does.
Status write_small_file(const fs::path& path, std::string_view content) {
  HELIUM_ASSIGN(const Fd file, open_file(path, O_CREAT | O_TRUNC | O_WRONLY));
  return pwrite_all(file, as_bytes(content), 0);
}

// What the child does between fork and exec: async-signal-safe calls only. Reports errno through `report`.
[[noreturn]] void run_child(char* const* argv, const char* folder, int log_fd, int null_fd, int report) {
  setsid();
  dup2(null_fd, STDIN_FILENO);
  dup2(log_fd, STDOUT_FILENO);
  dup2(log_fd, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  // Nothing of ours may live on in a daemon: a pipe of the caller's shell would never see its end.
  syscall(SYS_close_range, 3U, static_cast<unsigned>(report - 1), 0U);
  syscall(SYS_close_range, static_cast<unsigned>(report + 1), ~0U, 0U);
  if (chdir(folder) == 0) execv(argv[0], argv);
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(report, &error, sizeof(error));
  _exit(127);
}

}  // namespace

Result<pid_t> spawn_daemon(const std::vector<std::string>& argv, const DaemonFiles& files) {
  HELIUM_ASSIGN(const Fd log, open_file(files.log_file, O_CREAT | O_WRONLY | O_APPEND));
  HELIUM_ASSIGN(const Fd null, open_file("/dev/null", O_RDONLY));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("create pipe", errno);
  const Fd report_in(ends[0]);
  Fd report_out(ends[1]);

  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const std::string folder = files.folder.string();

  const pid_t pid = fork();
  if (pid < 0) return fail_errno("fork", errno);
  if (pid == 0) run_child(arguments.data(), folder.c_str(), log.get(), null.get(), report_out.get());
  report_out.reset();
  int error = 0;
  if (::read(report_in.get(), &error, sizeof(error)) == sizeof(error)) {
    waitpid(pid, nullptr, 0);
    return fail(ErrorCode::kIo, fmt::format("run '{}': {}", argv[0], std::strerror(error)));
  }

  // The identity first: a pid file without one is never believed.
  const std::optional<ProcessStat> stat = read_stat(pid);
  const std::string identity = describe_identity(pid, stat ? stat->start_ticks : 0);
  HELIUM_TRY(write_small_file(identity_file(files.pid_file), identity));
  HELIUM_TRY(write_small_file(files.pid_file, fmt::format("{}\n", pid)));
  return pid;
}

std::optional<pid_t> running_pid(const fs::path& pid_file) {
  const std::optional<pid_t> pid = read_pid(pid_file);
  if (!pid) return std::nullopt;
  const auto deadline = std::chrono::steady_clock::now() + kDeathTimeout;
  while (true) {
    const std::optional<ProcessStat> stat = read_stat(*pid);
    if (!stat || stat->has_ended()) return std::nullopt;
    const Result<std::string> identity = read_text_file(identity_file(pid_file));
    if (!identity || *identity != describe_identity(*pid, stat->start_ticks)) return std::nullopt;
    const bool dies = stat->is_exiting() || is_being_killed(*pid);
    if (!dies || std::chrono::steady_clock::now() >= deadline) return pid;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

bool has_exited(pid_t pid) {
  if (waitpid(pid, nullptr, WNOHANG) == pid) return true;
  const std::optional<ProcessStat> stat = read_stat(pid);
  return !stat || stat->has_ended();
}

bool signal_daemon(const fs::path& pid_file, int signal) {
  const std::optional<pid_t> candidate = read_pid(pid_file);
  if (!candidate) return false;
  // Hold the process first, then look whether it is the right one: the pid cannot change hands in between.
  const Fd handle(static_cast<int>(syscall(SYS_pidfd_open, *candidate, 0)));
  if (running_pid(pid_file) != candidate) return false;
  if (handle) return syscall(SYS_pidfd_send_signal, handle.get(), signal, nullptr, 0) == 0;
  return kill(*candidate, signal) == 0;
}

bool wait_until_stopped(const fs::path& pid_file, Timeout timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  auto pause = std::chrono::milliseconds(1);
  while (const std::optional<pid_t> pid = running_pid(pid_file)) {
    if (has_exited(*pid)) break;  // reaps it, should it be our own child
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(20));
  }
  ::unlink(pid_file.c_str());
  ::unlink(identity_file(pid_file).c_str());
  return true;
}

std::string log_tail(const fs::path& log_file, uintmax_t from, size_t lines) {
  std::ifstream file(log_file, std::ios::binary);
  if (!file) return "";
  constexpr uintmax_t kBytesMax = 64 * 1024;
  std::error_code ignored;
  const uintmax_t size = fs::file_size(log_file, ignored);
  if (!ignored && size > kBytesMax) from = std::max(from, size - kBytesMax);
  file.seekg(static_cast<std::streamoff>(from));
  std::vector<std::string> all;
  for (std::string line; std::getline(file, line);) all.push_back(std::move(line));
  std::string tail;
  for (size_t i = all.size() > lines ? all.size() - lines : 0; i < all.size(); ++i) tail += "  " + all[i] + "\n";
  return tail;
}

}  // namespace helium::cli
