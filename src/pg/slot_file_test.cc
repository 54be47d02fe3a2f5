// Goal: what PostgreSQL wrote of a slot is read as it meant it, and damage never. Method: files that stock servers of each
// version wrote (tests/compat); every flipped bit, every shorter length.

#include "pg/slot_file.h"

#include <fmt/format.h>

#include "pg/testing.h"

namespace helium::pg {
namespace {

TEST(SlotFile, IsReadAsEachVersionWritesIt) {
  // restart_lsn as pg_replication_slots shows it.
  const std::pair<int, Lsn> logical[] = {
      {14, Lsn(0x16EFEB0)}, {15, Lsn(0x15007C8)}, {16, Lsn(0x14DDEC8)}, {17, Lsn(0x14D8AA0)}, {18, Lsn(0x174B340)}};
  for (const auto& [version, restart_lsn] : logical) {
    const auto slot = decode_slot_file(testing::read_fixture(fmt::format("pg{}/slot_logical", version)));
    ASSERT_TRUE(slot) << version << slot.error().message;
    EXPECT_EQ(slot->name, "logi");
    EXPECT_TRUE(slot->logical());
    EXPECT_TRUE(slot->persistent);
    EXPECT_EQ(slot->restart_lsn, restart_lsn);
    const auto physical = decode_slot_file(testing::read_fixture(fmt::format("pg{}/slot_physical", version)));
    ASSERT_TRUE(physical) << version << physical.error().message;
    EXPECT_EQ(physical->name, "phys");
    EXPECT_FALSE(physical->logical());
    EXPECT_TRUE(physical->persistent);
    EXPECT_TRUE(physical->restart_lsn.is_valid());
  }
}

TEST(SlotFile, SurvivesNoDamage) {
  const Bytes file = testing::read_fixture("pg15/slot_logical");
  for (size_t size = 0; size < file.size(); ++size) EXPECT_FALSE(decode_slot_file(ByteView(file).first(size))) << size;
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    Bytes damaged = file;
    damaged[bit / 8] ^= std::byte(1 << bit % 8);
    EXPECT_FALSE(decode_slot_file(damaged)) << bit;
  }
}

}  // namespace
}  // namespace helium::pg
