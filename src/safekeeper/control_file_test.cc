#include "safekeeper/control_file.h"

#include <gtest/gtest.h>

#include <fstream>

namespace helium::safekeeper {
namespace {

ControlFile sample() {
  ControlFile control;
  control.safekeeper_id = 2;
  control.id = {TenantId{{0xde, 0x20}}, TimelineId{{0x1a}}};
  control.pg_version = 15;
  control.system_id = 7'000'000'000'000'000'001;
  control.members = {{1, "127.0.0.1", 5454, 7676}, {2, "127.0.0.1", 5455, 7677}, {3, "sk3.example", 5456, 7678}};
  control.acceptor = {.generation = 1,
                      .term = 5,
                      .voted_for = ProposerId{{0xAB}},
                      .history = {{1, Lsn(0x1000128)}, {4, Lsn(0x1800000)}, {5, Lsn(0x1800000)}},
                      .start_lsn = Lsn(0x1000128),
                      .commit_lsn = Lsn(0x1900000)};
  control.flushed_lsn = Lsn(0x1900100);
  control.verify_lsn = Lsn(0x1800010);
  return control;
}

TEST(SafekeeperControlFile, RoundTripAndEveryTruncationAndEveryBitFlip) {
  const ControlFile control = sample();
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
  bytes[4] = std::byte{2};
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

TEST(SafekeeperControlFile, TheBytesAreThoseOfTheGoldenFile) {
  const Bytes bytes = encode_control_file(sample());
  if (const char* path = getenv("HELIUM_WRITE_GOLDEN")) {
    std::ofstream(std::string(path) + "/safekeeper_control_v1.bin", std::ios::binary) << as_text(bytes);
  }
  std::ifstream file(HELIUM_SOURCE_DIR "/tests/compat/safekeeper_control_v1.bin", std::ios::binary);
  const std::string golden((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(golden == as_text(bytes));
}

}  // namespace
}  // namespace helium::safekeeper
