// LsnWaiters: who waits until a timeline has WAL up to some LSN.
//
// A callback runs exactly once: at once when the LSN is there already, from advance() when it comes, from expire()
// with kTimeout when its deadline passes, or from close() with kCanceled. It runs without a lock held and must be
// quick: hand real work to somebody else.
// Threads: safe from any.

#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "base/lsn.h"
#include "base/result.h"

namespace helium::pageserver {

using Clock = std::chrono::steady_clock;

class LsnWaiters {
 public:
  using Callback = std::function<void(Status)>;

  explicit LsnWaiters(Lsn reached) : reached_(reached) {}

  void add(Lsn lsn, Clock::time_point deadline, Callback callback);
  void advance(Lsn reached);
  // `why` goes into the message of the timeout: what keeps the WAL from coming.
  void expire(Clock::time_point now, const std::string& why);
  void close();
  // The highest LSN that somebody waits for; invalid when nobody does.
  Lsn wanted() const;

 private:
  struct Waiter {
    Clock::time_point deadline;
    Callback callback;
  };
  mutable std::mutex mutex_;
  Lsn reached_;
  bool closed_ = false;
  std::multimap<Lsn, Waiter> waiters_;
};

}  // namespace helium::pageserver
