#include "wire/wal_commit.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/source_dir.h"

namespace helium::wire {
namespace {

const ProposerId kProposer{{1, 2, 3}};
const TenantTimelineId kTimeline{TenantId{{4, 5}}, TimelineId{{6, 7}}};

const Membership kJoint{7, {{1, "a", 5454, 7676}, {2, "b", 5455, 7677}}, {{1, "a", 5454, 7676}, {4, "d", 5457, 7679}}, {}};

bool equal(const ProposerMessage& a, const ProposerMessage& b) { return encode(a) == encode(b); }

std::vector<ProposerMessage> proposer_messages() {
  static const Bytes wal{std::byte{1}, std::byte{2}, std::byte{3}};
  return {Greeting{2, 7, kProposer, kTimeline, 15, 42},
          VoteRequest{7, 9, kProposer},
          Elected{7, 9, kProposer, {{3, Lsn(0x100)}, {9, Lsn(0x200)}}},
          Append{7, 9, true, Lsn(0x200), Lsn(0x180), wal},
          Append{7, 9, false, Lsn(0x200), Lsn(0x180), {}},
          TellMembership{kJoint}};
}
std::vector<AcceptorMessage> acceptor_messages() {
  return {GreetingReply{2, 7, 2, 8, 15, 42, Lsn(0x80), false, kJoint},
          VoteReply{7, 9, true, Lsn(0x200), Lsn(0x180), {{3, Lsn(0x100)}}},
          AppendReply{7, 9, 9, Lsn(0x210), Lsn(0x200), true},
          Refusal{7, 9, ErrorCode::kNoSpace, "disk full", kJoint},
          MembershipTold{9, true, kJoint}};
}

TEST(WalCommitCodec, EveryMessageComesBackAndEveryTruncationIsRefused) {
  for (const ProposerMessage& message : proposer_messages()) {
    const Bytes bytes = encode(message);
    const auto back = decode_proposer_message(bytes);
    ASSERT_TRUE(back.has_value());
    EXPECT_TRUE(equal(*back, message));
    const bool is_append = std::holds_alternative<Append>(message);
    for (size_t size = 0; size < bytes.size(); ++size) {
      const auto cut = decode_proposer_message(ByteView(bytes).first(size));
      // An append is as long as its message.
      if (is_append && size >= kAppendHeaderSize) continue;
      EXPECT_FALSE(cut.has_value()) << message.index() << " " << size;
    }
  }
  for (const AcceptorMessage& message : acceptor_messages()) {
    const Bytes bytes = encode(message);
    const auto back = decode_acceptor_message(bytes);
    ASSERT_TRUE(back.has_value());
    EXPECT_TRUE(*back == message);
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(decode_acceptor_message(ByteView(bytes).first(size)).has_value()) << message.index() << " " << size;
    }
    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode_acceptor_message(longer).has_value());
  }
}

TEST(WalCommitCodec, WhatNobodyWouldWriteIsRefused) {
  EXPECT_FALSE(decode_proposer_message(encode(ProposerMessage(Elected{7, 9, kProposer, {}}))).has_value());
  EXPECT_FALSE(decode_proposer_message(encode(ProposerMessage(Elected{7, 9, kProposer, {{8, Lsn(8)}}}))).has_value());
  EXPECT_FALSE(decode_acceptor_message(encode(AcceptorMessage(VoteReply{7, 9, true, Lsn(8), Lsn(8), {{1, Lsn(16)}}})))
                   .has_value());
  EXPECT_FALSE(decode_proposer_message(encode(ProposerMessage(Append{7, 9, true, Lsn::max(), Lsn(), {}}))).has_value());
  const auto later = decode_proposer_message(encode(ProposerMessage(Greeting{3, 7, kProposer, kTimeline, 15, 42})));
  EXPECT_EQ(later.error().code, ErrorCode::kTooNew);
  const auto earlier = decode_proposer_message(encode(ProposerMessage(Greeting{1, 7, kProposer, kTimeline, 15, 42})));
  EXPECT_EQ(earlier.error().code, ErrorCode::kInvalid);
}

// Method: all messages one after the other, against the bytes that this version wrote first.
TEST(WalCommitCodec, TheBytesAreThoseOfTheGoldenFile) {
  ByteWriter all;
  for (const ProposerMessage& message : proposer_messages()) all.blob(encode(message));
  for (const AcceptorMessage& message : acceptor_messages()) all.blob(encode(message));
  std::ifstream file(source_path("tests/compat/wal_commit_v2.bin"), std::ios::binary);
  const std::string golden((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(golden == as_text(all.view()));
  if (const char* path = getenv("HELIUM_WRITE_GOLDEN")) {
    std::ofstream(std::string(path) + "/wal_commit_v2.bin", std::ios::binary) << as_text(all.view());
  }
}

}  // namespace
}  // namespace helium::wire
