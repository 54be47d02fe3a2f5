#include "pageserver/lsn_waiters.h"

#include <utility>
#include <vector>

namespace helium::pageserver {

void LsnWaiters::add(Lsn lsn, Clock::time_point deadline, Callback callback) {
  bool closed = false;
  {
    std::lock_guard lock(mutex_);
    closed = closed_;
    if (!closed && lsn > reached_) {
      waiters_.emplace(lsn, Waiter{deadline, std::move(callback)});
      return;
    }
  }
  callback(closed ? Status(fail(ErrorCode::kCanceled, "the timeline is being closed")) : Status());
}

void LsnWaiters::advance(Lsn reached) {
  std::vector<Callback> ready;
  {
    std::lock_guard lock(mutex_);
    if (reached <= reached_) return;
    reached_ = reached;
    const auto end = waiters_.upper_bound(reached);
    for (auto it = waiters_.begin(); it != end; ++it) ready.push_back(std::move(it->second.callback));
    waiters_.erase(waiters_.begin(), end);
  }
  for (Callback& callback : ready) callback({});
}

void LsnWaiters::expire(Clock::time_point now, const std::string& why) {
  std::vector<std::pair<Lsn, Callback>> late;
  Lsn reached;
  {
    std::lock_guard lock(mutex_);
    reached = reached_;
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      if (it->second.deadline > now) {
        ++it;
        continue;
      }
      late.emplace_back(it->first, std::move(it->second.callback));
      it = waiters_.erase(it);
    }
  }
  for (auto& [lsn, callback] : late)
    callback(fail(ErrorCode::kTimeout, "wait for WAL up to " + to_string(lsn) + ": it ends at " + to_string(reached) +
                                           (why.empty() ? "" : " (" + why + ")")));
}

Lsn LsnWaiters::wanted() const {
  std::lock_guard lock(mutex_);
  return waiters_.empty() ? Lsn() : waiters_.rbegin()->first;
}

void LsnWaiters::close() {
  std::multimap<Lsn, Waiter> waiters;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    waiters.swap(waiters_);
  }
  for (auto& [lsn, waiter] : waiters)
    waiter.callback(fail(ErrorCode::kCanceled, "the timeline is being closed"));
}

}  // namespace helium::pageserver
