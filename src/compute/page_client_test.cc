// Goal: requests are answered whatever happens to the connection, and a fenced compute learns of it at once.
// Method: a small page server on a free port of 127.0.0.1 that the test tells how to behave.

#include "compute/page_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <thread>

#include "compute/pageserver_source.h"

namespace helium::compute {
namespace {

using std::chrono::milliseconds;

// Serves one connection after the other with `serve`, after the greeting.
class FakePageserver {
 public:
  using Serve = std::function<void(const Fd& socket, int connection)>;

  explicit FakePageserver(Serve serve) : serve_(std::move(serve)) {
    Result<Fd> listener = tcp_listen({"127.0.0.1", 0});
    listener_ = std::move(*listener);
    thread_ = std::thread([this] { run(); });
  }
  ~FakePageserver() {
    stopping_ = true;
    shutdown_socket(listener_);
    {
      const std::lock_guard lock(mutex_);
      if (present_) shutdown_socket(*present_);
    }
    thread_.join();
  }
  HostPort address() const { return {"127.0.0.1", local_port(listener_)}; }

  static std::optional<wire::ClientMessage> receive(const Fd& socket) {
    std::array<std::byte, wire::kFrameHeaderSize> head;
    if (!recv_exact(socket, head)) return {};
    const auto header = wire::decode_frame_header(head);
    if (!header) return {};
    Bytes payload(header->payload_size);
    if (!recv_exact(socket, payload)) return {};
    auto message = wire::decode_client_message(header->type, payload);
    if (!message) return {};
    return *message;
  }
  template <typename Message>
  static void reply(const Fd& socket, const Message& message) {
    [[maybe_unused]] const Status sent = send_all(socket, wire::encode(message));
  }

 private:
  void run() {
    for (int connection = 1; !stopping_; ++connection) {
      Result<Fd> accepted = tcp_accept(listener_);
      if (!accepted) return;
      auto socket = std::make_shared<Fd>(std::move(*accepted));
      {
        const std::lock_guard lock(mutex_);
        present_ = socket;
      }
      if (!receive(*socket)) continue;
      serve_(*socket, connection);
      shutdown_socket(*socket);
    }
  }

