// Real safekeeper processes, real proposers and readers: commits go on and nothing acknowledged is lost, whatever
// minority dies or stops.

#ifdef HELIUM_SAFEKEEPER

#include <fstream>
#include <sstream>

#include "broker/server.h"
#include "io/durable_file.h"
#include "safekeeper/test_support.h"
#include "walclient/pg_socket.h"
#include "walclient/wal_feed.h"

namespace helium::safekeeper {
namespace {

using namespace std::chrono_literals;
using test::Cluster;
using test::eventually;
using test::kStart;
using test::WalMaker;
using walclient::WalFeed;
using walclient::WalProposer;

constexpr Timeout kElection = 10s;

// Reads the feed of safekeeper n from `start` until `upto`; the bytes.
Result<Bytes> read_feed(const Cluster& cluster, int n, Lsn start, Lsn upto) {
  HELIUM_ASSIGN(auto feed, WalFeed::connect(cluster.pg(n), cluster.id(), start, 5s));
  Bytes all;
  while (start + all.size() < upto) {
    HELIUM_ASSIGN(auto event, feed->next(5s));
    if (const auto* wal = std::get_if<WalFeed::Wal>(&event)) {
      if (wal->commit_lsn < wal->start + wal->bytes.size()) return fail(ErrorCode::kCorrupt, "uncommitted WAL leaked");
      all.insert(all.end(), wal->bytes.begin(), wal->bytes.end());
    } else if (const auto* keepalive = std::get_if<WalFeed::Keepalive>(&event)) {
      HELIUM_TRY(feed->feedback(start + all.size(), keepalive->commit_lsn));
    }
  }
  return all;
}

TEST(Cluster, CommittedWalIsReadBackFromEverySafekeeper) {
  Cluster cluster(3);
  cluster.create_timeline();
  std::atomic<uint64_t> told = 0;
  auto options = cluster.proposer_options();
  options.on_commit = [&](Lsn lsn) { told = lsn.bytes(); };
  WalProposer proposer(options);
  const auto elected = proposer.elect(kElection);
  ASSERT_TRUE(elected.has_value()) << elected.error().message;
  EXPECT_EQ(elected->term, 1u);
  EXPECT_EQ(elected->start_lsn, kStart);
  EXPECT_EQ(elected->timeline_start, kStart);
  EXPECT_EQ(elected->system_id, test::kSystemId);
  EXPECT_EQ(proposer.commit_lsn(), kStart);

  // More than a segment, in records of all sizes.
  WalMaker maker(kStart);
  Bytes all;
  for (int i = 0; i < 200; ++i) {
    const Lsn at = maker.end();
    const Bytes wal = maker.record(i % 50 == 7 ? 3'000'000 : 17 * i + 1);
    proposer.append(at, wal);
    all.insert(all.end(), wal.begin(), wal.end());
  }
  ASSERT_TRUE(proposer.wait_commit(maker.end(), 20s));
  EXPECT_TRUE(eventually([&] { return told == maker.end().bytes(); }));
  for (int n = 1; n <= 3; ++n) {
    const auto read = read_feed(cluster, n, kStart, maker.end());
    ASSERT_TRUE(read.has_value()) << n << ": " << read.error().message;
    EXPECT_TRUE(*read == all) << n;
  }
  proposer.stop();
  for (int n = 1; n <= 3; ++n) EXPECT_EQ(cluster.kill(n, SIGTERM), 0);
}

TEST(Cluster, KilledSafekeepersComeBackAndCatchUp) {
  Cluster cluster(3);
  cluster.create_timeline();
  auto options = cluster.proposer_options();
  options.buffer_bytes = 1024 * 1024;  // so that a safekeeper that was away needs a donor
  WalProposer proposer(options);
  ASSERT_TRUE(proposer.elect(kElection).has_value());
  WalMaker maker(kStart);
  Bytes all;
  const auto append = [&](size_t bytes) {
    const Lsn at = maker.end();
    const Bytes wal = maker.records(bytes, 500);
    proposer.append(at, wal);
    all.insert(all.end(), wal.begin(), wal.end());
  };
  append(10000);
  ASSERT_TRUE(proposer.wait_commit(maker.end(), 5s));

  for (int victim : {1, 2, 3}) {
    cluster.kill(victim, SIGKILL);
    append(4 * 1024 * 1024);
    ASSERT_TRUE(proposer.wait_commit(maker.end(), 10s)) << "with safekeeper " << victim << " dead";
    cluster.start(victim);
    ASSERT_TRUE(eventually([&] { return cluster.field(victim, "commit_lsn") == to_string(maker.end()); }))
        << cluster.status(victim);
    const auto read = read_feed(cluster, victim, kStart, maker.end());
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_TRUE(*read == all);
  }
}

TEST(Cluster, AStoppedMinorityDoesNotStallCommitsAndAStoppedMajorityOnlyDelaysThem) {
  Cluster cluster(3);
  cluster.create_timeline();
  WalProposer proposer(cluster.proposer_options());
  ASSERT_TRUE(proposer.elect(kElection).has_value());
  WalMaker maker(kStart);
  const auto append = [&] {
    const Lsn at = maker.end();
    proposer.append(at, maker.record(1000));
  };
  append();
  ASSERT_TRUE(proposer.wait_commit(maker.end(), 5s));

  cluster.kill(3, SIGSTOP);
  for (int i = 0; i < 100; ++i) {
    append();
    ASSERT_TRUE(proposer.wait_commit(maker.end(), 1s)) << i;
  }
  cluster.kill(2, SIGSTOP);
  const Lsn before = proposer.commit_lsn();
  append();
  EXPECT_EQ(proposer.wait_commit(maker.end(), 300ms).error().code, ErrorCode::kTimeout);
  EXPECT_EQ(proposer.commit_lsn(), before);
  cluster.kill(3, SIGCONT);
  EXPECT_TRUE(proposer.wait_commit(maker.end(), 5s));
  cluster.kill(2, SIGCONT);
}

TEST(Cluster, ASecondProposerTakesOverAndTheFirstIsToldAtOnce) {
  Cluster cluster(3);
  cluster.create_timeline();
  std::atomic<uint64_t> fenced_by = 0;
  auto options = cluster.proposer_options();
  options.on_fenced = [&](uint64_t term) { fenced_by = term; };
  WalProposer first(options);
  ASSERT_TRUE(first.elect(kElection).has_value());
  WalMaker maker(kStart);
  Lsn at = maker.end();
  const Bytes committed = maker.record(5000);
  first.append(at, committed);
  ASSERT_TRUE(first.wait_commit(maker.end(), 5s));
  const Lsn x = maker.end();

  WalProposer second(cluster.proposer_options());
  const auto elected = second.elect(kElection);
  ASSERT_TRUE(elected.has_value()) << elected.error().message;
  EXPECT_EQ(elected->term, 2u);
  EXPECT_EQ(elected->start_lsn, x);
  EXPECT_EQ(elected->start_lsn, second.commit_lsn());
  EXPECT_TRUE(eventually([&] { return fenced_by == 2; }, 500ms));

  // What the first one still has is nobody's WAL any more: equal length, other bytes.
  WalMaker late = maker.fork('x'), next = maker.fork('y');
  first.append(x, late.record(3000));
  const Bytes fresh = next.record(3000);
  second.append(x, fresh);
  ASSERT_TRUE(second.wait_commit(next.end(), 5s));
  EXPECT_EQ(first.wait_commit(late.end(), 100ms).error().code, ErrorCode::kFenced);
  for (int n = 1; n <= 3; ++n) {
    const auto read = read_feed(cluster, n, x, next.end());
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_TRUE(*read == fresh);
  }
}

TEST(Cluster, WalOnAMinorityIsCutOffByTheNextTerm) {
  Cluster cluster(3);
  cluster.create_timeline();
  WalMaker maker(kStart, 'a');
  {
    WalProposer first(cluster.proposer_options());
    ASSERT_TRUE(first.elect(kElection).has_value());
    Lsn at = maker.end();
    first.append(at, maker.record(100));
    ASSERT_TRUE(first.wait_commit(maker.end(), 5s));
    ASSERT_TRUE(eventually([&] { return cluster.field(1, "flush_lsn") == to_string(maker.end()); }));
    ASSERT_TRUE(eventually([&] { return cluster.field(2, "flush_lsn") == to_string(maker.end()); }));
    ASSERT_TRUE(eventually([&] { return cluster.field(3, "flush_lsn") == to_string(maker.end()); }));
    cluster.kill(2, SIGKILL);
    cluster.kill(3, SIGKILL);
    WalMaker alone = maker;
    first.append(maker.end(), alone.records(100'000, 700));
    ASSERT_TRUE(eventually([&] { return cluster.field(1, "flush_lsn") == to_string(alone.end()); }));
    EXPECT_EQ(first.commit_lsn(), maker.end());
  }
  cluster.kill(1, SIGKILL);
  cluster.start(2);
  cluster.start(3);
  WalProposer second(cluster.proposer_options());
  const auto elected = second.elect(kElection);
  ASSERT_TRUE(elected.has_value()) << elected.error().message;
  EXPECT_EQ(elected->start_lsn, maker.end());
  WalMaker next = maker.fork('b');
  const Bytes fresh = next.records(5000, 700);
  second.append(maker.end(), fresh);
  ASSERT_TRUE(second.wait_commit(next.end(), 5s));
  cluster.start(1);
  ASSERT_TRUE(eventually([&] { return cluster.field(1, "commit_lsn") == to_string(next.end()); })) << cluster.status(1);
  const auto read = read_feed(cluster, 1, maker.end(), next.end());
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_TRUE(*read == fresh);
}

TEST(Cluster, StockPgReceivewalFollowsAndItsFilesAreTheSafekeepersBytes) {
  const std::string tool = "/usr/lib/postgresql/15/bin/pg_receivewal";
  if (!std::filesystem::exists(tool)) GTEST_SKIP() << "no pg_receivewal";
  Cluster cluster(3);
  cluster.create_timeline();
  WalProposer proposer(cluster.proposer_options());
  ASSERT_TRUE(proposer.elect(kElection).has_value());
  const std::filesystem::path target = cluster.folder() / "received";
  std::filesystem::create_directory(target);
  const std::string connection =
      fmt::format("host=127.0.0.1 port={} user=x options='-c tenant_id={} -c timeline_id={}'", cluster.pg(2).port,
                  to_string(cluster.id().tenant), to_string(cluster.id().timeline));
  const std::string log = (cluster.folder() / "pg_receivewal.log").string();
  WalMaker maker(kStart);
  const auto run = [&](const std::string& connect) {
    // It ends when it has more than --endpos.
    return std::system(fmt::format("timeout 20 {} -D {} -d \"{}\" --no-loop --endpos={} -v >{} 2>&1", tool,
                                   target.string(), connect, to_string(Lsn(maker.end().bytes() - 8)), log)
                           .c_str());
  };
  // It begins with the segment of that moment, so it is started once in each.
  for (const size_t bytes : {size_t{500'000}, size_t{17 * 1024 * 1024}}) {
    const Lsn at = maker.end();
    proposer.append(at, maker.records(bytes, 100'000));
    ASSERT_TRUE(proposer.wait_commit(maker.end(), 20s));
    ASSERT_TRUE(eventually([&] { return cluster.field(2, "commit_lsn") == to_string(maker.end()); }));
    ASSERT_EQ(run(connection), 0) << *read_text_file(log);
  }
  for (const std::string name : {"000000010000000000000001", "000000010000000000000002"}) {
    const bool whole = std::filesystem::exists(target / name);
    const auto received = read_file(target / (whole ? name : name + ".partial"));
    const auto kept = read_file(cluster.timeline_folder(2) / name);
    ASSERT_TRUE(received.has_value()) << *read_text_file(log);
    EXPECT_TRUE(*received == *kept) << name;
  }

  // Without a timeline it is told what is missing.
  EXPECT_NE(run(fmt::format("host=127.0.0.1 port={} user=x", cluster.pg(2).port)), 0);
  EXPECT_NE(read_text_file(log)->find("timeline_id"), std::string::npos) << *read_text_file(log);
}

TEST(Cluster, DamagedSyncedWalRefusesItsTimelineAndNamesThePlace) {
  Cluster cluster(1);
  cluster.create_timeline();
  WalMaker maker(kStart);
  {
    WalProposer proposer(cluster.proposer_options());
    ASSERT_TRUE(proposer.elect(kElection).has_value());
    proposer.append(kStart, maker.records(300'000, 500));
    ASSERT_TRUE(proposer.wait_commit(maker.end(), 5s));
  }
  ASSERT_EQ(cluster.kill(1, SIGTERM), 0);
  {
    std::fstream file(cluster.timeline_folder(1) / "000000010000000000000001", std::ios::in | std::ios::out);
    file.seekp(100'000);
    file.write("damage", 6);
  }
  cluster.start(1);
  // It was closed cleanly, so its first use finds the damage; from then on it is known.
  WalProposer proposer(cluster.proposer_options());
  const auto elected = proposer.elect(3s);
  ASSERT_FALSE(elected.has_value());
  EXPECT_EQ(elected.error().code, ErrorCode::kCorrupt) << elected.error().message;
  EXPECT_EQ(cluster.status(1), "");
  const auto list = http::expect_ok(http::request(cluster.http(1), "GET", "/v1/timeline"));
  ASSERT_TRUE(list.has_value());
  EXPECT_NE(list->find("\"broken\""), std::string::npos);
  EXPECT_NE(list->find("segment 000000010000000000000001 offset 99"), std::string::npos) << *list;
  // Others go on.
  const std::string other = fmt::format(
      R"({{"tenant_id":"{}","timeline_id":"{}","pg_version":15,"system_id":"5","start_lsn":"0/2000028","members":[{}]}})",
      to_string(random_id<TenantId>()), to_string(random_id<TimelineId>()), cluster.members());
  EXPECT_TRUE(http::expect_ok(http::request(cluster.http(1), "POST", "/v1/tenant/timeline", other)).has_value());
}

TEST(Cluster, TimelinesAreMadeByOrderOnlyAndDeletedForEver) {
  Cluster cluster(1);
  WalProposer early(cluster.proposer_options());
  const auto refused = early.elect(3s);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kNotFound) << refused.error().message;

  cluster.create_timeline();
  cluster.create_timeline();  // the same again is fine
  const auto other = http::request(cluster.http(1), "POST", "/v1/tenant/timeline", cluster.create_body(Lsn(0x2000000)));
  EXPECT_EQ(other->status, 409);
  EXPECT_EQ(http::request(cluster.http(1), "DELETE", cluster.timeline_path())->status, 200);
  EXPECT_EQ(http::request(cluster.http(1), "DELETE", cluster.timeline_path())->status, 200);
  EXPECT_EQ(http::request(cluster.http(1), "GET", cluster.timeline_path())->status, 404);
  EXPECT_EQ(http::request(cluster.http(1), "POST", "/v1/tenant/timeline", cluster.create_body(kStart))->status, 409);
  cluster.kill(1, SIGKILL);
  cluster.start(1);
  EXPECT_EQ(http::request(cluster.http(1), "POST", "/v1/tenant/timeline", cluster.create_body(kStart))->status, 409);
}

TEST(Cluster, WithoutAComputeMembersCatchUpFromPeersAndFindTheCommitThemselves) {
  const auto broker = broker::BrokerServer::start({"127.0.0.1", 0});
  ASSERT_TRUE(broker.has_value());
  Cluster cluster(3, fmt::format("127.0.0.1:{}", (*broker)->port()));
  cluster.create_timeline();
  WalMaker maker(kStart);
  {
    WalProposer proposer(cluster.proposer_options());
    ASSERT_TRUE(proposer.elect(kElection).has_value());
    proposer.append(kStart, maker.record(100));
    ASSERT_TRUE(proposer.wait_commit(maker.end(), 5s));
    ASSERT_TRUE(eventually([&] { return cluster.field(3, "commit_lsn") == to_string(maker.end()); }));
    cluster.kill(3, SIGKILL);
    const Lsn at = maker.end();
    proposer.append(at, maker.records(200'000, 900));
    ASSERT_TRUE(proposer.wait_commit(maker.end(), 5s));
    ASSERT_TRUE(eventually([&] { return cluster.field(1, "flush_lsn") == to_string(maker.end()); }));
  }
  cluster.start(3);
  const std::string body =
      fmt::format(R"({{"peer":"{}","log_term":1,"term_history":[{{"term":1,"lsn":"{}"}}],"upto_lsn":"{}"}})",
                  to_string(cluster.pg(1)), to_string(kStart), to_string(maker.end()));
  const auto answer = http::expect_ok(http::request(cluster.http(3), "POST", cluster.timeline_path() + "/catch_up", body));
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_EQ(cluster.field(3, "flush_lsn"), to_string(maker.end()));
  // Only the peers' positions, by the broker, tell safekeeper 3 what is committed.
  EXPECT_TRUE(eventually([&] { return cluster.field(3, "commit_lsn") == to_string(maker.end()); })) << cluster.status(3);
}

// All threads of it: the signal's way to the last one takes a moment.
bool is_stopped(pid_t pid) {
  for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
    std::ifstream file(thread.path() / "stat");
    const std::string stat{std::istreambuf_iterator<char>(file), {}};
    const size_t name_end = stat.rfind(')');
    if (name_end == std::string::npos || stat.compare(name_end, 3, ") T") != 0) return false;
  }
  return true;
}

// What the kernel holds for a connection to `port` of this machine that has not been read by the process there.
uint64_t bytes_waiting(uint16_t port) {
  std::ifstream table("/proc/net/tcp");
  const std::string local = fmt::format(":{:04X}", port);
  uint64_t waiting = 0;
  std::string number, from, to, state, queues;
  for (std::string line; std::getline(table, line);) {
    std::istringstream(line) >> number >> from >> to >> state >> queues;  // queues: TX:RX, hexadecimal
    constexpr const char* kEstablished = "01";
    if (!from.ends_with(local) || state != kEstablished) continue;
    waiting += std::stoull(queues.substr(queues.find(':') + 1), nullptr, 16);
  }
  return waiting;
}

// Goal: what a compute's last breath has put on a majority is found committed with nobody alive to say so.
// Method: safekeepers 1 and 2 are frozen while the last records are in their sockets, the proposer dies, they wake up.
TEST(Cluster, TheLastBreathOfAComputeIsFoundCommitted) {
  const auto broker = broker::BrokerServer::start({"127.0.0.1", 0});
  ASSERT_TRUE(broker.has_value());
  Cluster cluster(3, fmt::format("127.0.0.1:{}", (*broker)->port()));
  cluster.create_timeline();
  WalMaker maker(kStart);
  {
    WalProposer proposer(cluster.proposer_options());
    ASSERT_TRUE(proposer.elect(kElection).has_value());
    proposer.append(kStart, maker.record(100));
    ASSERT_TRUE(proposer.wait_commit(maker.end(), 5s));
    for (int n : {1, 2, 3}) {
      ASSERT_TRUE(eventually([&] { return cluster.field(n, "flush_lsn") == to_string(maker.end()); }));
    }
    cluster.kill(3, SIGKILL);
    cluster.kill(1, SIGSTOP);
    cluster.kill(2, SIGSTOP);
    for (int n : {1, 2}) ASSERT_TRUE(eventually([&] { return is_stopped(cluster.pid(n)); }));
    const Lsn at = maker.end();
    proposer.append(at, maker.record(1000));
    for (int n : {1, 2}) ASSERT_TRUE(eventually([&] { return bytes_waiting(cluster.pg(n).port) >= 1000; }));
    EXPECT_EQ(proposer.commit_lsn(), at);
  }
  cluster.kill(1, SIGCONT);
  cluster.kill(2, SIGCONT);
  for (int n : {1, 2}) {
    EXPECT_TRUE(eventually([&] { return cluster.field(n, "commit_lsn") == to_string(maker.end()); })) << cluster.status(n);
  }
}

// Goal: a full disk stops a safekeeper's acknowledgements, with an error that the proposer hears, and no more.
// Method: the next segment's temporary name leads to /dev/full at two of three safekeepers until the links are gone.
TEST(Cluster, FullDisksDelayCommitsUntilThereIsRoom) {
  Cluster cluster(3);
  cluster.create_timeline();
  WalProposer proposer(cluster.proposer_options());
  ASSERT_TRUE(proposer.elect(kElection).has_value());
  WalMaker maker(kStart);
  proposer.append(kStart, maker.records(7 << 20, 100'000));
  ASSERT_TRUE(proposer.wait_commit(maker.end(), 10s));
  const auto block = [&] {
    for (int n : {1, 2}) {
      std::error_code exists;
      std::filesystem::create_symlink("/dev/full", cluster.timeline_folder(n) / "000000010000000000000002.tmp", exists);
    }
  };
  block();
  const Lsn at = maker.end();
  proposer.append(at, maker.records(10 << 20, 100'000));
  const auto until = std::chrono::steady_clock::now() + 700ms;
  while (std::chrono::steady_clock::now() < until) {
    block();  // each attempt removes it
    std::this_thread::sleep_for(1ms);
  }
  const bool refused = read_text_file(cluster.log(1))->find("No space left on device") != std::string::npos ||
                       read_text_file(cluster.log(2))->find("No space left on device") != std::string::npos;
  EXPECT_TRUE(refused);
  ASSERT_TRUE(proposer.wait_commit(maker.end(), 20s));
  const auto read = read_feed(cluster, 1, at, maker.end());
  EXPECT_TRUE(read.has_value()) << read.error().message;
}

}  // namespace
}  // namespace helium::safekeeper

#endif
