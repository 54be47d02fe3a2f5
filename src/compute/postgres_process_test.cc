// Goal: the postmaster's lock file and our environment are read right, and descendants are ended.

#include "compute/postgres_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "compute/log_tail.h"
#include "io/durable_file.h"

namespace helium::compute {
namespace {

TEST(PostmasterStatus, IsTheEighthLine) {
  const std::string head = "4711\n/proc/self/fd/7\n1795000000\n55432\n\n127.0.0.1\n  6553600\n";
  EXPECT_EQ(postmaster_status(head + "ready   \n"), "ready");
  EXPECT_EQ(postmaster_status(head + "starting\n"), "starting");
  EXPECT_EQ(postmaster_status(head), "");
  EXPECT_EQ(postmaster_status("4711\n/x\n"), "");
  EXPECT_EQ(postmaster_status(""), "");
}

TEST(CleanEnvironment, DropsWhatWouldChangeHowPostgresRuns) {
  ::setenv("PGDATA", "/elsewhere", 1);
  ::setenv("LD_PRELOAD_NOT", "x", 1);
  ::setenv("LC_TIME", "de_DE", 1);
  ::setenv("KEPT_BY_US", "1", 1);
  const std::vector<std::string> environment = clean_environment();
  const auto has = [&](std::string_view start) {
    return std::ranges::any_of(environment, [&](const std::string& entry) { return entry.starts_with(start); });
  };
  EXPECT_FALSE(has("PGDATA"));
  EXPECT_FALSE(has("LD_"));
  EXPECT_FALSE(has("LC_TIME"));
  EXPECT_TRUE(has("KEPT_BY_US=1"));
  EXPECT_TRUE(has("LC_ALL=C.UTF-8"));
}

TEST(EndDescendants, KillsOrphansThatHaveTheirOwnSession) {
  become_subreaper();
  const pid_t child = ::fork();
  if (child == 0) {
    if (::fork() == 0) {
      ::setsid();
      ::pause();
    }
    ::_exit(0);
  }
  ASSERT_GT(child, 0);
  EXPECT_TRUE(end_descendants(5));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST(LogTail, GivesTheLastLines) {
  char name[] = "/tmp/helium-tail-XXXXXX";
  const Fd file(::mkstemp(name));
  ASSERT_TRUE(pwrite_all(file, as_bytes("one\ntwo\nthree\nfour\n"), 0));
  EXPECT_EQ(last_lines(name, 2), "three\nfour");
  EXPECT_EQ(last_lines(name, 9), "one\ntwo\nthree\nfour");
  EXPECT_EQ(last_lines("/nowhere", 2), "");
  ::unlink(name);
}

}  // namespace
}  // namespace helium::compute
