// WalSources: which safekeeper a timeline's WAL is taken from. Pure decisions on what the broker and askers said.
//
// A source that failed rests for a while that doubles from 100 ms to 5 s. A hint (a compute that starts names a
// safekeeper which has its WAL) goes first while it does not fail. Otherwise the one that has the most committed WAL,
// but the present one stays while it is no more than kMaxLagBytes behind.
// Not thread safe.

#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "base/lsn.h"
#include "io/net.h"
#include "pageserver/lsn_waiters.h"

namespace helium::pageserver {

class WalSources {
 public:
  static constexpr uint64_t kMaxLagBytes = 1 << 20;
  static constexpr std::chrono::milliseconds kFirstRest{100};
  static constexpr std::chrono::milliseconds kLongestRest{5000};
  static constexpr std::chrono::seconds kHintLife{120};

  // A safekeeper's progress, from the broker.
  void on_progress(const HostPort& address, Lsn commit_lsn);
  // Somebody needs WAL up to `upto`, and this safekeeper has it.
  void on_hint(const HostPort& address, Lsn upto, Clock::time_point now);

  void on_success(const HostPort& address);
  void on_failure(const HostPort& address, Clock::time_point now);

  // Where to stream from now, if there is anything to fetch behind `have`; nothing: wait. `wanted`: readers wait for WAL
  // up to there; then a source is tried even if no news of it came (the broker may be down), the rested longest first.
  std::optional<HostPort> choose(Lsn have, Clock::time_point now, Lsn wanted = Lsn()) const;
  // All of them, the one that has the most first.
  std::vector<HostPort> known() const;
  // The stream from `current` should be given up: it stands at `have`, and another source has clearly more.
  bool should_switch(const HostPort& current, Lsn have, Clock::time_point now) const;
  // When choose() may answer something else without news: the first rest that ends.
  std::optional<Clock::time_point> next_change(Clock::time_point now) const;

 private:
  struct Source {
    Lsn commit_lsn;
    std::chrono::milliseconds rest{0};
    Clock::time_point resting_until{};
    Lsn hinted_lsn;  // 0: no hint
    Clock::time_point hint_ends{};
  };
  std::map<HostPort, Source> sources_;
};

}  // namespace helium::pageserver
