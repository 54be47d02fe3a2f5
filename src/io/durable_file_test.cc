#include "io/durable_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace helium {
namespace {

namespace fs = std::filesystem;

class DurableFile : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/helium_io_test_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  size_t files() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator())); }
  fs::path folder_;
};

TEST_F(DurableFile, TheNewContentReplacesTheOldAndLeavesNothingElse) {
  const fs::path path = folder_ / "state";
  EXPECT_EQ(read_file(path).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(write_durable(path, as_bytes("one")));
  EXPECT_EQ(read_text_file(path), "one");
  ASSERT_TRUE(write_durable(path, as_bytes("a longer second")));
  ASSERT_TRUE(write_durable(path, as_bytes("2")));
  EXPECT_EQ(read_text_file(path), "2");
  ASSERT_TRUE(write_durable(path, {}));
  EXPECT_EQ(read_file(path)->size(), 0u);
  EXPECT_EQ(files(), 1u) << "no temporary file stays";
}

TEST_F(DurableFile, AFailedWriteKeepsTheOldContentAndSaysWhere) {
  const auto status = write_durable(folder_ / "missing" / "state", as_bytes("x"));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kNotFound);
  EXPECT_NE(status.error().message.find("missing"), std::string::npos) << status.error().message;
}

TEST_F(DurableFile, ReadsAndWritesAtPlaces) {
  const auto file = open_file(folder_ / "data", O_RDWR | O_CREAT);
  ASSERT_TRUE(file);
  ASSERT_TRUE(pwrite_all(*file, as_bytes("hello"), 100));
  Bytes bytes(5);
  ASSERT_TRUE(pread_exact(*file, bytes, 100));
  EXPECT_EQ(as_text(bytes), "hello");
  const auto past = pread_exact(*file, bytes, 101);
  ASSERT_FALSE(past);
  EXPECT_EQ(past.error().code, ErrorCode::kTruncated);
  fdatasync_or_die(*file, "data");
  fsync_or_die(*file, "data");
}

TEST_F(DurableFile, FoldersAreMadeWithTheirParents) {
  ASSERT_TRUE(make_folders(folder_ / "a" / "b" / "c"));
  ASSERT_TRUE(make_folders(folder_ / "a" / "b" / "c"));
  EXPECT_TRUE(fs::is_directory(folder_ / "a" / "b" / "c"));
  EXPECT_TRUE(sync_folder(folder_ / "a"));
  ASSERT_TRUE(write_durable(folder_ / "file", {}));
  EXPECT_FALSE(make_folders(folder_ / "file" / "x"));
}

TEST_F(DurableFile, AFullDiskIsAnOrdinaryError) {
  const auto file = open_file("/dev/full", O_WRONLY);
  ASSERT_TRUE(file);
  const auto status = pwrite_all(*file, as_bytes("x"), 0);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kNoSpace);
}

TEST(Fd, ClosesWhatItOwns) {
  int number;
  {
    Fd fd(open("/dev/null", O_RDONLY));
    ASSERT_TRUE(fd);
    number = fd.get();
    Fd moved = std::move(fd);
    EXPECT_FALSE(fd);
    EXPECT_EQ(moved.get(), number);
  }
  EXPECT_EQ(fcntl(number, F_GETFD), -1);
}

}  // namespace
}  // namespace helium
