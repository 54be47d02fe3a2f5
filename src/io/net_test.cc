#include "io/net.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace helium {
namespace {

using namespace std::chrono_literals;

struct Pair {
  Fd listener, client, server;
};
Pair connected() {
  Pair pair;
  auto listener = tcp_listen({"127.0.0.1", 0});
  EXPECT_TRUE(listener) << listener.error().message;
  pair.listener = std::move(*listener);
  auto client = tcp_connect({"127.0.0.1", local_port(pair.listener)}, 2s);
  EXPECT_TRUE(client) << client.error().message;
  pair.client = std::move(*client);
  pair.server = std::move(*tcp_accept(pair.listener));
  return pair;
}

TEST(Net, AddressesAreParsedAndPrinted) {
  EXPECT_EQ(parse_host_port("127.0.0.1:5454"), (HostPort{"127.0.0.1", 5454}));
  EXPECT_EQ(to_string(HostPort{"localhost", 1}), "localhost:1");
  for (const char* text : {"", "host", "host:", ":5454", "host:65536", "host:-1", "host:12x", "host: 12"}) {
    const auto address = parse_host_port(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code, ErrorCode::kInvalid);
  }
}

TEST(Net, BytesArriveInPiecesAndWhole) {
  Pair pair = connected();
  ASSERT_TRUE(send_all(pair.client, {as_bytes("hel"), as_bytes(""), as_bytes("lo")}));
  Bytes bytes(5);
  ASSERT_TRUE(recv_exact(pair.server, bytes));
  EXPECT_EQ(as_text(bytes), "hello");
  EXPECT_FALSE(readable_now(pair.server));
  ASSERT_TRUE(send_all(pair.client, as_bytes("x")));
  EXPECT_EQ(recv_some(pair.server, bytes), 1u);
}

TEST(Net, ALongMessageSurvivesPartialSends) {
  Pair pair = connected();
  Bytes sent(8 << 20);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i * 7);
  std::thread sender([&] { EXPECT_TRUE(send_all(pair.client, {ByteView(sent).first(3), ByteView(sent).subspan(3)})); });
  Bytes received(sent.size());
  EXPECT_TRUE(recv_exact(pair.server, received));
  sender.join();
  EXPECT_EQ(sent, received);
}

TEST(Net, EndsOfConnectionsAndTimeoutsAreToldApart) {
  Pair pair = connected();
  Bytes bytes(4);
  EXPECT_EQ(recv_some(pair.server, bytes, 20ms).error().code, ErrorCode::kTimeout);
  set_recv_timeout(pair.server, 20ms);
  EXPECT_EQ(recv_exact(pair.server, bytes).error().code, ErrorCode::kTimeout);
  ASSERT_TRUE(send_all(pair.client, as_bytes("ab")));
  pair.client.reset();
  set_recv_timeout(pair.server, 2s);
  const auto half = recv_exact(pair.server, bytes);
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code, ErrorCode::kClosed);
  EXPECT_FALSE(half.error().message.empty()) << "the peer closed in the middle";
  const auto closed = recv_exact(pair.server, bytes);
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code, ErrorCode::kClosed);
}

TEST(Net, NobodyThereIsUnavailableAndATakenPortIsNamed) {
  uint16_t port;
  {
    const auto listener = tcp_listen({"127.0.0.1", 0});
    ASSERT_TRUE(listener);
    port = local_port(*listener);
    const auto second = tcp_listen({"127.0.0.1", port});
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("in use"), std::string::npos) << second.error().message;
  }
  EXPECT_EQ(tcp_connect({"127.0.0.1", port}, 1s).error().code, ErrorCode::kUnavailable);
}

TEST(Net, ShutdownWakesAcceptAndReceive) {
  Pair pair = connected();
  std::thread waker([&] {
    std::this_thread::sleep_for(50ms);
    shutdown_socket(pair.server);
    shutdown_socket(pair.listener);
  });
  Bytes bytes(1);
  EXPECT_EQ(recv_exact(pair.server, bytes).error().code, ErrorCode::kClosed);
  EXPECT_EQ(tcp_accept(pair.listener).error().code, ErrorCode::kClosed);
  waker.join();
}

}  // namespace
}  // namespace helium
