// Goal: the proposer's threads bring every safekeeper exactly what was appended, whatever the timing.
// Method: safekeepers of the simplest kind in this process, over real sockets; each of them can
// read slowly, or drop its connection.

#include "walclient/wal_proposer.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <list>
#include <mutex>
#include <thread>

#include "io/net.h"
#include "walclient/pg_socket.h"
#include "walclient/wal_proposer_impl.h"
#include "wire/pgwire.h"
#include "wire/wal_commit.h"

namespace helium::walclient {

struct WalProposerInside {
  static void begin_election(WalProposer& proposer) {
    std::unique_lock lock(proposer.impl_->mutex_);
    proposer.impl_->start_peers();
    proposer.impl_->changed.wait(lock, [&] { return proposer.impl_->core.next_term().has_value(); });
    proposer.impl_->ask_for_votes();
  }
};

namespace {

using namespace std::chrono_literals;

const Lsn kEnd(0x1000100);  // where the timeline ends before the test
const wire::Membership kMembership{1, {{1, "", 0, 0}, {2, "", 0, 0}, {3, "", 0, 0}}, {}, {}};
const TenantTimelineId kTimeline{random_id<TenantId>(), random_id<TimelineId>()};

template <typename Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

// Grants every vote of a higher term, keeps all WAL in memory, acknowledges at once.
class FakeSafekeeper {
 public:
  explicit FakeSafekeeper(uint64_t id) : id_(id), listener_(*tcp_listen({"127.0.0.1", 0})), port_(local_port(listener_)) {
    const int small = 4096;  // sends find the socket full soon
    setsockopt(listener_.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    acceptor_ = std::thread([this] { accept_loop(); });
  }
  ~FakeSafekeeper() {
    shutdown_socket(listener_);
    drop_connections();
    acceptor_.join();
    for (std::thread& thread : connections_) thread.join();
  }
  Safekeeper address() const { return {id_, {"127.0.0.1", port_}}; }

  void drop_connections() {
    const std::lock_guard lock(mutex_);
    for (const auto& socket : sockets_) {
      if (const auto live = socket.lock()) live->shutdown();
    }
    sockets_.clear();
  }
  Bytes log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  Lsn told_commit() const {
    const std::lock_guard lock(mutex_);
    return told_commit_;
  }

  std::atomic<int> pause_us = 0;  // before each append is taken

 private:
  void accept_loop() {
    while (Result<Fd> fd = tcp_accept(listener_)) {
      const auto socket = std::make_shared<PgSocket>(std::move(*fd));
      const std::lock_guard lock(mutex_);
      sockets_.push_back(socket);
      connections_.emplace_back([this, socket] { (void)serve(*socket); });
    }
  }
  Status serve(PgSocket& socket) {
    HELIUM_TRY(socket.receive_startup(5s));
    wire::MessageWriter ready;
    ready.begin('Z').text("I").end();
    HELIUM_TRY(socket.send(ready.view()));
    HELIUM_TRY(socket.receive(5s));  // START_WAL_PUSH
    wire::MessageWriter copy;
    HELIUM_TRY(socket.send(copy.copy_both_response().view()));
    while (true) {
      HELIUM_ASSIGN(const auto message, socket.receive(std::nullopt));
      HELIUM_ASSIGN(const wire::ProposerMessage decoded, wire::decode_proposer_message(message->payload));
      const std::optional<wire::AcceptorMessage> answer = std::visit([this](const auto& m) { return on(m); }, decoded);
      if (answer) HELIUM_TRY(socket.send_copy_data({wire::encode(*answer)}));
    }
  }
  std::optional<wire::AcceptorMessage> on(const wire::Greeting& greeting) {
    const std::lock_guard lock(mutex_);
    return wire::GreetingReply{.generation = 1, .safekeeper_id = id_, .term = term_, .pg_version = greeting.pg_version,
                               .system_id = 7, .timeline_start_lsn = kEnd, .membership = kMembership};
  }
  std::optional<wire::AcceptorMessage> on(const wire::TellMembership&) { return std::nullopt; }
  std::optional<wire::AcceptorMessage> on(const wire::VoteRequest& request) {
    const std::lock_guard lock(mutex_);
    term_ = request.term;
    return wire::VoteReply{.generation = 1, .term = term_, .granted = true, .flush_lsn = flush_lsn(), .history = history_};
  }
  std::optional<wire::AcceptorMessage> on(const wire::Elected& message) {
    const std::lock_guard lock(mutex_);
    history_ = message.history;
    return progress();
  }
  std::optional<wire::AcceptorMessage> on(const wire::Append& append) {
    if (pause_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
    const std::lock_guard lock(mutex_);
    told_commit_ = std::max(told_commit_, append.commit_lsn);
    EXPECT_EQ(append.start_lsn, flush_lsn()) << "a gap or an overlap";
    log_.insert(log_.end(), append.wal.begin(), append.wal.end());
    if (!append.wants_reply) return std::nullopt;
    return progress();
  }
  Lsn flush_lsn() const { return kEnd + log_.size(); }
  wire::AppendReply progress() const {
    return {.generation = 1, .term = term_, .log_term = term_, .flush_lsn = flush_lsn(), .commit_lsn = {}};
  }

  const uint64_t id_;
  const Fd listener_;
  const uint16_t port_;
  mutable std::mutex mutex_;
  uint64_t term_ = 0;
  TermHistory history_;
  Bytes log_;
  Lsn told_commit_;
  std::list<std::weak_ptr<PgSocket>> sockets_;
  std::list<std::thread> connections_;
  std::thread acceptor_;
};

struct ThreeSafekeepers {
  FakeSafekeeper one{1}, two{2}, three{3};
  std::vector<FakeSafekeeper*> all() { return {&one, &two, &three}; }
  WalProposer::Options options(size_t buffer_bytes = 64 << 20) {
    return {.timeline = kTimeline, .safekeepers = {one.address(), two.address(), three.address()},
            .buffer_bytes = buffer_bytes};
  }
};

// The other threads may be far ahead of elect()'s: they win, announce, and send news of the commit before it wakes up. (A
// sender then found a buffer that nobody had set to X yet, and sent what happened to be in memory.)
// Here elect() asks for votes and never wakes up.
TEST(WalProposer, SendersThatAreFasterThanElectSendNothingButTheNews) {
  ThreeSafekeepers safekeepers;
  WalProposer proposer(safekeepers.options());
  WalProposerInside::begin_election(proposer);
  for (FakeSafekeeper* each : safekeepers.all()) {
    EXPECT_TRUE(eventually([&] { return each->told_commit() == kEnd; }));
    EXPECT_TRUE(each->log().empty());
  }
  EXPECT_EQ(proposer.commit_lsn(), kEnd);
}

// Pieces of many sizes, full sockets, slow readers, lost connections: each gets every byte once and in order.
TEST(WalProposer, WhatIsAppendedArrivesOnceAndInOrderEverywhere) {
  ThreeSafekeepers safekeepers;
  WalProposer proposer(safekeepers.options());
  ASSERT_TRUE(proposer.elect(20s).has_value());
  safekeepers.two.pause_us = 300;
  safekeepers.three.pause_us = 2000;
  const std::vector<size_t> sizes = {8, 200, 200, 1000, 40'000, 130'000, 8, 300'000, 5000};
  Bytes all;
  Lsn at = kEnd;
  for (int i = 0; i < 300; ++i) {
    Bytes piece(sizes[i % sizes.size()]);
    for (size_t k = 0; k < piece.size(); ++k) piece[k] = static_cast<std::byte>((all.size() + k) * 2654435761u >> 13);
    proposer.append(at, piece);
    all.insert(all.end(), piece.begin(), piece.end());
    at = at + piece.size();
    if (i % 40 == 20) safekeepers.all()[i / 40 % 3]->drop_connections();
    if (i % 3 == 0) {
      ASSERT_TRUE(proposer.wait_commit(at, 20s));
    }
  }
  for (FakeSafekeeper* each : safekeepers.all()) {
    EXPECT_TRUE(eventually([&] { return each->log().size() == all.size(); }));
    EXPECT_TRUE(each->log() == all);
    EXPECT_TRUE(eventually([&] { return each->told_commit() == at; }));
  }
}

}  // namespace
}  // namespace helium::walclient
