// Hub: the broker's memory. The last value per (timeline, safekeeper), and who still has to hear of it.
//
// A subscriber has a queue of *keys*, each at most once; the value is looked up when it is taken. So a slow subscriber
// gets the newest value of each key, and memory is bounded by entries_max × subscribers_max. When there are more than
// entries_max keys, the one that was updated the longest ago is forgotten.
// No I/O, no threads of its own. Thread safe; wake() is called without any lock of the hub.

#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "base/result.h"
#include "broker/client.h"

namespace helium::broker {

// What the hub calls when a subscriber that had nothing to take has something again. Must be quick.
class Wakeable {
 public:
  virtual ~Wakeable() = default;
  virtual void wake() = 0;
};

class Hub {
 public:
  struct Limits {
    size_t entries_max = 100'000;
    size_t subscribers_max = 1'000;
  };
  explicit Hub(Limits limits) : limits_(limits) {}

  void publish(const TimelineProgress& progress);

  using SubscriberId = uint64_t;
  // All values that match are there to be taken at once; wake() is not called for them.
  // Errors: kUnavailable: too many subscribers.
  Result<SubscriberId> subscribe(std::optional<TenantTimelineId> filter, std::weak_ptr<Wakeable> waker);
  void unsubscribe(SubscriberId id);
  // The next value for this subscriber; nullopt: none now, wake() will tell.
  std::optional<TimelineProgress> take(SubscriberId id);

  struct Counts {
    size_t entries = 0;
    size_t subscribers = 0;
    uint64_t published = 0;
    uint64_t delivered = 0;
  };
  Counts counts() const;

 private:
  using Key = std::pair<TenantTimelineId, uint64_t>;
  struct Entry {
    TimelineProgress progress;
    std::list<Key>::iterator age;
  };
  struct Subscriber {
    std::optional<TenantTimelineId> filter;
    std::weak_ptr<Wakeable> waker;
    std::deque<Key> queue;
    std::set<Key> queued;
  };
  void store(const Key& key, const TimelineProgress& progress);

  const Limits limits_;
  mutable std::mutex mutex_;
  std::map<Key, Entry> entries_;
  std::list<Key> by_age_;  // the oldest first
  std::map<SubscriberId, Subscriber> subscribers_;
  SubscriberId last_id_ = 0;
  uint64_t published_ = 0;
  uint64_t delivered_ = 0;
};

}  // namespace helium::broker
