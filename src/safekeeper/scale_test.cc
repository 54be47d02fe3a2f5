// Goal: a thousand idle timelines cost a safekeeper little memory, and nothing is read of their WAL when it starts.
// Method: make them in a folder, start the real process on it, look at its memory, its metrics and its files. Times are
// printed, not asserted: bench/timelines measures them.

#ifdef HELIUM_SAFEKEEPER

#include <fstream>

#include "safekeeper/offloader.h"
#include "safekeeper/test_support.h"
#include "store/directory_store.h"

namespace helium::safekeeper {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

class Process {
 public:
  Process(const fs::path& folder, const std::vector<std::string>& more) : http_{"127.0.0.1", test::free_port()} {
    const auto begin = Clock::now();
    std::vector<std::string> arguments{HELIUM_SAFEKEEPER, "--id", "1", "--datadir", (folder / "sk1").string(),
                                       "--listen-pg", fmt::format("127.0.0.1:{}", test::free_port()),
                                       "--listen-http", to_string(http_)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, (folder / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    CHECK(posix_spawn(&pid_, HELIUM_SAFEKEEPER, &actions, nullptr, argv.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    CHECK(test::eventually([&] { return !get("/v1/status").empty(); }, std::chrono::seconds(60)));
    started_in = seconds_since(begin);
  }
  ~Process() { end(SIGKILL); }
  void end(int signal) {
    if (pid_ <= 0) return;
    ::kill(pid_, signal);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  std::string get(const std::string& path) const {
    const auto body = http::expect_ok(http::request(http_, "GET", path, "", Timeout(10000)));
    return body ? *body : "";
  }
  // A metric without labels, or with those that `name` brings.
  double metric(const std::string& name) const {
    const std::string all = get("/metrics");
    const size_t at = all.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(all.substr(at + name.size() + 2));
  }
  size_t resident_megabytes() const {
    std::ifstream status(fmt::format("/proc/{}/status", pid_));
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6)) / 1024;
    }
    return 0;
  }
  double started_in = 0;

 private:
  HostPort http_;
  pid_t pid_ = -1;
};

ControlFile new_timeline(size_t history) {
  ControlFile control;
  control.safekeeper_id = 1;
  control.id = {random_id<TenantId>(), random_id<TimelineId>()};
  control.pg_version = test::kPgVersion;
  control.system_id = test::kSystemId;
  control.acceptor.membership.generation = 1;
  control.acceptor.membership.members = {{1, "127.0.0.1", 5454, 7676}, {2, "127.0.0.1", 5455, 7677}, {3, "127.0.0.1", 5456, 7678}};
  for (uint64_t term = 1; term <= history; ++term) control.acceptor.history.push_back({term, test::kStart});
  control.acceptor.term = history;
  control.acceptor.start_lsn = control.acceptor.commit_lsn = test::kStart;
  control.flushed_lsn = control.verify_lsn = control.local_start_lsn = test::kStart;
  return control;
}

TEST(Scale, AThousandIdleTimelinesCostLittleMemoryAndNoReading) {
  constexpr size_t kTimelines = 1000, kUsed = 20;
  test::TempFolder temp;
  const fs::path datadir = temp.path() / "sk1", store = temp.path() / "store";
  auto begin = Clock::now();
  for (size_t i = 0; i < kTimelines; ++i) {
    const ControlFile control = new_timeline(20);
    const fs::path folder = datadir / to_string(control.id.tenant) / to_string(control.id.timeline);
    ASSERT_TRUE(Timeline::create({}, folder, control));
    if (i >= kUsed) continue;
    // Some have WAL, and were put to sleep or closed.
    Metrics metrics;
    auto opened = DirectoryStore::open(store);
    ASSERT_TRUE(opened);
    auto timeline = Timeline::open({.store = std::move(*opened)}, folder, 1, metrics);
    ASSERT_TRUE(timeline);
    const ProposerId proposer = random_id<ProposerId>();
    TermHistory history = control.acceptor.history;
    history.push_back({21, test::kStart});
    ASSERT_TRUE((*timeline)->elected({.generation = 1, .term = 21, .proposer = proposer, .history = history}));
    test::WalMaker maker(test::kStart);
    const Bytes wal = maker.records(500'000, 5000);
    ASSERT_TRUE((*timeline)->append({.generation = 1, .term = 21, .start_lsn = test::kStart, .commit_lsn = maker.end(), .wal = wal}));
    (*timeline)->flush();
    if (i % 2 == 0) {
      ASSERT_TRUE((*timeline)->evict());
    }
  }
  std::printf("%zu timelines made in %.2f s\n", kTimelines, seconds_since(begin));

  const std::vector<std::string> arguments{"--object-store", store.string(), "--evict-idle-after", "2"};
  for (const int signal : {SIGTERM, SIGKILL}) {
    Process process(temp.path(), arguments);
    EXPECT_EQ(process.metric("safekeeper_timelines"), kTimelines);
    EXPECT_EQ(process.metric("safekeeper_recoveries_total"), 0) << "WAL was read";
    EXPECT_FALSE(process.get("/v1/timeline").empty());
    EXPECT_TRUE(test::eventually([&] {
      return process.metric("safekeeper_timelines_by_residency{residency=\"evicted\"}") == kTimelines;
    }, std::chrono::seconds(60))) << "those that were only closed follow";
    EXPECT_EQ(process.metric("safekeeper_recoveries_total"), 0) << "also for that";
    const size_t megabytes = process.resident_megabytes();
    std::printf("started in %.2f s, %zu MB\n", process.started_in, megabytes);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(megabytes, 100u);
#endif
    process.end(signal);
  }
}

}  // namespace
}  // namespace helium::safekeeper

#endif  // HELIUM_SAFEKEEPER
