#include "broker/hub.h"

#include <vector>

namespace helium::broker {

void Hub::publish(const TimelineProgress& progress) {
  const Key key{progress.id, progress.safekeeper_id};
  std::vector<std::shared_ptr<Wakeable>> idle;
  {
    const std::lock_guard lock(mutex_);
    store(key, progress);
    ++published_;
    for (auto& [id, subscriber] : subscribers_) {
      if (subscriber.filter && *subscriber.filter != progress.id) continue;
      if (!subscriber.queued.insert(key).second) continue;  // will take the newest value anyway
      if (subscriber.queue.empty()) {
        if (auto waker = subscriber.waker.lock()) idle.push_back(std::move(waker));
      }
      subscriber.queue.push_back(key);
    }
  }
  for (const auto& waker : idle) waker->wake();
}

void Hub::store(const Key& key, const TimelineProgress& progress) {
  if (const auto found = entries_.find(key); found != entries_.end()) {
    found->second.progress = progress;
    by_age_.splice(by_age_.end(), by_age_, found->second.age);
    return;
  }
  if (entries_.size() >= limits_.entries_max) {
    entries_.erase(by_age_.front());  // queued keys without an entry are skipped by take()
    by_age_.pop_front();
  }
  entries_.emplace(key, Entry{progress, by_age_.insert(by_age_.end(), key)});
}

Result<Hub::SubscriberId> Hub::subscribe(std::optional<TenantTimelineId> filter, std::weak_ptr<Wakeable> waker) {
  const std::lock_guard lock(mutex_);
  if (subscribers_.size() >= limits_.subscribers_max) return fail(ErrorCode::kUnavailable, "too many subscribers");
  Subscriber& subscriber = subscribers_[++last_id_];
  subscriber.filter = filter;
  subscriber.waker = std::move(waker);
  const auto add = [&](const Key& key) {
    subscriber.queue.push_back(key);
    subscriber.queued.insert(key);
  };
  if (filter) {
    for (auto at = entries_.lower_bound({*filter, 0}); at != entries_.end() && at->first.first == *filter; ++at) {
      add(at->first);
    }
  } else {
    for (const auto& [key, entry] : entries_) add(key);
  }
  return last_id_;
}

void Hub::unsubscribe(SubscriberId id) {
  const std::lock_guard lock(mutex_);
  subscribers_.erase(id);
}

std::optional<TimelineProgress> Hub::take(SubscriberId id) {
  const std::lock_guard lock(mutex_);
  const auto found = subscribers_.find(id);
  if (found == subscribers_.end()) return std::nullopt;
  Subscriber& subscriber = found->second;
  while (!subscriber.queue.empty()) {
    const Key key = subscriber.queue.front();
    subscriber.queue.pop_front();
    subscriber.queued.erase(key);
    if (const auto entry = entries_.find(key); entry != entries_.end()) {
      ++delivered_;
      return entry->second.progress;
    }
  }
  return std::nullopt;
}

Hub::Counts Hub::counts() const {
  const std::lock_guard lock(mutex_);
  return {entries_.size(), subscribers_.size(), published_, delivered_};
}

}  // namespace helium::broker
