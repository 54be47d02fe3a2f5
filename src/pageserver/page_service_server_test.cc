// Goal: the page service answers over real sockets, waits for WAL without holding threads up, fences superseded
// computes, and shrugs off what is not its protocol. Tenants come back after a crash; damage concerns one timeline.
// Method: a server on a free port over hand-made timelines in a temporary folder.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/durable_file.h"
#include "pageserver/metrics.h"
#include "pageserver/page_service_server.h"
#include "pageserver/test_timeline.h"

namespace helium::pageserver {
namespace {

namespace fs = std::filesystem;
using wire::ServerMessage;

class Client {
 public:
  Client(uint16_t port, const TenantTimelineId& id, uint64_t term) : socket_(*tcp_connect({"127.0.0.1", port}, std::chrono::seconds(5))) {
    set_recv_timeout(socket_, std::chrono::seconds(10));
    send(wire::encode(wire::Hello{id, term, term > 0}));
  }
  void send(const Bytes& frame) { EXPECT_TRUE(send_all(socket_, frame).has_value()); }
  Result<ServerMessage> receive() {
    std::array<std::byte, wire::kFrameHeaderSize> header_bytes;
    HELIUM_TRY(recv_exact(socket_, header_bytes));
    HELIUM_ASSIGN(const auto header, wire::decode_frame_header(header_bytes));
    payload_.resize(header.payload_size);
    HELIUM_TRY(recv_exact(socket_, payload_));
    return wire::decode_server_message(header.type, payload_);
  }
  template <typename T>
  T expect() {
    auto message = receive();
    if (!message) {
      ADD_FAILURE() << message.error().message;
      return {};
    }
    if (const auto* error = std::get_if<wire::ErrorReply>(&*message); error && !std::is_same_v<T, wire::ErrorReply>) {
      ADD_FAILURE() << error->error.message;
      return {};
    }
    return std::get<T>(*message);
  }

 private:
  Fd socket_;
  Bytes payload_;
};

class PageService : public TestTimeline {
 protected:
  // The hand-made timeline, moved to where Tenants finds it.
  void SetUp() override {
    TestTimeline::SetUp();
    ASSERT_TRUE(timeline_->announce_history({{1, kStart}}).has_value());
    ingest(full_page(kRel, 0, 1));
    ingest(full_page(kRel, 1, 2));
    at_ = ingest(commit(1001));
    ASSERT_TRUE(timeline_->checkpoint().has_value());
    timeline_.reset();
    const fs::path tenant = folder_ / "ps" / "tenants" / to_string(id_.tenant);
    fs::create_directories(tenant / "timelines");
    std::ofstream(tenant / "tenant") << "x";
    fs::rename(folder_ / "root", tenant / "timelines" / to_string(id_.timeline));
    fs::create_directories(tenant / "timelines" / to_string(random_id<TimelineId>()));  // of a crashed creation
    open();
  }
  void open() {
    TenantsOptions options;
    options.data_dir = folder_ / "ps";
    options.timeline = TestTimeline::options();
    auto tenants = Tenants::open(options);
    ASSERT_TRUE(tenants.has_value()) << tenants.error().message;
    tenants_ = std::move(*tenants);
    server_ = std::make_unique<PageServiceServer>(*tenants_, metrics_);
    ASSERT_TRUE(server_->start({"127.0.0.1", 0}).has_value());
    if (auto found = tenants_->find(id_)) {
      timeline_ = *found;
      ASSERT_TRUE(timeline_->start_ingest().has_value());
    }
  }
  void close() {
    timeline_.reset();
    server_.reset();
    tenants_.reset();
  }
  void TearDown() override {
    close();
    TestTimeline::TearDown();
  }
  wire::GetPagesRequest pages(uint64_t request, Lsn read, Lsn since, std::vector<uint32_t> blknos) {
    return {request, kRel, {read, since}, std::move(blknos)};
  }

