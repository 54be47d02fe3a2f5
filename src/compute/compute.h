// Compute: supervises one endpoint: lives one after the other, and the ways out.
//
//   prepare (own thread) → postgres starting → running ─┬─ stop asked: fast (SIGINT) or immediate (SIGQUIT) → exit 0
//        ▲                                              ├─ fenced by a later term: everything killed → exit 3
//        └────────────── backoff ◄── new life ◄─────────┴─ postgres died: begin anew
//
// A first start that fails ends the program with the reason (exit 1); later ones are tried for ever.
// Ownership: owns the present life. Errors: by exit status and log. Threads: run() on the main thread, which spawns
// postgres (the parent-death signal belongs to the spawning thread); the rest from any.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/result.h"
#include "compute/compute_life.h"
#include "compute/endpoint_spec.h"
#include "io/fd.h"

namespace helium::compute {

inline constexpr int kExitStopped = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitFenced = 3;

enum class StopMode : uint8_t { kNone, kFast, kImmediate };
enum class ComputeStatus : uint8_t { kStarting, kRunning, kStopping, kFailed };
std::string_view to_string(ComputeStatus status);

class Compute {
 public:
  struct Options {
    EndpointSpec spec;
    Fd library;  // libhelium_vfs.so
    Fd log;      // postgres.log, for appending
    std::chrono::steady_clock::time_point started;
  };

  explicit Compute(Options options);
  ~Compute();

  // Runs until the compute ends; returns the exit status.
  int run();

  void request_stop(StopMode mode);
  // Waits until run() is about to return.
  bool wait_ended(std::chrono::milliseconds timeout);

  struct State {
    ComputeStatus status = ComputeStatus::kStarting;
    pid_t postgres_pid = 0;
    uint64_t restarts = 0;
    double start_milliseconds = 0;  // of the present life, until PostgreSQL accepted connections
    std::string error;              // of the last life, or why it failed
  };
  State state() const;
  std::shared_ptr<ComputeLife> life() const;
  const EndpointSpec& spec() const { return options_.spec; }

 private:
  enum class Outcome : uint8_t { kStopped, kFenced, kCrashed, kFailed };

  Outcome run_life();
  Outcome wait_prepared(std::thread& preparing, const Status& prepared);
  Outcome supervise(pid_t pid);
  bool wait_for_event(std::chrono::milliseconds timeout);  // handles signals; true when something happened
  std::optional<int> reap(pid_t pid);                      // the postmaster's wait status once it has ended
  void drive_stop(pid_t pid);
  void look_for_readiness();
  void set_status(ComputeStatus status);
  void set_error(std::string error);
  void wake();
  void stop_cleaner();
  bool wait_backoff(uint64_t crashes_in_a_row);

  const Options options_;
  Fd signals_;
  Fd bell_;
  std::atomic<StopMode> stop_{StopMode::kNone};
  std::atomic<bool> prepare_done_{false};

  // Main thread.
  std::chrono::steady_clock::time_point life_started_;
  StopMode stop_sent_ = StopMode::kNone;
  std::chrono::steady_clock::time_point stop_deadline_;
  bool ready_ = false;
  bool was_ready_ = false;  // in any life
  std::vector<walclient::Safekeeper> wal_service_;  // as the last life knew it: members change while we run
  std::thread cleaner_;  // removes what earlier lives left
  std::atomic<bool> cleaner_stop_{false};

  mutable std::mutex mutex_;
  std::condition_variable ended_changed_;
  // Guarded by mutex_.
  State state_;
  std::shared_ptr<ComputeLife> life_;
  bool ended_ = false;
};

}  // namespace helium::compute
