// Btree records that the recorded WAL does not have: the rare roles of blocks.

#include "redo/btree_tuple.h"
#include "redo/test_records.h"

namespace helium::redo {
namespace {

using pg::Rmgr;
using testing::pack;
using testing::TestRecord;

PageBytes btree_page(uint16_t flags, uint32_t level) {
  PageBytes page;
  BtreeOpaque opaque = init_btree_page(page);
  opaque.set_flags(flags);
  opaque.set_level(level);
  return page;
}
// A tuple of 16 bytes that points to block `child`.
Bytes downlink(uint16_t child) { return pack<uint16_t, uint16_t, uint16_t, uint16_t, uint64_t>(0, child, 0, 16, child); }

// The root above the fast root was split: its new downlink also moves the fast root.
TEST(BtreeRedo, AnInsertThatMovesTheFastRootChangesPageChildAndMetapage) {
  const Bytes metadata = pack<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint8_t>(4, 9, 3, 8, 2, 6, 1);
  TestRecord insert(Rmgr::kBtree, 0x20, pack<uint16_t>(2));
  insert.block(0, 3, downlink(12)).block(1, 11).block(2, 0, metadata, /*will_init=*/true);

  PageBytes page = btree_page(0x0002, 1);
  ASSERT_TRUE(add_item(page, downlink(10), 1, AddMode::kIndex));
  ASSERT_TRUE(insert.redo(0, page, Lsn(0x2000)));
  ASSERT_EQ(pg::page_item_count(page), 2);
  EXPECT_EQ(load<uint16_t>(page.data() + pg::page_item_id(page, 2).offset + 2), 12);
  EXPECT_EQ(pg::page_lsn(page), Lsn(0x2000));

  PageBytes child = btree_page(kBtpLeaf | kBtpIncompleteSplit, 0);
  ASSERT_TRUE(insert.redo(1, child, Lsn(0x2000)));
  EXPECT_EQ(load<uint16_t>(child.data() + 8192 - 4), kBtpLeaf);

  PageBytes meta{};
  ASSERT_TRUE(insert.redo(2, meta, Lsn(0x2000)));
  const uint32_t fields[] = {0x053162, 4, 9, 3, 8, 2, 6};
  for (size_t i = 0; i < std::size(fields); ++i) EXPECT_EQ(load<uint32_t>(meta.data() + 24 + 4 * i), fields[i]) << i;
  EXPECT_EQ(load<double>(meta.data() + 56), -1.0);
  EXPECT_EQ(load<uint8_t>(meta.data() + 64), 1);
  EXPECT_EQ(load<uint16_t>(meta.data() + 8192 - 4), kBtpMeta);
  EXPECT_EQ(pg::page_lower(meta), 72);
}

TEST(BtreeRedo, AnUnlinkedPageThatMovesTheFastRootStillHasALeftSibling) {
  TestRecord unlink(Rmgr::kBtree, 0x90,
                    pack<uint32_t, uint32_t, uint32_t, uint32_t, uint64_t, uint32_t, uint32_t, uint32_t>(
                        5, 7, 1, 0, 800, 0, 0, UINT32_MAX));
  unlink.block(0, 6, {}, /*will_init=*/true).block(1, 5).block(2, 7);
  PageBytes left = btree_page(0, 1);
  store<uint32_t>(left.data() + 8192 - 12, 6);
  ASSERT_TRUE(unlink.redo(1, left, Lsn(0x2000)));
  EXPECT_EQ(load<uint32_t>(left.data() + 8192 - 12), 7u);
  EXPECT_EQ(pg::page_lsn(left), Lsn(0x2000));
}

// A page that a running VACUUM has passed must not look to a later one as if it had been split meanwhile.
TEST(BtreeRedo, AVacuumTakesItsCycleIdOffThePageAndADeletionLeavesIt) {
  const auto cycle_id_after = [](const TestRecord& record) {
    PageBytes page = btree_page(kBtpLeaf, 0);
    EXPECT_TRUE(add_item(page, downlink(10), 1, AddMode::kIndex));
    EXPECT_TRUE(add_item(page, downlink(11), 2, AddMode::kIndex));
    btree_opaque(page)->set_cycle_id(7);
    EXPECT_TRUE(record.redo(0, page, Lsn(0x2000)));
    EXPECT_EQ(pg::page_item_count(page), 1);
    return load<uint16_t>(page.data() + 8192 - 2);
  };
  TestRecord vacuum(Rmgr::kBtree, 0xC0, pack<uint16_t, uint16_t>(1, 0));
  vacuum.block(0, 3, pack<uint16_t>(1));
  EXPECT_EQ(cycle_id_after(vacuum), 0);
  TestRecord deletion(Rmgr::kBtree, 0x70, pack<uint32_t, uint16_t, uint16_t>(700, 1, 0));
  deletion.block(0, 3, pack<uint16_t>(1));
  EXPECT_EQ(cycle_id_after(deletion), 7);
}

}  // namespace
}  // namespace helium::redo
