// Goal: every store behaves as the interface says. Method: one set of tests, run on each.

#include "store/object_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "store/directory_store.h"
#include "store/memory_store.h"

namespace helium {
namespace {

namespace fs = std::filesystem;

class EveryStore : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string_view(GetParam()) == "memory") {
      store_ = std::make_unique<MemoryStore>();
      return;
    }
    char name[] = "/tmp/helium_store_test_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    auto opened = DirectoryStore::open(folder_ / "store");
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
  }
  void TearDown() override {
    std::error_code ignored;
    if (!folder_.empty()) fs::remove_all(folder_, ignored);
  }
  std::string text(std::string_view key) {
    const auto bytes = store_->get(key);
    return bytes ? std::string(as_text(*bytes)) : "error: " + bytes.error().message;
  }
  fs::path folder_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_P(EveryStore, WhatWasPutIsThereWholeAndInParts) {
  ASSERT_TRUE(store_->put("wal/a/b/1", as_bytes("hello world"), PutMode::kReplace));
  EXPECT_EQ(text("wal/a/b/1"), "hello world");
  EXPECT_EQ(store_->size("wal/a/b/1"), 11u);
  Bytes part(5);
  ASSERT_TRUE(store_->get_range("wal/a/b/1", 6, part));
  EXPECT_EQ(as_text(part), "world");
  EXPECT_EQ(store_->get_range("wal/a/b/1", 7, part).error().code, ErrorCode::kTruncated);
  ASSERT_TRUE(store_->put("wal/a/b/1", as_bytes(""), PutMode::kReplace));
  EXPECT_EQ(store_->size("wal/a/b/1"), 0u);
}

TEST_P(EveryStore, WhatIsNotThereIsNotFound) {
  ASSERT_TRUE(store_->put("a/b", as_bytes("x"), PutMode::kReplace));
  Bytes part(1);
  for (const char* key : {"a", "a/c", "a/b/c", "b"}) {
    EXPECT_FALSE(store_->get(key)) << key;
    EXPECT_FALSE(store_->size(key)) << key;
    EXPECT_FALSE(store_->get_range(key, 0, part)) << key;
  }
  EXPECT_EQ(store_->get("a/c").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->size("a").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(store_->remove("a/c")) << "removing what is not there is fine";
  ASSERT_TRUE(store_->remove("a/b"));
  EXPECT_EQ(store_->get("a/b").error().code, ErrorCode::kNotFound);
}

TEST_P(EveryStore, PutIfAbsentKeepsWhatIsThere) {
  ASSERT_TRUE(store_->put("a/b", as_bytes("first"), PutMode::kIfAbsent));
  EXPECT_EQ(store_->put("a/b", as_bytes("second"), PutMode::kIfAbsent).error().code, ErrorCode::kExists);
  EXPECT_EQ(text("a/b"), "first");
  ASSERT_TRUE(store_->put("a/b", as_bytes("third"), PutMode::kReplace));
  EXPECT_EQ(text("a/b"), "third");
}

TEST_P(EveryStore, OfManyWritersExactlyOneWins) {
  for (int round = 0; round < 20; ++round) {
    const std::string key = "race/" + std::to_string(round);
    std::atomic<int> won = -1, wins = 0;
    std::vector<std::thread> writers;
    for (int i = 0; i < 4; ++i) {
      writers.emplace_back([&, i] {
        if (store_->put(key, as_bytes(std::to_string(i)), PutMode::kIfAbsent)) {
          won = i;
          ++wins;
        }
      });
    }
    for (std::thread& writer : writers) writer.join();
    EXPECT_EQ(wins, 1);
    EXPECT_EQ(text(key), std::to_string(won.load()));
  }
}

TEST_P(EveryStore, ListsByPrefixInOrder) {
  for (const char* key : {"wal/t/2", "wal/t/10", "wal/u/1", "x", "wal/t-2/1"}) {
    ASSERT_TRUE(store_->put(key, as_bytes(key), PutMode::kReplace));
  }
  const auto keys = [&](std::string_view prefix) {
    std::vector<std::string> all;
    const auto found = store_->list(prefix);
    EXPECT_TRUE(found);
    for (const ObjectInfo& object : *found) {
      EXPECT_EQ(object.size, object.key.size());
      all.push_back(object.key);
    }
    return all;
  };
  EXPECT_EQ(keys("wal/t/"), (std::vector<std::string>{"wal/t/10", "wal/t/2"}));
  EXPECT_EQ(keys("wal/t/1"), (std::vector<std::string>{"wal/t/10"}));
  EXPECT_EQ(keys("wal/t"), (std::vector<std::string>{"wal/t-2/1", "wal/t/10", "wal/t/2"}));
  EXPECT_EQ(keys("nothing/"), std::vector<std::string>{});
  EXPECT_EQ(keys("").size(), 5u);
}

TEST_P(EveryStore, RefusesWhatIsNoKey) {
  for (const char* key : {"", "/", "a/", "/a", "a//b", "..", "a/../b", ".a", "a/.uploads/b", "a b", "a\n", "ä"}) {
    EXPECT_EQ(store_->put(key, {}, PutMode::kReplace).error().code, ErrorCode::kInvalid) << key;
    EXPECT_FALSE(store_->get(key)) << key;
  }
  EXPECT_FALSE(store_->put(std::string(513, 'a'), {}, PutMode::kReplace));
}

INSTANTIATE_TEST_SUITE_P(All, EveryStore, ::testing::Values("memory", "directory"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace helium
