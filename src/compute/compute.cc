#include "compute/compute.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "compute/data_directory.h"
#include "compute/log_tail.h"
#include "io/durable_file.h"

namespace helium::compute {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kReadinessPoll{2};
constexpr milliseconds kIdlePoll{1000};
constexpr milliseconds kFastStopPatience{30000};
constexpr milliseconds kImmediateStopPatience{2000};
constexpr milliseconds kBackoffMax{10000};
constexpr milliseconds kStableLife{30000};  // a life that lasted this long starts the backoff again
constexpr milliseconds kPrewarmUse{5000};   // what the first connections did not ask for by then is dropped
constexpr size_t kLogLinesShown = 8;

Fd open_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGCHLD}) sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

std::string describe_exit(int wait_status) {
  if (WIFSIGNALED(wait_status)) return fmt::format("killed by signal {}", WTERMSIG(wait_status));
  return fmt::format("exit status {}", WEXITSTATUS(wait_status));
}

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

std::string_view to_string(ComputeStatus status) {
  switch (status) {
    case ComputeStatus::kStarting: return "starting";
    case ComputeStatus::kRunning: return "running";
    case ComputeStatus::kStopping: return "stopping";
    case ComputeStatus::kFailed: return "failed";
  }
  return "unknown";
}

Compute::Compute(Options options)
    : options_(std::move(options)),
      signals_(open_signals()),
      bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      life_started_(options_.started) {}

Compute::~Compute() { stop_cleaner(); }

void Compute::stop_cleaner() {
  cleaner_stop_ = true;
  if (cleaner_.joinable()) cleaner_.join();
  cleaner_stop_ = false;
}

// ---- from any thread

void Compute::wake() {
  const uint64_t one = 1;
  if (::write(bell_.get(), &one, sizeof(one)) < 0 && errno != EAGAIN) log::error("cannot wake the main thread");
}

void Compute::request_stop(StopMode mode) {
  StopMode present = stop_.load();
  while (present < mode && !stop_.compare_exchange_weak(present, mode)) {
  }
  wake();
}

bool Compute::wait_ended(milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return ended_changed_.wait_for(lock, timeout, [&] { return ended_; });
}

Compute::State Compute::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

std::shared_ptr<ComputeLife> Compute::life() const {
  const std::lock_guard lock(mutex_);
  return life_;
}

void Compute::set_status(ComputeStatus status) {
  const std::lock_guard lock(mutex_);
  state_.status = status;
}

void Compute::set_error(std::string error) {
  const std::lock_guard lock(mutex_);
  state_.error = std::move(error);
}

// ---- the main thread

// Sleeps until a signal, a wake() or the timeout; turns signals into requests.
bool Compute::wait_for_event(milliseconds timeout) {
  pollfd fds[] = {{signals_.get(), POLLIN, 0}, {bell_.get(), POLLIN, 0}};
  if (::poll(fds, 2, static_cast<int>(timeout.count())) <= 0) return false;
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
    if (signal.ssi_signo == SIGTERM) request_stop(StopMode::kFast);
    if (signal.ssi_signo == SIGINT || signal.ssi_signo == SIGQUIT) request_stop(StopMode::kImmediate);
  }
  uint64_t rings = 0;
  if (::read(bell_.get(), &rings, sizeof(rings)) < 0 && errno != EAGAIN) log::error("cannot read the bell");
  return true;
}

int Compute::run() {
  uint64_t crashes_in_a_row = 0;
  Outcome outcome;
  while (true) {
    outcome = run_life();
    if (outcome != Outcome::kCrashed) break;
    crashes_in_a_row = Clock::now() - life_started_ > kStableLife ? 1 : crashes_in_a_row + 1;
    {
      const std::lock_guard lock(mutex_);
      state_.restarts++;
      state_.status = ComputeStatus::kStarting;
    }
    if (!wait_backoff(crashes_in_a_row)) {
      outcome = Outcome::kStopped;
      break;
    }
    life_started_ = Clock::now();
  }
  {
    const std::lock_guard lock(mutex_);
    if (outcome == Outcome::kFailed) state_.status = ComputeStatus::kFailed;
    life_.reset();
    ended_ = true;
  }
  ended_changed_.notify_all();
  switch (outcome) {
    case Outcome::kStopped: return kExitStopped;
    case Outcome::kFenced: return kExitFenced;
    default: return kExitFailed;
  }
}

// The first crash costs no wait. False when a stop was asked for meanwhile.
bool Compute::wait_backoff(uint64_t crashes_in_a_row) {
  milliseconds backoff{0};
  if (crashes_in_a_row > 1) backoff = std::min(milliseconds(50) * (1 << std::min<uint64_t>(crashes_in_a_row, 10)), kBackoffMax);
  const Clock::time_point until = Clock::now() + backoff;
  while (stop_.load() == StopMode::kNone) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now());
    if (left.count() <= 0) return true;
    wait_for_event(left);
  }
  return false;
}

Compute::Outcome Compute::run_life() {
  stop_cleaner();  // the new life moves its folders to the same place
  auto life = std::make_shared<ComputeLife>(options_.spec, wal_service_, [this] { wake(); });
  {
    const std::lock_guard lock(mutex_);
    life_ = life;
    state_.postgres_pid = 0;
  }
  ready_ = false;
  stop_sent_ = StopMode::kNone;

  Status prepared;
  prepare_done_ = false;
  std::thread preparing([&] {
    prepared = life->prepare();
    prepare_done_ = true;
    wake();
  });
  Outcome outcome = wait_prepared(preparing, prepared);
  if (prepared && stop_.load() == StopMode::kNone && !life->fenced()) {
    const Result<pid_t> pid =
        spawn_postgres(life->command(options_.spec.pg_bin_dir + "/postgres", options_.library.get(), options_.log.get()));
    if (pid) {
      {
        const std::lock_guard lock(mutex_);
        state_.postgres_pid = *pid;
      }
      outcome = supervise(*pid);
    } else {
      set_error(pid.error().message);
      outcome = was_ready_ ? Outcome::kCrashed : Outcome::kFailed;
    }
  }
  if (life->fenced()) outcome = Outcome::kFenced;
  if (outcome == Outcome::kStopped) life->keep_last_files();
  wal_service_ = life->wal_service();
  life->end();
  return outcome;
}

