// TimeSource: where monotonic time comes from, as a seam: the simulation has a clock of its own, which may jump.
// Safe from any thread.

#pragma once

#include <chrono>

namespace helium {

class TimeSource {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  virtual ~TimeSource() = default;
  virtual TimePoint now() const { return std::chrono::steady_clock::now(); }
};

// The operating system's.
inline const TimeSource& real_time() {
  static const TimeSource time;
  return time;
}

}  // namespace helium
