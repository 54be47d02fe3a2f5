#include "pg/page.h"

#include "pg/testing.h"

namespace helium::pg {
namespace {

TEST(Page, HeaderFieldsLieWherePostgresqlHasThem) {
  Bytes page(kBlockSize);
  page_init(page, 13);  // special space is aligned up to 16
  EXPECT_TRUE(page_header_valid(page));
  EXPECT_FALSE(page_is_new(page));
  EXPECT_EQ(page_lower(page), 24);
  EXPECT_EQ(page_upper(page), 8192 - 16);
  EXPECT_EQ(page_special(page), 8192 - 16);
  set_page_lsn(page, Lsn(0x1122334455667788));
  EXPECT_EQ(page_lsn(page), Lsn(0x1122334455667788));
  EXPECT_EQ(load<uint32_t>(page.data()), 0x11223344u) << "the high half comes first";
  set_page_flags(page, kPdAllVisible);
  set_page_prune_xid(page, 99);
  EXPECT_EQ(page_flags(page), kPdAllVisible);
  EXPECT_EQ(page_prune_xid(page), 99u);
}

TEST(Page, ItemIdsAreReadAndWritten) {
  Bytes page(kBlockSize);
  page_init(page, 0);
  EXPECT_EQ(page_item_count(page), 0);
  set_page_lower(page, kPageHeaderSize + 3 * kItemIdSize);
  set_page_upper(page, 8000);
  EXPECT_EQ(page_item_count(page), 3);
  const ItemId id{8000, ItemFlags::kNormal, 192};
  set_page_item_id(page, 3, id);
  EXPECT_EQ(page_item_id(page, 3), id);
  EXPECT_EQ(page_item_id(page, 2), ItemId{});
  EXPECT_TRUE(item_in_bounds(page, id));
  EXPECT_EQ(page_item(ByteView(page), id).size(), 192u);
  EXPECT_FALSE(item_in_bounds(page, {7999, ItemFlags::kNormal, 192}));
  EXPECT_FALSE(item_in_bounds(page, {8001, ItemFlags::kNormal, 192}));
  for (const ItemFlags flags : {ItemFlags::kUnused, ItemFlags::kNormal, ItemFlags::kRedirect, ItemFlags::kDead}) {
    const ItemId edge{0x7FFF, flags, 0x7FFF};
    EXPECT_EQ(decode_item_id(encode_item_id(edge)), edge);
  }
}

TEST(Page, HeadersThatLieAreNotValid) {
  Bytes good(kBlockSize);
  page_init(good, 16);
  const auto valid_with = [&](size_t at, uint16_t value) {
    Bytes page = good;
    store(page.data() + at, value);
    return page_header_valid(page);
  };
  EXPECT_FALSE(page_header_valid(Bytes(kBlockSize)));
  EXPECT_FALSE(valid_with(kPdLowerAt, 20));
  EXPECT_FALSE(valid_with(kPdLowerAt, 8180));
  EXPECT_FALSE(valid_with(kPdUpperAt, 8184));
  EXPECT_FALSE(valid_with(kPdSpecialAt, 8200));
  EXPECT_FALSE(valid_with(kPdSpecialAt, 8177));
  EXPECT_FALSE(valid_with(kPdFlagsAt, 8));
  EXPECT_FALSE(valid_with(kPdSizeVersionAt, 8192 | 3));
  EXPECT_TRUE(valid_with(kPdLowerAt, 28));
}

// Golden data: the first page of pg_class of a stock cluster with checksums.
TEST(Page, ChecksumIsPostgresqls) {
  Bytes page = testing::read_fixture("pg15/checksummed_page.bin");
  ASSERT_EQ(page.size(), kBlockSize);
  EXPECT_NE(page_stored_checksum(page), 0);
  EXPECT_EQ(page_checksum(page, 0), page_stored_checksum(page));
  EXPECT_NE(page_checksum(page, 1), page_stored_checksum(page)) << "the block number counts";
  const uint16_t stored = page_stored_checksum(page);
  set_page_stored_checksum(page, 0);
  set_page_checksum(page, 0);
  EXPECT_EQ(page_stored_checksum(page), stored);
  page[5000] ^= std::byte{1};
  EXPECT_NE(page_checksum(page, 0), stored);

  Bytes fresh(kBlockSize);
  set_page_checksum(fresh, 3);
  EXPECT_TRUE(page_all_zero(fresh)) << "new pages carry none";
  fresh[8191] = std::byte{1};
  EXPECT_FALSE(page_all_zero(fresh));
}

}  // namespace
}  // namespace helium::pg
