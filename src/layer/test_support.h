// For the tests of this folder: a temporary folder, readable values, a model of what a store should say.

#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>

#include "layer/block_cache.h"
#include "layer/store.h"

namespace helium::layer {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    // In memory where there is such a folder: many small files, and nothing here depends on a real disk.
    const std::filesystem::path shm = "/dev/shm";
    const bool usable = ::access(shm.c_str(), W_OK) == 0;
    std::string pattern = ((usable ? shm : std::filesystem::temp_directory_path()) / "helium_layer_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

template <typename T>
::testing::AssertionResult is_ok(const Result<T>& result) {
  if (result) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << helium::to_string(result.error().code) << ": " << result.error().message;
}

// One version, with bytes of its own.
struct Content {
  ValueKind kind = ValueKind::kData;
  bool will_init = true;
  Bytes bytes;
  friend bool operator==(const Content&, const Content&) = default;
};

inline Bytes bytes_of(std::string_view text) { return {as_bytes(text).begin(), as_bytes(text).end()}; }

inline pg::RelTag test_rel(uint32_t relnode) { return {1663, 5, relnode, pg::Fork::kMain}; }

// What a timeline should hold: std::map, and the read rules spelled out.
class Model {
 public:
  Model(const Model* ancestor, Lsn start_lsn) : ancestor_(ancestor), start_lsn_(start_lsn) {}

  void put(Lsn lsn, const Key& key, Content content) { versions_[key][lsn] = std::move(content); }

  std::vector<std::pair<Lsn, Content>> all(const Key& key, Lsn after, Lsn at) const {
    std::vector<std::pair<Lsn, Content>> found;
    if (const auto of_key = versions_.find(key); of_key != versions_.end()) {
      for (auto it = of_key->second.rbegin(); it != of_key->second.rend(); ++it) {
        if (after < it->first && it->first <= at) found.push_back(*it);
      }
    }
    if (ancestor_ != nullptr) {
      for (auto& older : ancestor_->all(key, after, std::min(at, start_lsn_))) found.push_back(std::move(older));
    }
    return found;
  }
  std::vector<std::pair<Lsn, Content>> chain(const Key& key, Lsn at) const {
    std::vector<std::pair<Lsn, Content>> found = all(key, Lsn(), at);
    for (size_t i = 0; i < found.size(); ++i) {
      if (found[i].second.will_init) {
        found.resize(i + 1);
        break;
      }
    }
    return found;
  }
  std::map<Key, std::pair<Lsn, Content>> scan(const KeyRange& range, Lsn at) const {
    std::set<Key> keys;
    for (const Model* model = this; model != nullptr; model = model->ancestor_) {
      for (const auto& item : model->versions_) {
        if (range.contains(item.first)) keys.insert(item.first);
      }
    }
    std::map<Key, std::pair<Lsn, Content>> found;
    for (const Key& key : keys) {
      const auto versions = all(key, Lsn(), at);
      if (!versions.empty() && versions[0].second.kind != ValueKind::kTombstone) found[key] = versions[0];
    }
    return found;
  }
  std::vector<Key> keys() const {
    std::vector<Key> keys;
    for (const auto& item : versions_) keys.push_back(item.first);
    return keys;
  }

 private:
  const Model* ancestor_;
  Lsn start_lsn_;
  std::map<Key, std::map<Lsn, Content>> versions_;
};

inline std::vector<std::pair<Lsn, Content>> contents(const std::vector<Version>& versions) {
  std::vector<std::pair<Lsn, Content>> found;
  for (const Version& v : versions) found.push_back({v.lsn, {v.kind, v.will_init, v.bytes.to_bytes()}});
  return found;
}

// A failure names key and LSN; what differs is for the debugger.
inline void expect_same(const TimelineStore& store, const Model& model, const Key& key, Lsn at) {
  const auto versions = store.get_versions(key, at);
  ASSERT_TRUE(is_ok(versions)) << to_string(key) << " at " << to_string(at);
  EXPECT_TRUE(contents(*versions) == model.chain(key, at)) << to_string(key) << " at " << to_string(at);
  const auto latest = store.get_latest(key, at);
  ASSERT_TRUE(is_ok(latest)) << to_string(key) << " at " << to_string(at);
  const auto expected = model.all(key, Lsn(), at);
  ASSERT_EQ(latest->has_value(), !expected.empty()) << to_string(key) << " at " << to_string(at);
  if (*latest) {
    EXPECT_EQ((*latest)->lsn, expected[0].first);
    EXPECT_TRUE((*latest)->bytes.to_bytes() == expected[0].second.bytes);
  }
}

inline void expect_same_scan(const TimelineStore& store, const Model& model, const KeyRange& range, Lsn at) {
  std::map<Key, std::pair<Lsn, Content>> found;
  Key last;
  const Status scanned = store.scan_latest(range, at, [&](const Key& key, const Version& v) {
    EXPECT_TRUE(found.empty() || last < key) << "not ascending: " << to_string(key);
    last = key;
    found[key] = {v.lsn, {v.kind, v.will_init, v.bytes.to_bytes()}};
    return true;
  });
  ASSERT_TRUE(is_ok(scanned));
  EXPECT_TRUE(found == model.scan(range, at)) << "scan at " << to_string(at) << " found " << found.size() << " keys of "
                                              << model.scan(range, at).size();
}

}  // namespace helium::layer