  const TenantTimelineId id_ = root_id_;
  Lsn at_;
  std::shared_ptr<Metrics> metrics_ = std::make_shared<Metrics>();
  std::unique_ptr<Tenants> tenants_;
  std::unique_ptr<PageServiceServer> server_;
};

TEST_F(PageService, GivesSizesPagesAndABootstrap) {
  Client client(server_->port(), id_, 0);
  EXPECT_EQ(client.expect<wire::HelloAck>(), (wire::HelloAck{15, at_}));
  client.send(encode(wire::RelInfoRequest{1, 1663, 5, 16384, {Lsn::max(), Lsn()}}));
  const auto info = client.expect<wire::RelInfoReply>();
  EXPECT_EQ(info.nblocks[0], 2u);
  EXPECT_EQ(info.nblocks[2], std::nullopt);
  client.send(encode(pages(2, Lsn::max(), at_, {1, 0, 7})));
  const auto got = client.expect<wire::GetPagesReply>();
  ASSERT_EQ(got.pages.size(), 3u);
  EXPECT_EQ(static_cast<int>(got.pages[0].page.back()), 2);
  EXPECT_EQ(static_cast<int>(got.pages[1].page.back()), 1);
  EXPECT_EQ(got.pages[2].error->code, ErrorCode::kNotFound);
  client.send(encode(wire::BootstrapRequest{3, at_, ""}));
  const auto bootstrap = client.expect<wire::BootstrapReply>();
  EXPECT_EQ(bootstrap.checkpoint.next_full_xid, 1002u);
  EXPECT_EQ(bootstrap.prev_record_start, last_start_);
  client.send(encode(wire::BootstrapRequest{4, Lsn(at_.bytes() - 8), ""}));
  EXPECT_EQ(client.expect<wire::ErrorReply>().error.code, ErrorCode::kInvalid);
  client.send(encode(wire::ListRelsRequest{5, 1663, 5, {Lsn::max(), Lsn()}}));
  EXPECT_EQ(client.expect<wire::ListRelsReply>().rels.size(), 1u);
}

TEST_F(PageService, RequestsThatWaitDoNotHoldOthersUp) {
  Client client(server_->port(), id_, 0);
  client.expect<wire::HelloAck>();
  const Lsn future = at_ + 8;
  for (uint64_t request = 1; request <= 20; ++request) client.send(encode(pages(request, Lsn::max(), future, {0})));
  client.send(encode(pages(100, Lsn::max(), Lsn(), {0})));
  EXPECT_EQ(client.expect<wire::GetPagesReply>().request_id, 100u);
  ingest(full_page(kRel, 0, 9));
  for (int i = 0; i < 20; ++i) {
    const auto reply = client.expect<wire::GetPagesReply>();
    ASSERT_EQ(reply.pages.size(), 1u);
    EXPECT_EQ(static_cast<int>(reply.pages[0].page.back()), 9);
  }
}

TEST_F(PageService, ReadsAtItsOwnPositionNeverSeeALaterPage) {
  Client client(server_->port(), id_, 0);
  client.expect<wire::HelloAck>();
  ingest(full_page(kRel, 0, 9));
  client.send(encode(pages(1, at_, Lsn(), {0})));
  EXPECT_EQ(static_cast<int>(client.expect<wire::GetPagesReply>().pages[0].page.back()), 1);
}

TEST_F(PageService, ASupersededComputeIsToldAtOnceAndGetsNothingMore) {
  Client old_compute(server_->port(), id_, 3);
  old_compute.expect<wire::HelloAck>();
  Client tool(server_->port(), id_, 0);
  tool.expect<wire::HelloAck>();
  Client new_compute(server_->port(), id_, 4);
  new_compute.expect<wire::HelloAck>();
  const auto told = old_compute.expect<wire::ErrorReply>();
  EXPECT_EQ(told.request_id, 0u);
  EXPECT_EQ(told.error.code, ErrorCode::kFenced);
  EXPECT_FALSE(old_compute.receive().has_value());
  Client again(server_->port(), id_, 3);
  EXPECT_EQ(again.expect<wire::ErrorReply>().error.code, ErrorCode::kFenced);
  tool.send(encode(pages(1, Lsn::max(), Lsn(), {0})));
  EXPECT_EQ(tool.expect<wire::GetPagesReply>().pages.size(), 1u);
  // A later term in the WAL stream fences as well.
  ASSERT_TRUE(timeline_->announce_history({{1, kStart}, {5, at_}}).has_value());
  EXPECT_EQ(new_compute.expect<wire::ErrorReply>().error.code, ErrorCode::kFenced);
}

TEST_F(PageService, WhatIsNotTheProtocolIsRefused) {
  const Fd http = std::move(*tcp_connect({"127.0.0.1", server_->port()}, std::chrono::seconds(5)));
  ASSERT_TRUE(send_all(http, as_bytes("GET / HTTP/1.1\r\n\r\n")).has_value());
  set_recv_timeout(http, std::chrono::seconds(10));
  std::array<std::byte, 4096> answer;
  EXPECT_TRUE(recv_some(http, answer).has_value()) << "says what is wrong";
  Client unknown(server_->port(), {id_.tenant, random_id<TimelineId>()}, 0);
  EXPECT_EQ(unknown.expect<wire::ErrorReply>().error.code, ErrorCode::kNotFound);
  Client client(server_->port(), id_, 0);
  client.expect<wire::HelloAck>();
  client.send(encode(pages(0, Lsn::max(), Lsn(), {0})));
  EXPECT_EQ(client.expect<wire::ErrorReply>().error.code, ErrorCode::kInvalid);
}

TEST_F(PageService, ADamagedTimelineIsBrokenAndSoAreItsBranchesAndNoOther) {
  const TimelineId branch = random_id<TimelineId>();
  ASSERT_TRUE(tenants_->create_timeline(id_.tenant, {.id = branch, .ancestor_id = id_.timeline}).has_value());
  EXPECT_EQ(tenants_->create_timeline(id_.tenant, {.id = branch, .ancestor_id = id_.timeline}).error().code,
            ErrorCode::kExists);
  close();
  open();
  ASSERT_TRUE(tenants_->find({id_.tenant, branch}).has_value());
  EXPECT_EQ(tenants_->list_timelines(id_.tenant)->size(), 2u) << "and nothing of the crashed creation";
  close();
  const fs::path index = folder_ / "ps" / "tenants" / to_string(id_.tenant) / "timelines" / to_string(id_.timeline) / "index";
  Bytes bytes = *read_file(index);
  bytes[bytes.size() / 2] ^= std::byte{1};
  ASSERT_TRUE(write_durable(index, bytes).has_value());
  open();
  EXPECT_EQ(tenants_->find(id_).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(tenants_->find({id_.tenant, branch}).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(tenants_->create_tenant(random_id<TenantId>()).has_value());
}

TEST_F(PageService, CreatingABranchTakesTheSameWhateverTheSize) {
  for (int i = 0; i < 5; ++i) {
    const auto begun = Clock::now();
    ASSERT_TRUE(tenants_->create_timeline(id_.tenant, {.id = random_id<TimelineId>(), .ancestor_id = id_.timeline}).has_value());
    EXPECT_LT(Clock::now() - begun, std::chrono::seconds(2));
  }
}

}  // namespace
}  // namespace helium::pageserver
