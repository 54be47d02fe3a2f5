// The broker's server and client together, over real sockets.

#include <gtest/gtest.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>

#include "broker/broker.grpc.pb.h"
#include "broker/client.h"
#include "broker/message.h"
#include "broker/server.h"

namespace helium::broker {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TimelineProgress progress(uint8_t timeline, uint64_t safekeeper, uint64_t flush) {
  TimelineProgress value;
  value.id.tenant.bytes[3] = 7;
  value.id.timeline.bytes[3] = timeline;
  value.safekeeper_id = safekeeper;
  value.wal_address = "127.0.0.1:5454";
  value.http_address = "127.0.0.1:7676";
  value.generation = 3;
  value.term = 9;
  value.log_term = 8;
  value.flush_lsn = Lsn(flush);
  value.commit_lsn = Lsn(flush - 1);
  value.timeline_start_lsn = Lsn(16);
  value.backup_lsn = Lsn(32);
  value.remote_consistent_lsn = Lsn(48);
  return value;
}

// Collects what a subscription delivers.
// Declared before the clients that fill it, which end before it then.
class Inbox {
 public:
  std::function<void(const TimelineProgress&)> receiver() {
    return [this](const TimelineProgress& value) {
      const std::lock_guard lock(mutex_);
      last_[{value.id, value.safekeeper_id}] = value;
      ++received_;
      changed_.notify_all();
    };
  }
  // Waits until the last value of this timeline and safekeeper equals `expected`.
  bool wait_for(const TimelineProgress& expected, std::chrono::milliseconds timeout = 5s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] {
      const auto found = last_.find({expected.id, expected.safekeeper_id});
      return found != last_.end() && found->second == expected;
    });
  }
  size_t size() {
    const std::lock_guard lock(mutex_);
    return last_.size();
  }
  size_t received() {
    const std::lock_guard lock(mutex_);
    return received_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<TenantTimelineId, uint64_t>, TimelineProgress> last_;
  size_t received_ = 0;
};

std::unique_ptr<BrokerServer> start_broker(uint16_t port = 0) {
  auto server = BrokerServer::start({"127.0.0.1", port});
  EXPECT_TRUE(server) << server.error().message;
  return server ? std::move(*server) : nullptr;
}
HostPort address(const BrokerServer& server) { return {"127.0.0.1", server.port()}; }

TEST(Broker, WhatIsPublishedReachesSubscribersOfItsTimelineAndOfAll) {
  Inbox all, one;
  const auto server = start_broker();
  BrokerClient safekeeper(address(*server)), pageserver(address(*server));
  pageserver.subscribe(std::nullopt, all.receiver());
  pageserver.subscribe(progress(1, 1, 1).id, one.receiver());
  safekeeper.publish(progress(2, 1, 100));
  safekeeper.publish(progress(1, 1, 200));
  EXPECT_TRUE(all.wait_for(progress(1, 1, 200)));
  EXPECT_TRUE(all.wait_for(progress(2, 1, 100)));
  EXPECT_TRUE(one.wait_for(progress(1, 1, 200)));
  EXPECT_EQ(one.size(), 1u);
}

TEST(Broker, LateSubscriberGetsTheLastValues) {
  Inbox inbox;
  const auto server = start_broker();
  BrokerClient safekeeper(address(*server));
  for (uint64_t flush = 1; flush <= 50; ++flush) safekeeper.publish(progress(1, 1, flush));
  safekeeper.publish(progress(1, 2, 30));
  const auto deadline = Clock::now() + 5s;
  while (server->counts().entries < 2 && Clock::now() < deadline) std::this_thread::sleep_for(5ms);
  BrokerClient pageserver(address(*server));
  pageserver.subscribe(std::nullopt, inbox.receiver());
  EXPECT_TRUE(inbox.wait_for(progress(1, 1, 50)));
  EXPECT_TRUE(inbox.wait_for(progress(1, 2, 30)));
}

// Goal: a restarted broker knows everything again by itself, although it stores nothing.
// Method: nobody publishes anything new after the restart; a fresh subscriber must still hear of all.
TEST(Broker, AfterARestartPublishersSayTheirLastValuesAgain) {
  Inbox before;
  Inbox after;
  auto server = start_broker();
  const uint16_t port = server->port();
  BrokerClient safekeeper(address(*server)), pageserver(address(*server));
  pageserver.subscribe(std::nullopt, before.receiver());
  safekeeper.publish(progress(1, 1, 10));
  safekeeper.publish(progress(2, 1, 20));
  ASSERT_TRUE(before.wait_for(progress(1, 1, 10)) && before.wait_for(progress(2, 1, 20)));
  server.reset();
  server = start_broker(port);
  ASSERT_TRUE(server);
  BrokerClient newcomer({"127.0.0.1", port});
  newcomer.subscribe(std::nullopt, after.receiver());
  EXPECT_TRUE(after.wait_for(progress(1, 1, 10)));
  EXPECT_TRUE(after.wait_for(progress(2, 1, 20)));
  safekeeper.publish(progress(1, 1, 11));
  EXPECT_TRUE(before.wait_for(progress(1, 1, 11))) << "the old subscription did not come back";
}

