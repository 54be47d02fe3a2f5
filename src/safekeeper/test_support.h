// For tests: WAL to append, and a cluster of real safekeeper processes in a temporary folder.

#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "http/client.h"
#include "io/net.h"
#include "pg/constants.h"
#include "pg/wal_build.h"
#include "walclient/wal_proposer.h"

extern char** environ;

namespace helium::safekeeper::test {

inline constexpr uint64_t kSystemId = 7'000'000'000'000'000'001;
inline constexpr int kPgVersion = 15;
inline const Lsn kStart(0x1000028 + 0x100);

// A folder that goes away with the object.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "helium-wal-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Builds WAL as a compute would: each call gives the bytes of one more record.
class WalMaker {
 public:
  explicit WalMaker(Lsn start, uint8_t filler = 'a') : end_(start), filler_(filler) {}
  Lsn end() const { return end_; }
  // The same position, but what follows has other bytes of equal length.
  WalMaker fork(uint8_t filler) const {
    WalMaker other = *this;
    other.filler_ = filler;
    return other;
  }

  Bytes record(size_t data_size) {
    const Bytes data(data_size, static_cast<std::byte>(filler_));
    const Lsn start = pg::wal_record_start_after(end_);
    const Bytes record = pg::build_record(static_cast<uint8_t>(pg::Rmgr::kLogicalMsg), 0, 0, prev_, data);
    const Bytes laid = pg::lay_out_record(end_, record, kSystemId, kPgVersion, &end_);
    prev_ = start;
    return laid;
  }
  // Records until at least `bytes` are there.
  Bytes records(size_t bytes, size_t data_size) {
    Bytes all;
    while (all.size() < bytes) {
      const Bytes one = record(data_size);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }

 private:
  Lsn end_;
  Lsn prev_;
  uint8_t filler_;
};

// Below the ports that the kernel gives to outgoing connections, so that none of those takes it before the daemon does.
inline uint16_t free_port() {
  while (true) {
    const auto port = static_cast<uint16_t>(12000 + random_u64() % 20000);
    if (tcp_listen({"127.0.0.1", port})) return port;
  }
}

template <typename Condition>
bool eventually(Condition condition, std::chrono::milliseconds timeout = std::chrono::seconds(10)) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

#ifdef HELIUM_SAFEKEEPER

class Cluster {
 public:
  explicit Cluster(int size, std::string broker = "") : broker_(std::move(broker)) {
    id_ = {random_id<TenantId>(), random_id<TimelineId>()};
    for (int i = 1; i <= size; ++i) nodes_.push_back({.id = i, .pg_port = free_port(), .http_port = free_port()});
    for (int i = 1; i <= size; ++i) start(i);
  }
  ~Cluster() {
    for (const Node& node : nodes_) {
      if (node.pid > 0) {
        ::kill(node.pid, SIGCONT);
        kill(node.id, SIGKILL);
      }
    }
  }

  const TenantTimelineId& id() const { return id_; }
  std::filesystem::path datadir(int n) const { return folder_.path() / fmt::format("sk{}", n); }
  std::filesystem::path timeline_folder(int n) const {
    return datadir(n) / to_string(id_.tenant) / to_string(id_.timeline);
  }
  std::filesystem::path log(int n) const { return folder_.path() / fmt::format("sk{}.log", n); }
  std::filesystem::path folder() const { return folder_.path(); }
  HostPort pg(int n) const { return {"127.0.0.1", nodes_.at(n - 1).pg_port}; }
  HostPort http(int n) const { return {"127.0.0.1", nodes_.at(n - 1).http_port}; }

  void start(int n) {
    Node& node = nodes_.at(n - 1);
    std::vector<std::string> arguments{HELIUM_SAFEKEEPER,
                                       "--id", std::to_string(n),
                                       "--datadir", datadir(n).string(),
                                       "--listen-pg", to_string(pg(n)),
                                       "--listen-http", to_string(http(n))};
    if (!broker_.empty()) arguments.insert(arguments.end(), {"--broker", broker_});
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, log(n).c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    CHECK(posix_spawn(&node.pid, HELIUM_SAFEKEEPER, &actions, nullptr, argv.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    CHECK(eventually([&] {
      const auto answer = http::request(http(n), "GET", "/v1/status", "", Timeout(1000));
      return answer && answer->status == 200;
    }));
  }
  pid_t pid(int n) const { return nodes_.at(n - 1).pid; }
  // Sends the signal; waits for the end unless it is SIGSTOP or SIGCONT. Returns the exit status.
  int kill(int n, int signal) {
    Node& node = nodes_.at(n - 1);
    ::kill(node.pid, signal);
    int status = 0;
    if (signal == SIGSTOP) waitpid(node.pid, &status, WUNTRACED);  // threads run on until the first has noticed
    if (signal == SIGSTOP || signal == SIGCONT) return 0;
    waitpid(node.pid, &status, 0);
    node.pid = -1;
    return status;
  }

  std::string members() const {
    std::string text;
    for (const Node& node : nodes_) {
      text += fmt::format(R"({}{{"id":{},"host":"127.0.0.1","pg_port":{},"http_port":{}}})", text.empty() ? "" : ",",
                          node.id, node.pg_port, node.http_port);
    }
    return text;
  }
  std::string create_body(Lsn start) const {
    return fmt::format(R"({{"tenant_id":"{}","timeline_id":"{}","pg_version":15,"system_id":"{}","start_lsn":"{}",)"
                       R"("members":[{}],"generation":1}})",
                       to_string(id_.tenant), to_string(id_.timeline), kSystemId, to_string(start), members());
  }
  void create_timeline(Lsn start = kStart) {
    for (const Node& node : nodes_) {
      const auto answer =
          http::expect_ok(http::request(http(node.id), "POST", "/v1/tenant/timeline", create_body(start)));
      ASSERT_TRUE(answer.has_value()) << answer.error().message;
    }
  }
  std::string timeline_path() const {
    return fmt::format("/v1/tenant/{}/timeline/{}", to_string(id_.tenant), to_string(id_.timeline));
  }
  // The body of GET timeline; empty if it cannot be had.
  std::string status(int n) const {
    const auto body = http::expect_ok(http::request(http(n), "GET", timeline_path(), "", Timeout(2000)));
    return body ? *body : "";
  }
  // A text field of it.
  std::string field(int n, const std::string& name) const {
    const std::string body = status(n);
    const size_t at = body.find("\"" + name + "\":\"");
    if (at == std::string::npos) return "";
    const size_t start = at + name.size() + 4;
    return body.substr(start, body.find('"', start) - start);
  }
  walclient::WalProposer::Options proposer_options() const {
    walclient::WalProposer::Options options{.timeline = id_, .pg_version = kPgVersion, .system_id = kSystemId};
    for (const Node& node : nodes_) {
      options.safekeepers.push_back({static_cast<uint64_t>(node.id), {"127.0.0.1", node.pg_port}});
    }
    return options;
  }

 private:
  struct Node {
    int id;
    uint16_t pg_port, http_port;
    pid_t pid = -1;
  };
  TempFolder folder_;
  std::string broker_;
  TenantTimelineId id_;
  std::vector<Node> nodes_;
};

#endif

}  // namespace helium::safekeeper::test