  Serve serve_;
  Fd listener_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::shared_ptr<Fd> present_;
  std::thread thread_;
};

void greet(const Fd& socket) { FakePageserver::reply(socket, wire::HelloAck{15, Lsn(100)}); }

// Page `blkno` is filled with its number.
void answer_pages(const Fd& socket, const wire::GetPagesRequest& request) {
  std::deque<Bytes> pages;
  wire::GetPagesReply reply{request.request_id, {}};
  for (const uint32_t blkno : request.blknos) {
    pages.emplace_back(wire::kPageSize, static_cast<std::byte>(blkno));
    reply.pages.push_back({std::nullopt, pages.back()});
  }
  FakePageserver::reply(socket, reply);
}

PageClient::Options options_for(const FakePageserver& server) {
  PageClient::Options options;
  options.pageserver = server.address();
  options.term = 7;
  return options;
}

const pg::RelTag kRel{1663, 5, 16384, pg::Fork::kMain};

TEST(PageClient, RequestsSurviveLostConnections) {
  // The first three connections end with a request unanswered.
  FakePageserver server([](const Fd& socket, int connection) {
    greet(socket);
    while (auto message = FakePageserver::receive(socket)) {
      if (connection <= 3) return;
      const auto& request = std::get<wire::RelInfoRequest>(*message);
      FakePageserver::reply(socket, wire::RelInfoReply{request.request_id, {request.relnode, {}, {}, {}}});
    }
  });
  PageClient client(options_for(server));
  std::vector<std::thread> askers;
  std::atomic<int> right{0};
  for (uint32_t relnode = 1; relnode <= 8; ++relnode) {
    askers.emplace_back([&, relnode] {
      const auto reply = client.call<wire::RelInfoReply>(wire::RelInfoRequest{0, 1663, 5, relnode, {}});
      if (reply && reply->nblocks[0] == relnode) right++;
    });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(right, 8);
  EXPECT_GE(client.metrics().connects, 4u);
}

TEST(PageClient, ErrorsThatTimeMayCureAreTriedAgain) {
  std::atomic<int> asked{0};
  FakePageserver server([&](const Fd& socket, int) {
    greet(socket);
    while (auto message = FakePageserver::receive(socket)) {
      const auto& request = std::get<wire::RelInfoRequest>(*message);
      if (++asked < 3) {
        FakePageserver::reply(socket, wire::ErrorReply{request.request_id, {ErrorCode::kTimeout, "not yet"}});
      } else {
        FakePageserver::reply(socket, wire::RelInfoReply{request.request_id, {1, {}, {}, {}}});
      }
    }
  });
  PageClient client(options_for(server));
  const auto reply = client.call<wire::RelInfoReply>(wire::RelInfoRequest{0, 1663, 5, 1, {}});
  ASSERT_TRUE(reply);
  EXPECT_EQ(asked, 3);
}

TEST(PageClient, OtherErrorsReachTheAsker) {
  FakePageserver server([](const Fd& socket, int) {
    greet(socket);
    while (auto message = FakePageserver::receive(socket)) {
      FakePageserver::reply(socket, wire::ErrorReply{std::get<wire::RelInfoRequest>(*message).request_id,
                                                     {ErrorCode::kRedo, "a bad record"}});
    }
  });
  PageClient client(options_for(server));
  const auto reply = client.call<wire::RelInfoReply>(wire::RelInfoRequest{0, 1663, 5, 1, {}});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kRedo);
}

TEST(PageClient, BeingFencedIsToldOnceAndFailsEverything) {
  FakePageserver server([](const Fd& socket, int) {
    greet(socket);
    FakePageserver::receive(socket);
    FakePageserver::reply(socket, wire::ErrorReply{0, {ErrorCode::kFenced, "term 8 was seen"}});
  });
  std::atomic<int> told{0};
  PageClient::Options options = options_for(server);
  options.on_fenced = [&] { told++; };
  PageClient client(options);
  for (int i = 0; i < 3; ++i) {
    const auto reply = client.call<wire::RelInfoReply>(wire::RelInfoRequest{0, 1663, 5, 1, {}});
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::kFenced);
  }
  EXPECT_EQ(told, 1);
}

TEST(PageClient, AnUnknownTimelineIsToldBeforeTheFirstGreeting) {
  FakePageserver server([](const Fd& socket, int) {
    FakePageserver::reply(socket, wire::ErrorReply{0, {ErrorCode::kNotFound, "no such timeline"}});
  });
  PageClient client(options_for(server));
  const auto reply = client.call<wire::BootstrapReply>(wire::BootstrapRequest{0, Lsn(8), ""});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kNotFound);
}

TEST(PageClient, StoppingAnswersWhatIsLeft) {
  FakePageserver server([](const Fd& socket, int) {
    greet(socket);
    while (FakePageserver::receive(socket)) {
    }
  });
  PageClient client(options_for(server));
  std::thread stopper([&] {
    std::this_thread::sleep_for(milliseconds(50));
    client.stop();
  });
  const auto reply = client.call<wire::RelInfoReply>(wire::RelInfoRequest{0, 1663, 5, 1, {}});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kCanceled);
  stopper.join();
}

// ---- PageserverSource

struct Asked {
  std::mutex mutex;
  std::vector<wire::GetPagesRequest> pages;
};

FakePageserver::Serve page_server(Asked& asked) {
  return [&asked](const Fd& socket, int) {
    greet(socket);
    while (auto message = FakePageserver::receive(socket)) {
      if (const auto* request = std::get_if<wire::GetPagesRequest>(&*message)) {
        {
          const std::lock_guard lock(asked.mutex);
          asked.pages.push_back(*request);
        }
        answer_pages(socket, *request);
      } else if (const auto* list = std::get_if<wire::ListRelsRequest>(&*message)) {
        FakePageserver::reply(socket, wire::ListRelsReply{list->request_id, {{{1663, 5, 1259, pg::Fork::kMain}, 10}}});
      }
    }
  };
}