// What the life comes to if postgres cannot be spawned.
Compute::Outcome Compute::wait_prepared(std::thread& preparing, const Status& prepared) {
  bool canceled = false;
  while (!prepare_done_) {
    wait_for_event(kIdlePoll);
    if (stop_.load() != StopMode::kNone && !std::exchange(canceled, true)) life()->cancel();
  }
  preparing.join();
  if (prepared || stop_.load() != StopMode::kNone) return Outcome::kStopped;
  set_error(prepared.error().message);
  if (prepared.error().code == ErrorCode::kFenced) {
    log::info("fenced while starting", {{"error", prepared.error()}});
    return Outcome::kFenced;
  }
  if (was_ready_) {
    log::error("cannot start anew", {{"error", prepared.error()}});
    return Outcome::kCrashed;
  }
  return Outcome::kFailed;
}

std::optional<int> Compute::reap(pid_t pid) {
  std::optional<int> postmaster;
  int status = 0;
  for (pid_t ended; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (ended == pid) postmaster = status;
  }
  return postmaster;
}

void Compute::look_for_readiness() {
  const Result<std::string> lock_file = read_text_file(std::filesystem::path(kPgdata) / "postmaster.pid");
  if (!lock_file || postmaster_status(*lock_file) != "ready") return;
  if (!life()->interception_proven()) {
    log::error("PostgreSQL runs without the file layer: is it a static binary?", {{"pg_bin_dir", options_.spec.pg_bin_dir}});
    set_error("PostgreSQL runs without the file layer (libhelium_vfs.so): is it a static binary?");
    life()->kill_postgres();
    kill_children();
    return;
  }
  ready_ = true;
  was_ready_ = true;
  const double took = milliseconds_since(life_started_);
  {
    const std::lock_guard lock(mutex_);
    state_.status = ComputeStatus::kRunning;
    state_.start_milliseconds = took;
    state_.error.clear();
  }
  log::info("PostgreSQL accepts connections", {{"port", options_.spec.pg_address.port},
                                               {"pid", state().postgres_pid},
                                               {"term", life()->term()},
                                               {"lsn", life()->start_lsn()},
                                               {"elected_ms", life()->phases().elected_ms},
                                               {"bootstrapped_ms", life()->phases().bootstrapped_ms},
                                               {"prepared_ms", life()->phases().prepared_ms},
                                               {"start_ms", took}});
  stop_cleaner();
  cleaner_ = std::thread([this] { remove_trash(".", cleaner_stop_); });
}

void Compute::drive_stop(pid_t pid) {
  const StopMode wanted = stop_.load();
  if (wanted > stop_sent_) {
    set_status(ComputeStatus::kStopping);
    stop_sent_ = wanted;
    stop_deadline_ = Clock::now() + (wanted == StopMode::kFast ? kFastStopPatience : kImmediateStopPatience);
    log::info("stopping PostgreSQL", {{"mode", wanted == StopMode::kFast ? "fast" : "immediate"}});
    ::kill(pid, wanted == StopMode::kFast ? SIGINT : SIGQUIT);
    return;
  }
  if (stop_sent_ == StopMode::kNone || Clock::now() < stop_deadline_) return;
  if (stop_sent_ == StopMode::kFast) {
    log::info("a fast stop takes too long: is there a majority of safekeepers? Stopping at once");
    request_stop(StopMode::kImmediate);
  } else {
    life()->kill_postgres();
    ::kill(pid, SIGKILL);
  }
}

Compute::Outcome Compute::supervise(pid_t pid) {
  const std::shared_ptr<ComputeLife> present = life();
  bool prewarm_dropped = false;
  while (true) {
    drive_stop(pid);
    if (present->fenced() || present->damaged()) ::kill(pid, SIGKILL);
    if (const std::optional<int> status = reap(pid)) {
      const bool was_ready = ready_;
      if (present->fenced()) return Outcome::kFenced;
      if (stop_sent_ != StopMode::kNone || (was_ready && *status == 0)) {
        log::info("PostgreSQL ended", {{"how", describe_exit(*status)}});
        return Outcome::kStopped;
      }
      const std::string tail = last_lines("postgres.log", kLogLinesShown);
      std::string error = state().error;
      if (error.empty()) error = fmt::format("PostgreSQL ended ({}); the end of its log:\n{}", describe_exit(*status), tail);
      set_error(error);
      if (!was_ready_) return Outcome::kFailed;
      log::info("PostgreSQL died, starting anew from the WAL service", {{"how", describe_exit(*status)}});
      return Outcome::kCrashed;
    }
    if (!ready_ && stop_sent_ == StopMode::kNone) look_for_readiness();
    if (ready_ && !prewarm_dropped && Clock::now() - life_started_ > kPrewarmUse) {
      present->source()->drop_prewarmed();
      prewarm_dropped = true;
    }
    milliseconds patience = kIdlePoll;
    if (!ready_) patience = kReadinessPoll;
    if (stop_sent_ != StopMode::kNone || present->fenced()) patience = milliseconds(20);
    wait_for_event(patience);
  }
}

}  // namespace helium::compute
