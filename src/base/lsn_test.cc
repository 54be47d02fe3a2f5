#include "base/lsn.h"

#include <gtest/gtest.h>

namespace helium {
namespace {

TEST(Lsn, IsPrintedAndReadAsPostgresqlDoes) {
  for (const auto& [bytes, text] : std::initializer_list<std::pair<uint64_t, const char*>>{
           {0, "0/0"}, {0x16B3740, "0/16B3740"}, {0x123456789ABCDEF0, "12345678/9ABCDEF0"}, {UINT64_MAX, "FFFFFFFF/FFFFFFFF"}}) {
    EXPECT_EQ(to_string(Lsn(bytes)), text);
    EXPECT_EQ(parse_lsn(text), Lsn(bytes));
  }
  EXPECT_EQ(parse_lsn("a/b0"), Lsn(0xA000000B0)) << "lower case is fine";
  EXPECT_EQ(parse_lsn("00000001/00000002"), Lsn(0x100000002));
}

TEST(Lsn, OtherTextIsRefusedByName) {
  for (const char* text : {"", "/", "0", "0/", "/0", "0/0/0", "0x1/0", "0/-1", "0/+1", "0/ 1", " 0/1", "0/1 ", "0/123456789",
                           "123456789/0", "0/g"}) {
    const auto lsn = parse_lsn(text);
    ASSERT_FALSE(lsn) << text;
    EXPECT_EQ(lsn.error().code, ErrorCode::kInvalid);
    EXPECT_NE(lsn.error().message.find(text), std::string::npos);
  }
}

TEST(Lsn, DistancesAndRanges) {
  const Lsn lsn(100);
  EXPECT_EQ(lsn + 28, Lsn(128));
  EXPECT_EQ(Lsn(128) - lsn, 28u);
  EXPECT_FALSE(Lsn().is_valid());
  const LsnRange range(Lsn(10), Lsn(20));
  EXPECT_TRUE(range.contains(Lsn(10)) && range.contains(Lsn(19)));
  EXPECT_FALSE(range.contains(Lsn(20)) || range.contains(Lsn(9)));
}

TEST(LsnDeathTest, NegativeDistancesAndEmptyRangesEndTheProcess) {
  EXPECT_DEATH(static_cast<void>(Lsn(1) - Lsn(2)), "CHECK failed");
  EXPECT_DEATH(LsnRange(Lsn(5), Lsn(5)), "CHECK failed");
}

}  // namespace
}  // namespace helium