TEST(Broker, ClientsThatCameBeforeTheBrokerConnectWhenItStarts) {
  Inbox inbox;
  auto placeholder = start_broker();
  const uint16_t port = placeholder->port();
  placeholder.reset();
  BrokerClient safekeeper({"127.0.0.1", port}), pageserver({"127.0.0.1", port});
  pageserver.subscribe(std::nullopt, inbox.receiver());
  safekeeper.publish(progress(1, 1, 5));
  std::this_thread::sleep_for(200ms);
  const auto server = start_broker(port);
  ASSERT_TRUE(server);
  EXPECT_TRUE(inbox.wait_for(progress(1, 1, 5)));
}

TEST(Broker, ClientsEndWithin200MsWithTheBrokerThereOrGone) {
  auto server = start_broker();
  for (const bool gone : {false, true}) {
    auto client = std::make_unique<BrokerClient>(address(*server));
    Inbox inbox;
    client->subscribe(std::nullopt, inbox.receiver());
    client->publish(progress(1, 1, 5));
    ASSERT_TRUE(inbox.wait_for(progress(1, 1, 5)));
    if (gone) {
      server->stop();
      std::this_thread::sleep_for(300ms);
    }
    const auto began = Clock::now();
    client.reset();
    EXPECT_LT(Clock::now() - began, 200ms) << "broker gone: " << gone;
  }
}

TEST(Broker, StopsAtOnceWithStreamsOpen) {
  Inbox inbox;
  auto server = start_broker();
  BrokerClient client(address(*server));
  client.subscribe(std::nullopt, inbox.receiver());
  client.publish(progress(1, 1, 5));
  ASSERT_TRUE(inbox.wait_for(progress(1, 1, 5)));
  const auto began = Clock::now();
  server.reset();
  EXPECT_LT(Clock::now() - began, 1s);
}

// Goal: a burst costs neither memory nor time at the receiver. Method: a subscriber that is slow gets few, newest last.
TEST(Broker, SlowSubscriberSkipsToTheNewestValue) {
  Inbox inbox;
  const auto server = start_broker();
  BrokerClient safekeeper(address(*server)), pageserver(address(*server));
  pageserver.subscribe(std::nullopt, [receive = inbox.receiver()](const TimelineProgress& value) {
    std::this_thread::sleep_for(2ms);
    receive(value);
  });
  for (uint64_t flush = 1; flush <= 20000; ++flush) safekeeper.publish(progress(1, 1, flush));
  EXPECT_TRUE(inbox.wait_for(progress(1, 1, 20000), 20s));
  EXPECT_LT(inbox.received(), 10000u);
}

TEST(Broker, ASecondBrokerOnThePortIsRefused) {
  const auto server = start_broker();
  const auto second = BrokerServer::start(address(*server));
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("in use"), std::string::npos);
}

TEST(Broker, MalformedMessagesEndTheStreamWithAReason) {
  const auto server = start_broker();
  const auto channel = grpc::CreateChannel(to_string(address(*server)), grpc::InsecureChannelCredentials());
  const auto stub = v1::Broker::NewStub(channel);
  {
    grpc::ClientContext context;
    const auto stream = stub->Publish(&context);
    v1::TimelineProgress message = to_message(progress(1, 1, 1));
    message.set_timeline_id("short");
    stream->Write(message);
    v1::PublishReply reply;
    while (stream->Read(&reply)) {
    }
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  {
    grpc::ClientContext context;
    v1::SubscribeRequest request;
    request.set_tenant_id(std::string(16, 'x'));
    const auto stream = stub->Subscribe(&context, request);
    v1::TimelineProgress message;
    EXPECT_FALSE(stream->Read(&message));
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_EQ(server->counts().entries, 0u);
}

TEST(BrokerMessage, RoundTripAndRefusals) {
  const TimelineProgress value = progress(1, 2, 0xFFFFFFFFFFFFFFFF);
  EXPECT_EQ(*from_message(to_message(value)), value);
  auto zero_tenant = to_message(value);
  zero_tenant.set_tenant_id(std::string(16, '\0'));
  EXPECT_FALSE(from_message(zero_tenant));
  auto long_address = to_message(value);
  long_address.set_wal_address(std::string(256, 'a'));
  EXPECT_FALSE(from_message(long_address));
  EXPECT_EQ(**filter_from(to_request(value.id)), value.id);
  EXPECT_FALSE(filter_from(to_request(std::nullopt))->has_value());
}

}  // namespace
}  // namespace helium::broker
