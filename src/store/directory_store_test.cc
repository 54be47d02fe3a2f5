#include "store/directory_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "io/durable_file.h"

namespace helium {
namespace {

namespace fs = std::filesystem;

class Directory : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/helium_store_test_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    std::error_code ignored;
    fs::permissions(folder_, fs::perms::owner_all, ignored);
    fs::remove_all(folder_, ignored);
  }
  std::unique_ptr<DirectoryStore> open() {
    auto store = DirectoryStore::open(folder_);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  size_t uploads() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_ / ".uploads"), fs::directory_iterator()));
  }
  fs::path folder_;
};

// Goal: a writer that is killed leaves whole objects only, and what else it left goes away.
// Method: kill -9 a process that puts objects of one byte repeated, at random moments; look at what is there.
TEST_F(Directory, AKilledWriterLeavesWholeObjectsOnly) {
  constexpr size_t kSize = 300'000;
  for (int round = 0; round < 15; ++round) {
    const pid_t writer = fork();
    if (writer == 0) {
      auto store = DirectoryStore::open(folder_);
      for (int i = 0;; ++i) {
        const Bytes content(kSize, static_cast<std::byte>('a' + i % 20));
        [[maybe_unused]] const Status put = (*store)->put(
            "k/" + std::to_string(i % 7), content, i % 2 == 0 ? PutMode::kReplace : PutMode::kIfAbsent);
      }
    }
    usleep(static_cast<useconds_t>(2000 + 3100 * round));
    kill(writer, SIGKILL);
    waitpid(writer, nullptr, 0);
    const auto store = open();
    EXPECT_EQ(uploads(), 0u);
    const auto objects = store->list("");
    ASSERT_TRUE(objects);
    for (const ObjectInfo& object : *objects) {
      const auto content = store->get(object.key);
      ASSERT_TRUE(content);
      ASSERT_EQ(content->size(), kSize) << object.key;
      EXPECT_EQ(*content, Bytes(kSize, content->front())) << object.key;
    }
  }
}

TEST_F(Directory, OpeningLeavesTheUploadsOfOthersAlone) {
  const auto store = open();
  { std::ofstream(folder_ / ".uploads" / "abandoned") << "half"; }
  const auto running = open_file(folder_ / ".uploads" / "running", O_CREAT | O_WRONLY);
  ASSERT_TRUE(running);
  ASSERT_EQ(flock(running->get(), LOCK_EX | LOCK_NB), 0);
  open();
  EXPECT_FALSE(fs::exists(folder_ / ".uploads" / "abandoned"));
  EXPECT_TRUE(fs::exists(folder_ / ".uploads" / "running"));
  EXPECT_TRUE(store->list("")->empty()) << "uploads are no objects";
}

TEST_F(Directory, SeveralOpeningsAreOneStore) {
  const auto one = open(), two = open();
  ASSERT_TRUE(one->put("a/b", as_bytes("x"), PutMode::kIfAbsent));
  EXPECT_EQ(two->put("a/b", as_bytes("y"), PutMode::kIfAbsent).error().code, ErrorCode::kExists);
  EXPECT_EQ(two->list("a/")->size(), 1u);
}

TEST_F(Directory, AStoreThatVanishedIsNotMadeAnew) {
  const auto store = open();
  ASSERT_TRUE(store->put("a", as_bytes("x"), PutMode::kReplace));
  const fs::path elsewhere = folder_.string() + ".away";
  fs::rename(folder_, elsewhere);
  EXPECT_EQ(store->put("a", as_bytes("y"), PutMode::kReplace).error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(fs::exists(folder_));
  fs::rename(elsewhere, folder_);
  ASSERT_TRUE(store->put("a", as_bytes("y"), PutMode::kReplace));
}

TEST_F(Directory, AFailedPutLeavesNothingAndSaysWhichObject) {
  const auto store = open();
  ASSERT_TRUE(store->put("a", as_bytes("x"), PutMode::kReplace));
  const auto failed = store->put("a/b", as_bytes("y"), PutMode::kReplace);  // "a" is no folder
  ASSERT_FALSE(failed);
  EXPECT_EQ(uploads(), 0u);
  EXPECT_EQ(*store->get("a"), Bytes(1, std::byte{'x'}));
}

}  // namespace
}  // namespace helium
