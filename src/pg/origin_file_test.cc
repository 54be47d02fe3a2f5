// Goal: PostgreSQL finds the origins in a file that we write, and we in one that it wrote.
// Method: a file's bytes written down by hand from origin.c; round trips; every flipped bit. That PostgreSQL reads ours is
// the integration tests' part (test_logical_replication.py).

#include "pg/origin_file.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"

namespace helium::pg {
namespace {

TEST(OriginFile, HasPostgresqlsBytes) {
  const Bytes file = encode_origin_file({{1, Lsn(0x16B5A50)}, {0xFFFE, Lsn(0x1'00000002)}});
  const uint8_t wanted[] = {0xDE, 0xDA, 0x57, 0x12, 1,    0,    0, 0, 0, 0, 0, 0, 0x50, 0x5A, 0x6B, 0x01, 0, 0,
                            0,    0,    0xFE, 0xFF, 0,    0,    0, 0, 0, 0, 2, 0, 0,    0,    1,    0,    0, 0};
  ASSERT_EQ(file.size(), sizeof wanted + 4);
  EXPECT_EQ(std::memcmp(file.data(), wanted, sizeof wanted), 0);
  EXPECT_EQ(load<uint32_t>(file.data() + sizeof wanted), crc32c(ByteView(file).first(sizeof wanted)));
}

TEST(OriginFile, SurvivesTheTripAndNoDamage) {
  for (const std::vector<OriginProgress>& origins :
       {std::vector<OriginProgress>{}, {{7, Lsn(8)}}, {{1, Lsn(0x100)}, {2, Lsn(0)}, {3, Lsn::max()}}}) {
    const Bytes file = encode_origin_file(origins);
    EXPECT_EQ(*decode_origin_file(file), origins);
    for (size_t size = 0; size < file.size(); ++size) EXPECT_FALSE(decode_origin_file(ByteView(file).first(size))) << size;
    for (size_t bit = 0; bit < file.size() * 8; ++bit) {
      Bytes damaged = file;
      damaged[bit / 8] ^= std::byte(1 << bit % 8);
      EXPECT_FALSE(decode_origin_file(damaged)) << bit;
    }
  }
}

}  // namespace
}  // namespace helium::pg
