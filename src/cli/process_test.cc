// Goal: a daemon is found and stopped by its pid file, and nobody else ever is.

#include "cli/process.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <thread>

namespace helium::cli {
namespace {

namespace fs = std::filesystem;

class ProcessTest : public testing::Test {
 protected:
  ProcessTest() {
    std::string pattern = (fs::temp_directory_path() / "helium cli test XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    files_ = {folder_, folder_ / "daemon.pid", folder_ / "daemon.log"};
  }
  ~ProcessTest() override {
    signal_daemon(files_.pid_file, SIGKILL);
    wait_until_stopped(files_.pid_file, std::chrono::seconds(5));
    fs::remove_all(folder_);
  }
  void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

  fs::path folder_;
  DaemonFiles files_;
};

TEST_F(ProcessTest, IsFoundSignalledAndForgotten) {
  const Result<pid_t> pid = spawn_daemon({"/bin/sleep", "60"}, files_);
  ASSERT_TRUE(pid) << pid.error().message;
  EXPECT_EQ(running_pid(files_.pid_file), *pid);
  EXPECT_FALSE(wait_until_stopped(files_.pid_file, std::chrono::milliseconds(20)));
  EXPECT_TRUE(signal_daemon(files_.pid_file, SIGTERM));
  EXPECT_TRUE(wait_until_stopped(files_.pid_file, std::chrono::seconds(5)));
  EXPECT_FALSE(fs::exists(files_.pid_file));
  EXPECT_FALSE(signal_daemon(files_.pid_file, SIGTERM));
}

TEST_F(ProcessTest, APidThatBelongsToAnotherProcessIsNeverSignalled) {
  ASSERT_TRUE(spawn_daemon({"/bin/sleep", "60"}, files_));
  const DaemonFiles other{folder_, folder_ / "other.pid", folder_ / "other.log"};
  const Result<pid_t> bystander = spawn_daemon({"/bin/sleep", "60"}, other);
  ASSERT_TRUE(bystander);
  // The daemon's file now names the bystander's pid, as if the number had been given out again.
  write(files_.pid_file, std::to_string(*bystander) + "\n");
  EXPECT_EQ(running_pid(files_.pid_file), std::nullopt);
  EXPECT_FALSE(signal_daemon(files_.pid_file, SIGKILL));
  EXPECT_FALSE(has_exited(*bystander));
  // Same pid, other start time.
  write(fs::path(files_.pid_file) += ".identity", std::to_string(*bystander) + " started 1 boot x\n");
  EXPECT_FALSE(signal_daemon(files_.pid_file, SIGKILL));
  EXPECT_FALSE(has_exited(*bystander));
  EXPECT_TRUE(signal_daemon(other.pid_file, SIGKILL));
  EXPECT_TRUE(wait_until_stopped(other.pid_file, std::chrono::seconds(5)));
}

TEST_F(ProcessTest, GarbageInAPidFileMeansNotRunning) {
  for (const char* text : {"", "\n", "-1\n", "0\n", "1\n", "abc", "99999999999999\n"}) {
    write(files_.pid_file, text);
    EXPECT_EQ(running_pid(files_.pid_file), std::nullopt) << text;
    EXPECT_FALSE(signal_daemon(files_.pid_file, SIGKILL)) << text;
  }
}

TEST_F(ProcessTest, OutputGoesToTheLogAndItsTailIsFound) {
  const Result<pid_t> pid = spawn_daemon({"/bin/sh", "-c", "pwd; for i in 1 2 3 4; do echo line $i >&2; done"}, files_);
  ASSERT_TRUE(pid);
  for (int i = 0; i < 500 && !has_exited(*pid); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(log_tail(files_.log_file, 0, 2), "  line 3\n  line 4\n");
  EXPECT_THAT(log_tail(files_.log_file, 0, 99), testing::HasSubstr(folder_.string()));
  EXPECT_EQ(log_tail(files_.log_file, fs::file_size(files_.log_file), 5), "");
  EXPECT_EQ(log_tail(folder_ / "none", 0, 5), "");
}

TEST_F(ProcessTest, AProgramThatCannotRunIsAnErrorHere) {
  const Result<pid_t> pid = spawn_daemon({"/no/such/program"}, files_);
  ASSERT_FALSE(pid);
  EXPECT_THAT(pid.error().message, testing::HasSubstr("/no/such/program"));
}

TEST_F(ProcessTest, AZombieCountsAsEnded) {
  const Result<pid_t> pid = spawn_daemon({"/bin/true"}, files_);
  ASSERT_TRUE(pid);
  for (int i = 0; i < 500 && running_pid(files_.pid_file); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(running_pid(files_.pid_file), std::nullopt);
}

// Goal: whoever starts a daemon anew right after 'kill -9' is not told that it runs. Method: a process that needs a while to
// give its memory back.
TEST_F(ProcessTest, AProcessThatWasKilledAMomentAgoCountsAsEnded) {
  const Result<pid_t> pid = spawn_daemon({"/usr/bin/tail", "/dev/zero"}, files_);  // looks for a line's end, and keeps all
  ASSERT_TRUE(pid);
  constexpr uint64_t kPages = 5'000;
  uint64_t size = 0, resident = 0;
  while (resident < kPages) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_FALSE(has_exited(*pid));
    std::ifstream(fmt::format("/proc/{}/statm", *pid)) >> size >> resident;
  }
  EXPECT_EQ(running_pid(files_.pid_file), *pid);
  ASSERT_EQ(kill(*pid, SIGKILL), 0);
  EXPECT_EQ(running_pid(files_.pid_file), std::nullopt);
}

}  // namespace
}  // namespace helium::cli
