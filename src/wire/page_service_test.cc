// Goal: every page service message survives the trip, and damaged ones are refused.
// Method: round trips; each truncation; each flipped bit must decode to something or fail, never crash.

#include "wire/page_service.h"

#include <gtest/gtest.h>

namespace helium::wire {
namespace {

FrameHeader header_of(const Bytes& frame) {
  auto header = decode_frame_header(std::span<const std::byte, kFrameHeaderSize>(frame.data(), kFrameHeaderSize));
  EXPECT_TRUE(header.has_value());
  EXPECT_EQ(header->payload_size, frame.size() - kFrameHeaderSize);
  return *header;
}
ByteView payload_of(const Bytes& frame) { return ByteView(frame).subspan(kFrameHeaderSize); }

template <typename T>
void expect_client_round_trip(const T& message) {
  const Bytes frame = encode(message);
  auto decoded = decode_client_message(header_of(frame).type, payload_of(frame));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  EXPECT_EQ(std::get<T>(*decoded), message);
  EXPECT_FALSE(decode_server_message(header_of(frame).type, payload_of(frame)).has_value());
}

template <typename T>
T server_round_trip(const Bytes& frame) {
  auto decoded = decode_server_message(header_of(frame).type, payload_of(frame));
  EXPECT_TRUE(decoded.has_value()) << decoded.error().message;
  return std::get<T>(*decoded);
}

const ReadAt kAt{Lsn(0x2000), Lsn(0x1000)};

std::vector<ClientMessage> client_messages() {
  Hello hello;
  hello.timeline = {random_id<TenantId>(), random_id<TimelineId>()};
  hello.term = 7;
  hello.primary = true;
  return {hello,
          RelInfoRequest{1, 1663, 5, 16384, kAt},
          ListRelsRequest{2, 1664, 0, kAt},
          GetPagesRequest{3, pg::RelTag{1663, 5, 16384, pg::Fork::kVm}, kAt, {0, 7, 0xFFFFFFFE}},
          GetPagesRequest{4, pg::SlruSegment{pg::SlruKind::kMultixactMembers, 3}, kAt, {31}},
          ListSlruRequest{5, kAt},
          BootstrapRequest{6, Lsn(0x16B5A50), "127.0.0.1:5454"}};
}

BootstrapReply bootstrap_reply() {
  BootstrapReply reply;
  reply.request_id = 9;
  reply.pg_version = 15;
  reply.system_identifier = 0x1122334455667788;
  reply.lsn = Lsn(0x16B5A50);
  reply.prev_record_start = Lsn(0x16B59D8);
  reply.checkpoint.next_full_xid = 733;
  reply.checkpoint.next_oid = 16384;
  reply.control_file = Bytes(64, std::byte{1});
  reply.folders = {"base/1", "base/5"};
  reply.files = {{"base/1/PG_VERSION", 0600, Bytes(3, std::byte{'1'})}};
  reply.slru_segments = {{{pg::SlruKind::kClog, 0}, 1}};
  reply.is_branch = true;
  return reply;
}

TEST(PageService, ClientMessagesSurviveTheTrip) {
  for (const ClientMessage& message : client_messages())
    std::visit([](const auto& m) { expect_client_round_trip(m); }, message);
}

TEST(PageService, ServerMessagesSurviveTheTrip) {
  const HelloAck ack{15, Lsn(0x10)};
  EXPECT_EQ(server_round_trip<HelloAck>(encode(ack)), ack);

  const auto error = server_round_trip<ErrorReply>(encode(ErrorReply{4, {ErrorCode::kFenced, "a later term"}}));
  EXPECT_EQ(error.request_id, 4u);
  EXPECT_EQ(error.error.code, ErrorCode::kFenced);
  EXPECT_EQ(error.error.message, "a later term");

  const RelInfoReply info{5, {10u, std::nullopt, 0u, std::nullopt}};
  EXPECT_EQ(server_round_trip<RelInfoReply>(encode(info)), info);

  const ListRelsReply rels{6, {{{1663, 5, 1259, pg::Fork::kMain}, 14}, {{1663, 5, 1259, pg::Fork::kVm}, 1}}};
  EXPECT_EQ(server_round_trip<ListRelsReply>(encode(rels)), rels);

  const ListSlruReply slrus{7, {{{pg::SlruKind::kClog, 0}, 1}}};
  EXPECT_EQ(server_round_trip<ListSlruReply>(encode(slrus)), slrus);

  EXPECT_EQ(server_round_trip<BootstrapReply>(encode(bootstrap_reply())), bootstrap_reply());
}

TEST(PageService, APageThatCannotBeGivenDoesNotSpoilTheOthers) {
  const Bytes page(kPageSize, std::byte{0x5A});
  GetPagesReply reply;
  reply.request_id = 8;
  reply.pages.push_back({std::nullopt, page});
  reply.pages.push_back({Error{ErrorCode::kRedo, "no"}, {}});
  reply.pages.push_back({std::nullopt, page});
  const Bytes frame = encode(reply);
  const auto decoded = server_round_trip<GetPagesReply>(frame);
  ASSERT_EQ(decoded.pages.size(), 3u);
  EXPECT_EQ(Bytes(decoded.pages[2].page.begin(), decoded.pages[2].page.end()), page);
  EXPECT_EQ(decoded.pages[1].error->code, ErrorCode::kRedo);
  EXPECT_EQ(request_id_of(ServerMessage(decoded)), 8u);
}

TEST(PageService, EveryTruncationIsRefusedAndNoFlippedBitCrashes) {
  std::vector<Bytes> frames;
  for (const ClientMessage& message : client_messages())
    frames.push_back(std::visit([](const auto& m) { return encode(m); }, message));
  for (const Bytes& frame : frames) {
    const ByteView payload = payload_of(frame);
    const uint8_t type = header_of(frame).type;
    for (size_t size = 0; size < payload.size(); ++size)
      EXPECT_FALSE(decode_client_message(type, payload.first(size)).has_value()) << int(type) << " cut to " << size;
    for (size_t bit = 0; bit < 8 * payload.size(); ++bit) {
      Bytes damaged(payload.begin(), payload.end());
      damaged[bit / 8] ^= std::byte(1u << (bit % 8));
      (void)decode_client_message(type, damaged);
    }
  }
  const Bytes frame = encode(bootstrap_reply());
  for (size_t size = 0; size < payload_of(frame).size(); ++size)
    EXPECT_FALSE(decode_server_message(header_of(frame).type, payload_of(frame).first(size)).has_value());
}

TEST(PageService, ABootstrapPathMayNotLeaveTheDataDirectory) {
  for (const char* path : {"../x", "/etc/passwd", "base/../../x", "", "base//1", "base/"}) {
    BootstrapReply reply = bootstrap_reply();
    reply.files[0].path = path;
    const Bytes frame = encode(reply);
    EXPECT_FALSE(decode_server_message(header_of(frame).type, payload_of(frame)).has_value()) << path;
  }
}

TEST(PageService, ALaterProtocolVersionIsNamed) {
  Bytes frame = encode(Hello{});
  frame[kFrameHeaderSize + 4] = std::byte{2};
  auto decoded = decode_client_message(header_of(frame).type, payload_of(frame));
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().code, ErrorCode::kTooNew);
}

TEST(PageService, AFrameOfAnotherProtocolIsRefused) {
  const Bytes http(as_bytes("GET / HTTP/1.1").begin(), as_bytes("GET / HTTP/1.1").end());
  EXPECT_FALSE(
      decode_frame_header(std::span<const std::byte, kFrameHeaderSize>(http.data(), kFrameHeaderSize)).has_value());
}

// The dump in docs/protocols/page_service.md.
TEST(PageService, TheDocumentedFrameIsWhatWeSend) {
  const Bytes frame =
      encode(GetPagesRequest{3, pg::RelTag{1663, 5, 16384, pg::Fork::kMain}, {Lsn(0x16B5A50), Lsn(0x16B3740)}, {7}});
  std::vector<uint8_t> bytes(frame.size());
  std::memcpy(bytes.data(), frame.data(), frame.size());
  EXPECT_EQ(hex(bytes),
            "2f000000" "0e" "0300000000000000" "01" "7f060000" "05000000" "00400000" "00" "505a6b0100000000"
            "40376b0100000000" "01000000" "07000000");
}

}  // namespace
}  // namespace helium::wire
