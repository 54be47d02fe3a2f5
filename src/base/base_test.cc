// Ids, bytes, checksums, results and log lines.

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/result.h"

namespace helium {
namespace {

TEST(Ids, RoundTripThroughText) {
  const auto id = random_id<TimelineId>();
  EXPECT_EQ(parse_timeline_id(to_string(id)), id);
  EXPECT_EQ(to_string(id).size(), 32u);
  const auto known = parse_tenant_id("00112233445566778899AABBCCDDEEFF");
  ASSERT_TRUE(known);
  EXPECT_EQ(to_string(*known), "00112233445566778899aabbccddeeff");
  EXPECT_EQ(known->bytes[1], 0x11);
}

TEST(Ids, TextThatIsNoIdIsRefusedByName) {
  for (const char* text : {"", "0011", "00112233445566778899aabbccddeef", "00112233445566778899aabbccddeeff0",
                           "00112233445566778899aabbccddeegg"}) {
    const auto id = parse_tenant_id(text);
    ASSERT_FALSE(id) << text;
    EXPECT_EQ(id.error().code, ErrorCode::kInvalid);
    EXPECT_NE(id.error().message.find("tenant id"), std::string::npos);
  }
}

TEST(Ids, RandomOnesDiffer) {
  std::set<TimelineId> ids;
  for (int i = 0; i < 100; ++i) ids.insert(random_id<TimelineId>());
  EXPECT_EQ(ids.size(), 100u);
  EXPECT_FALSE(TimelineId{}.is_valid());
}

TEST(Bytes, WhatIsWrittenIsRead) {
  ByteWriter writer;
  writer.u8(1);
  writer.u16(0x0203);
  writer.u32(0x04050607);
  writer.u64(0x08090A0B0C0D0E0F);
  writer.lsn(Lsn(77));
  writer.text("héllo");
  writer.blob({});
  writer.zeros(3);
  writer.patch_u32(3, 42);
  EXPECT_EQ(writer.view()[1], std::byte{0x03}) << "little-endian";

  ByteReader reader(writer.view());
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u16(), 0x0203);
  EXPECT_EQ(reader.u32(), 42u);
  EXPECT_EQ(reader.u64(), 0x08090A0B0C0D0E0Fu);
  EXPECT_EQ(reader.lsn(), Lsn(77));
  EXPECT_EQ(reader.text(), "héllo");
  EXPECT_TRUE(reader.blob().empty());
  EXPECT_FALSE(reader.done());
  EXPECT_EQ(reader.array<3>(), (std::array<uint8_t, 3>{}));
  EXPECT_TRUE(reader.done());
}

TEST(Bytes, ReadingPastTheEndFailsOnceAndForAll) {
  ByteWriter writer;
  writer.u32(1000);  // a length that lies
  writer.u64(5);
  ByteReader reader(writer.view());
  EXPECT_TRUE(reader.blob().empty());
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.u64(), 0u);
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_FALSE(reader.done());
}

TEST(Crc32c, KnownVectors) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283u);
  EXPECT_EQ(crc32c({}), 0u);
  const Bytes zeros(32), ones(32, std::byte{0xFF});
  EXPECT_EQ(crc32c(zeros), 0x8A9136AAu);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(ones), 0x62A8AB43u);
  Bytes counting(32);
  for (size_t i = 0; i < counting.size(); ++i) counting[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(counting), 0x46DD794Eu);
}

TEST(Crc32c, PartsAddUpWhereverTheyAreCutAndAligned) {
  Bytes bytes(300);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31);
  const uint32_t whole = crc32c(bytes);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    EXPECT_EQ(Crc32c().add(ByteView(bytes).first(cut)).add(ByteView(bytes).subspan(cut)).value(), whole);
  }
}

Result<int> half(int value) {
  if (value % 2 != 0) return fail(ErrorCode::kInvalid, "odd");
  return value / 2;
}
Result<int> quarter(int value) {
  HELIUM_ASSIGN(const int first, half(value));
  HELIUM_TRY(half(first));
  return half(first);
}

TEST(Result, ErrorsTravelUpAndGainContext) {
  EXPECT_EQ(quarter(12), 3);
  ASSERT_FALSE(quarter(6));
  Error error = quarter(6).error();
  EXPECT_EQ(error.code, ErrorCode::kInvalid);
  error = std::move(error).context("quarter 6");
  EXPECT_EQ(error.message, "quarter 6: odd");
  EXPECT_EQ(error.code, ErrorCode::kInvalid);
}

TEST(Result, SystemErrorsGetTheCodeThatCallersActOn) {
  EXPECT_EQ(fail_errno("write", ENOSPC).error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(fail_errno("open", ENOENT).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(fail_errno("open", EEXIST).error().code, ErrorCode::kExists);
  EXPECT_EQ(fail_errno("read", EIO).error().code, ErrorCode::kIo);
}

std::string logged(const std::function<void()>& action) {
  ::testing::internal::CaptureStderr();
  action();
  return ::testing::internal::GetCapturedStderr();
}

TEST(Log, ALineIsOneJsonObject) {
  const std::string line = logged([] {
    log::info("it \"happened\"\n\t\x01 {}", {{"text", "a\\b"}, {"count", 7}, {"good", true}, {"lsn", Lsn(0x16B3740)}});
  });
  ASSERT_GT(line.size(), 40u);
  EXPECT_TRUE(line.starts_with("{\"ts\":\"20")) << line;
  EXPECT_EQ(line[33], 'Z') << line;
  EXPECT_EQ(line.substr(35), ",\"level\":\"INFO\",\"msg\":\"it \\\"happened\\\"\\n\\t\\u0001 {}\",\"text\":\"a\\\\b\",\"count\":7,"
                             "\"good\":true,\"lsn\":\"0/16B3740\"}\n");
}

TEST(Log, LinesBelowTheLevelAreNotWritten) {
  log::set_level(log::Level::kWarn);
  EXPECT_EQ(logged([] { log::info("no"); }), "");
  EXPECT_NE(logged([] { log::warn("yes"); }).find("\"level\":\"WARN\""), std::string::npos);
  log::set_level(log::Level::kInfo);
  EXPECT_EQ(logged([] { log::debug("no"); }), "");
}

}  // namespace
}  // namespace helium
