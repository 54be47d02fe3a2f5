// MemoryStore: an object store for tests and simulations: a map, with faults on demand. Thread safe.

#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>

#include "store/object_store.h"

namespace helium {

class MemoryStore : public ObjectStore {
 public:
  enum class Operation { kPut, kGet, kSize, kList, kRemove };
  // Asked before each operation; an error is what the caller gets instead. after_put: an error from here is an answer
  // that was lost on its way: the object is there all the same. Set both before the store is shared.
  std::function<Status(Operation, std::string_view key)> before;
  std::function<Status(std::string_view key)> after_put;

  Status put(std::string_view key, ByteView content, PutMode mode) override {
    HELIUM_TRY(check_object_key(key));
    HELIUM_TRY(ask(Operation::kPut, key));
    {
      const std::lock_guard lock(mutex_);
      const auto found = objects_.find(key);
      if (found != objects_.end() && mode == PutMode::kIfAbsent) return fail(ErrorCode::kExists, std::string(key));
      objects_.insert_or_assign(std::string(key), Bytes(content.begin(), content.end()));
    }
    return after_put ? after_put(key) : Status();
  }
  Result<Bytes> get(std::string_view key) override {
    HELIUM_TRY(ask(Operation::kGet, key));
    const std::lock_guard lock(mutex_);
    HELIUM_ASSIGN(const Bytes* object, find(key));
    return *object;
  }
  Status get_range(std::string_view key, uint64_t offset, MutableByteView to) override {
    HELIUM_TRY(ask(Operation::kGet, key));
    const std::lock_guard lock(mutex_);
    HELIUM_ASSIGN(const Bytes* object, find(key));
    if (offset + to.size() > object->size()) return fail(ErrorCode::kTruncated, std::string(key));
    std::copy_n(object->begin() + static_cast<ptrdiff_t>(offset), to.size(), to.begin());
    return {};
  }
  Result<uint64_t> size(std::string_view key) override {
    HELIUM_TRY(ask(Operation::kSize, key));
    const std::lock_guard lock(mutex_);
    HELIUM_ASSIGN(const Bytes* object, find(key));
    return object->size();
  }
  Result<std::vector<ObjectInfo>> list(std::string_view prefix) override {
    HELIUM_TRY(ask(Operation::kList, prefix));
    const std::lock_guard lock(mutex_);
    std::vector<ObjectInfo> all;
    for (auto at = objects_.lower_bound(prefix); at != objects_.end() && at->first.starts_with(prefix); ++at) {
      all.push_back({at->first, at->second.size()});
    }
    return all;
  }
  Status remove(std::string_view key) override {
    HELIUM_TRY(ask(Operation::kRemove, key));
    const std::lock_guard lock(mutex_);
    if (const auto found = objects_.find(key); found != objects_.end()) objects_.erase(found);
    return {};
  }
  std::string describe() const override { return "memory"; }

 private:
  Status ask(Operation operation, std::string_view key) const { return before ? before(operation, key) : Status(); }
  Result<const Bytes*> find(std::string_view key) const {
    const auto found = objects_.find(key);
    if (found == objects_.end()) return fail(ErrorCode::kNotFound, std::string(key));
    return &found->second;
  }

  std::mutex mutex_;
  std::map<std::string, Bytes, std::less<>> objects_;
};

}  // namespace helium