std::map<uint32_t, std::byte> fetch(PageserverSource& source, const pg::RelTag& rel, std::vector<uint32_t> blknos, Lsn since) {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<uint32_t, std::byte> pages;
  const size_t wanted = blknos.size();
  source.get_pages(rel, std::move(blknos), since, [&](uint32_t blkno, Result<ByteView> page) {
    const std::lock_guard lock(mutex);
    pages[blkno] = page ? (*page)[100] : std::byte{0xFF};
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  changed.wait_for(lock, std::chrono::seconds(5), [&] { return pages.size() == wanted; });
  return pages;
}

TEST(PageserverSource, ReadsAtItsOwnHighestPositionAndNeverBelowItsStart) {
  Asked asked;
  FakePageserver server(page_server(asked));
  PageClient client(options_for(server));
  PageserverSource source({&client, Lsn(1000 * 8), [] { return Lsn(5000 * 8); }});
  fetch(source, kRel, {1}, Lsn());
  fetch(source, kRel, {1}, Lsn(2000 * 8));
  fetch(source, kRel, {1}, Lsn(9000 * 8));
  client.stop();
  ASSERT_EQ(asked.pages.size(), 3u);
  EXPECT_EQ(asked.pages[0].at, (wire::ReadAt{Lsn(5000 * 8), Lsn(1000 * 8)}));
  EXPECT_EQ(asked.pages[1].at, (wire::ReadAt{Lsn(5000 * 8), Lsn(2000 * 8)}));
  EXPECT_EQ(asked.pages[2].at, (wire::ReadAt{Lsn(9000 * 8), Lsn(9000 * 8)}));
}

TEST(PageserverSource, CutsLongRequestsIntoSeveral) {
  Asked asked;
  FakePageserver server(page_server(asked));
  PageClient client(options_for(server));
  PageserverSource source({&client, Lsn(8), [] { return Lsn(8); }});
  std::vector<uint32_t> blknos(300);
  for (uint32_t i = 0; i < 300; ++i) blknos[i] = i;
  const auto pages = fetch(source, kRel, blknos, Lsn());
  ASSERT_EQ(pages.size(), 300u);
  for (const auto& [blkno, byte] : pages) EXPECT_EQ(byte, static_cast<std::byte>(blkno));
  client.stop();
  EXPECT_EQ(asked.pages.size(), 3u);
}

TEST(PageserverSource, PrewarmedBlocksAreServedOnceAndOnlyForReadsThatNeedNothingNewer) {
  Asked asked;
  FakePageserver server(page_server(asked));
  PageClient client(options_for(server));
  PageserverSource source({&client, Lsn(800), [] { return Lsn(800); }});
  source.prewarm({5});
  for (int i = 0; i < 500 && source.metrics().prewarm_pages < 10; ++i) std::this_thread::sleep_for(milliseconds(10));
  ASSERT_EQ(source.metrics().prewarm_pages, 10u);
  const pg::RelTag pg_class{1663, 5, 1259, pg::Fork::kMain};
  EXPECT_EQ(fetch(source, pg_class, {3, 4}, Lsn()), (std::map<uint32_t, std::byte>{{3, std::byte{3}}, {4, std::byte{4}}}));
  EXPECT_EQ(source.metrics().prewarm_hits, 2u);
  EXPECT_EQ(fetch(source, pg_class, {3}, Lsn()).size(), 1u) << "asked again: from the pageserver";
  EXPECT_EQ(fetch(source, pg_class, {5}, Lsn(1600)).size(), 1u) << "changed since: from the pageserver";
  EXPECT_EQ(source.metrics().prewarm_hits, 2u);
  const Result<vfs::ForkSizes> sizes = source.rel_info(1663, 5, 1259, Lsn());
  ASSERT_TRUE(sizes);
  EXPECT_EQ((*sizes)[0], 10u);
  source.drop_prewarmed();
  EXPECT_EQ(fetch(source, pg_class, {7}, Lsn()).size(), 1u);
  EXPECT_EQ(source.metrics().prewarm_hits, 2u);
  client.stop();
}

TEST(PageserverSource, AnInsertPositionBehindAPageHeaderMeansTheRecordThatEndedBeforeIt) {
  EXPECT_EQ(record_end_at_or_before(Lsn(8192 * 3 + 24)), Lsn(8192 * 3));
  EXPECT_EQ(record_end_at_or_before(Lsn(8192 * 3)), Lsn(8192 * 3));
  EXPECT_EQ(record_end_at_or_before(Lsn(8192 * 3 + 32)), Lsn(8192 * 3 + 32));
  EXPECT_EQ(record_end_at_or_before(Lsn(0x1000000 + 40)), Lsn(0x1000000));
}

}  // namespace
}  // namespace helium::compute
