// Offloader: brings finished WAL to the object store, takes local WAL away that is there, and puts idle timelines to
// sleep. The decisions are retention.h's; the steps that a crash cannot harm are the timeline's.
//
// A store that fails is tried again with a growing pause, up to a minute; nothing is trimmed meanwhile. What the store
// refuses for its content (other bytes under a segment's name, damage in ours) is logged as an error and tried again
// every minute.
// Threads: one calls round(); Safekeeper has it.

#pragma once

#include <map>
#include <memory>
#include <span>

#include "base/ids.h"
#include "safekeeper/metrics.h"
#include "safekeeper/retention.h"
#include "safekeeper/timeline.h"

namespace helium::safekeeper {

class Offloader {
 public:
  struct Options {
    uint64_t safekeeper_id = 0;
    uint64_t keep_bytes = 1024ull * 1024 * 1024;  // of local WAL, at most, for those who may read it soon
    Age idle_after{15 * 60 * 1000};
  };
  Offloader(Options options, const TimeSource& time, Metrics& metrics)
      : options_(options), time_(time), metrics_(metrics) {}

  // How long each of the other safekeepers has been silent; one that was never heard is not there.
  using Silence = std::map<uint64_t, Age>;
  // One round for one timeline. True: there is more to do at once.
  bool round(Timeline& timeline, const Silence& silence);
  // For what was deleted.
  void forget(const TenantTimelineId& id) { states_.erase(id); }

 private:
  using TimePoint = TimeSource::TimePoint;
  struct State {
    TimePoint waiting_since{};  // there was something to offload, and backup_lsn stood still; zero: nothing to do
    Lsn backup_lsn;             // at that time
    TimePoint retry_at{};
    Age pause{0};
    std::string last_error;     // logged already
  };
  bool offload(Timeline& timeline, const Timeline::Retention& known, const Silence& silence, State& state);
  Status offload_segments(Timeline& timeline, const Timeline::Retention& known, bool& more);
  void trim(Timeline& timeline, const Timeline::Retention& known, State& state);
  void sleep_if_idle(Timeline& timeline, const Timeline::Retention& known, State& state);
  void failed(const Timeline& timeline, const char* what, const Error& error, State& state);
  void succeeded(State& state);

  const Options options_;
  const TimeSource& time_;
  Metrics& metrics_;
  std::map<TenantTimelineId, State> states_;
};

}  // namespace helium::safekeeper
