// How long a commit takes, and how much WAL passes, with three real safekeepers on this machine. Not part of the suite:
//   HELIUM_BENCH=1 safekeeper_test --gtest_filter='CommitBench.*'

#ifdef HELIUM_SAFEKEEPER

#include <fcntl.h>

#include <algorithm>

#include "io/durable_file.h"
#include "safekeeper/test_support.h"

namespace helium::safekeeper {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration d) { return std::chrono::duration<double, std::micro>(d).count(); }

void print(const char* what, std::vector<double> times) {
  std::ranges::sort(times);
  std::printf("%s: median %.0f us, 99%% %.0f us\n", what, times[times.size() / 2], times[times.size() * 99 / 100]);
}

TEST(CommitBench, LatencyAtOneClientBesideALocalSync) {
  if (getenv("HELIUM_BENCH") == nullptr) GTEST_SKIP() << "set HELIUM_BENCH=1";
  test::Cluster cluster(3);
  cluster.create_timeline();
  std::vector<double> local;
  {
    const auto file = open_file(cluster.folder() / "local", O_RDWR | O_CREAT);
    ASSERT_TRUE(pwrite_all(*file, Bytes(16 << 20), 0));
    fsync_or_die(*file, "bench");
    const Bytes block(200, std::byte{1});
    for (int i = 0; i < 2000; ++i) {
      const auto begin = Clock::now();
      ASSERT_TRUE(pwrite_all(*file, block, i * 200));
      fdatasync_or_die(*file, "bench");
      local.push_back(microseconds(Clock::now() - begin));
    }
  }
  walclient::WalProposer proposer(cluster.proposer_options());
  const auto begin_election = Clock::now();
  ASSERT_TRUE(proposer.elect(10s).has_value());
  std::printf("election: %.0f us\n", microseconds(Clock::now() - begin_election));
  test::WalMaker maker(test::kStart);
  std::vector<double> commits;
  for (int i = 0; i < 2000; ++i) {
    const Lsn at = maker.end();
    const Bytes wal = maker.record(150);
    const auto begin = Clock::now();
    proposer.append(at, wal);
    ASSERT_TRUE(proposer.wait_commit(maker.end(), 5s));
    commits.push_back(microseconds(Clock::now() - begin));
  }
  print("local write and fdatasync", local);
  print("commit on two of three", commits);

  const Lsn from = maker.end();
  const auto begin = Clock::now();
  for (int i = 0; i < 256; ++i) {
    const Lsn at = maker.end();
    proposer.append(at, maker.records(1 << 20, 1000));
  }
  ASSERT_TRUE(proposer.wait_commit(maker.end(), 120s));
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::printf("bulk: %.0f MB/s\n", static_cast<double>(maker.end() - from) / 1e6 / seconds);
}

}  // namespace
}  // namespace helium::safekeeper

#endif
