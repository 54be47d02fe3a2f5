#include "safekeeper/control_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/source_dir.h"

namespace helium::safekeeper {
namespace {

ControlFile sample() {
  ControlFile control;
  control.safekeeper_id = 2;
  control.id = {TenantId{{0xde, 0x20}}, TimelineId{{0x1a}}};
  control.pg_version = 15;
  control.system_id = 7'000'000'000'000'000'001;
  control.acceptor = {.membership = {.generation = 1,
                                     .members = {{1, "127.0.0.1", 5454, 7676},
                                                 {2, "127.0.0.1", 5455, 7677},
                                                 {3, "sk3.example", 5456, 7678}},
                                     .new_members = {},
                                     .previous = {}},
                      .promised_generation = 0,
                      .changer = {},
                      .filling = false,
                      .term = 5,
                      .voted_for = ProposerId{{0xAB}},
                      .history = {{1, Lsn(0x1000128)}, {4, Lsn(0x1800000)}, {5, Lsn(0x1800000)}},
                      .start_lsn = Lsn(0x1000128),
                      .commit_lsn = Lsn(0x1900000)};
  control.flushed_lsn = Lsn(0x1900100);
  control.verify_lsn = Lsn(0x1800010);
  control.local_start_lsn = control.acceptor.start_lsn;
  return control;
}

// In the middle of a change: safekeeper 2 is replaced by 4.
ControlFile sample_v2() {
  ControlFile control = sample();
  wire::Membership& membership = control.acceptor.membership;
  membership.generation = 6;
  membership.new_members = {membership.members[0], membership.members[2], {4, "127.0.0.1", 5457, 7679}};
  control.acceptor.promised_generation = 7;
  control.acceptor.changer = ChangerId{{0xCD}};
  control.acceptor.filling = true;
  control.local_start_lsn = Lsn(0x1800000);
  control.backup_lsn = Lsn(0x1000000);
  control.remote_consistent_lsn = Lsn(0x1700000);
  control.evicted = true;
  control.partial_object = "000000010000000000000001_5_1900100_1900000_sk2.partial";
  control.clean_close = true;
  return control;
}

TEST(SafekeeperControlFile, RoundTripAndEveryTruncationAndEveryBitFlip) {
  const ControlFile control = sample_v2();
  const Bytes bytes = encode_control_file(control);
  ASSERT_EQ(*decode_control_file(bytes), control);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(decode_control_file(ByteView(bytes).first(size)).error().code, ErrorCode::kTruncated) << size;
  }
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    Bytes damaged = bytes;
    damaged[bit / 8] ^= std::byte(1u << (bit % 8));
    EXPECT_FALSE(decode_control_file(damaged).has_value()) << "bit " << bit;
  }
}

TEST(SafekeeperControlFile, ALaterFormatIsNamedAsSuch) {
  Bytes bytes = encode_control_file(sample());
  bytes[4] = std::byte{kControlFormatVersion + 1};
  EXPECT_EQ(decode_control_file(bytes).error().code, ErrorCode::kTooNew);
}

TEST(SafekeeperControlFile, ContradictionsAreDamage) {
  ControlFile control = sample();
  control.acceptor.commit_lsn = control.flushed_lsn + 8;
  EXPECT_EQ(decode_control_file(encode_control_file(control)).error().code, ErrorCode::kCorrupt);
  control = sample();
  control.acceptor.term = 4;
  EXPECT_EQ(decode_control_file(encode_control_file(control)).error().code, ErrorCode::kCorrupt);
}

std::string golden(const std::string& name) {
  std::ifstream file(source_path("tests/compat/" + name), std::ios::binary);
  return {(std::istreambuf_iterator<char>(file)), {}};
}

TEST(SafekeeperControlFile, TheBytesAreThoseOfTheGoldenFile) {
  const Bytes bytes = encode_control_file(sample_v2());
  if (const char* path = getenv("HELIUM_WRITE_GOLDEN")) {
    std::ofstream(std::string(path) + "/safekeeper_control_v2.bin", std::ios::binary) << as_text(bytes);
  }
  EXPECT_TRUE(golden("safekeeper_control_v2.bin") == as_text(bytes));
}

TEST(SafekeeperControlFile, AFileOfTheFirstVersionIsRead) {
  const std::string file = golden("safekeeper_control_v1.bin");
  const auto control = decode_control_file(as_bytes(file));
  ASSERT_TRUE(control.has_value()) << control.error().message;
  EXPECT_EQ(*control, sample());
}

}  // namespace
}  // namespace helium::safekeeper
