#include "redo/page_edit.h"

#include "redo/mask.h"
#include "redo/test_records.h"

namespace helium::redo {
namespace {

using testing::empty_page;

Bytes item_of(char letter, size_t size) { return Bytes(size, static_cast<std::byte>(letter)); }

std::string letters(const PageBytes& page) {
  std::string text;
  for (uint16_t i = 1; i <= pg::page_item_count(page); ++i) {
    const pg::ItemId id = pg::page_item_id(page, i);
    text += id.has_storage() ? static_cast<char>(pg::page_item(ByteView(page), id)[0]) : '-';
  }
  return text;
}

TEST(PageEdit, IndexItemsMoveUpAndHeapItemsDoNot) {
  PageBytes page = empty_page(16);
  ASSERT_TRUE(add_item(page, item_of('a', 16), 1, AddMode::kIndex));
  ASSERT_TRUE(add_item(page, item_of('c', 16), 2, AddMode::kIndex));
  ASSERT_TRUE(add_item(page, item_of('b', 24), 2, AddMode::kIndex));
  EXPECT_EQ(letters(page), "abc");
  EXPECT_FALSE(add_item(page, item_of('d', 8), 5, AddMode::kIndex)) << "one past the last is 4";
  EXPECT_FALSE(add_item(page, item_of('d', 8), 2, AddMode::kHeap)) << "in use";
  EXPECT_FALSE(add_item(page, item_of('d', 8200), 4, AddMode::kIndex));
  EXPECT_FALSE(add_item(page, item_of('d', 0), 4, AddMode::kIndex));
  EXPECT_EQ(letters(page), "abc");
}

TEST(PageEdit, ANewOrDamagedPageTakesNoItem) {
  PageBytes page{};
  EXPECT_FALSE(add_item(page, item_of('a', 16), 1, AddMode::kHeap));
  page = empty_page();
  pg::set_page_upper(page, 9000);
  EXPECT_FALSE(add_item(page, item_of('a', 16), 1, AddMode::kHeap));
  pg::set_page_upper(page, 8192);
  pg::set_page_lower(page, 20);
  EXPECT_FALSE(add_item(page, item_of('a', 16), 1, AddMode::kHeap));
}

TEST(PageEdit, RepairPacksTuplesInTheOrderOfTheirNumbersAndCutsUnusedOnes) {
  PageBytes page = empty_page();
  for (uint16_t i = 1; i <= 6; ++i) ASSERT_TRUE(add_item(page, item_of(static_cast<char>('a' + i - 1), 40u + i), i, AddMode::kHeap));
  pg::set_page_item_id(page, 2, pg::ItemId{});
  pg::set_page_item_id(page, 3, pg::ItemId{1, pg::ItemFlags::kRedirect, 0});
  pg::set_page_item_id(page, 6, pg::ItemId{});
  ASSERT_TRUE(repair_fragmentation(page));
  EXPECT_EQ(letters(page), "a--de");
  EXPECT_EQ(pg::page_item_id(page, 1).offset, 8192 - 48);
  EXPECT_EQ(pg::page_item_id(page, 4).offset, 8192 - 96);
  EXPECT_EQ(pg::page_upper(page), 8192 - 48 - 48 - 48);
  EXPECT_TRUE(pg::page_flags(page) & pg::kPdHasFreeLines);
}

TEST(PageEdit, TruncationKeepsOneLinePointer) {
  PageBytes page = empty_page();
  for (uint16_t i = 1; i <= 4; ++i) ASSERT_TRUE(add_item(page, item_of('a', 8), i, AddMode::kHeap));
  for (uint16_t i = 1; i <= 4; ++i) pg::set_page_item_id(page, i, pg::ItemId{});
  truncate_line_pointers(page);
  EXPECT_EQ(pg::page_item_count(page), 1);
  EXPECT_TRUE(pg::page_flags(page) & pg::kPdHasFreeLines);
}

TEST(PageEdit, DeletingOneByOneAndTogetherLeaveTheSameItems) {
  for (const size_t ndelete : {1u, 2u, 3u, 7u}) {
    PageBytes page = empty_page(16);
    for (uint16_t i = 1; i <= 10; ++i)
      ASSERT_TRUE(add_item(page, item_of(static_cast<char>('a' + i - 1), 8u * i), i, AddMode::kIndex));
    ByteWriter numbers;
    std::string expected = "abcdefghij";
    for (size_t i = 0; i < ndelete; ++i) numbers.u16(static_cast<uint16_t>(2 + i));
    expected.erase(1, ndelete);
    ASSERT_TRUE(delete_index_items(page, numbers.view()));
    EXPECT_EQ(letters(page), expected);
    for (uint16_t i = 1; i <= pg::page_item_count(page); ++i) {
      const pg::ItemId id = pg::page_item_id(page, i);
      for (const std::byte byte : pg::page_item(ByteView(page), id)) ASSERT_EQ(static_cast<char>(byte), expected[i - 1]);
    }
  }
}

TEST(PageEdit, DeletingOutOfOrderIsRefused) {
  PageBytes page = empty_page(16);
  for (uint16_t i = 1; i <= 5; ++i) ASSERT_TRUE(add_item(page, item_of('a', 8), i, AddMode::kIndex));
  EXPECT_FALSE(delete_index_items(page, testing::pack<uint16_t, uint16_t, uint16_t>(3, 2, 4)));
  EXPECT_FALSE(delete_index_items(page, testing::pack<uint16_t>(6)));
  EXPECT_FALSE(delete_index_items(page, testing::pack<uint16_t>(0)));
}

TEST(PageEdit, OverwritingShiftsOnlyWhatLiesBelow) {
  for (const size_t new_size : {8u, 32u, 64u}) {
    PageBytes page = empty_page(16);
    for (uint16_t i = 1; i <= 3; ++i) ASSERT_TRUE(add_item(page, item_of(static_cast<char>('a' + i - 1), 32), i, AddMode::kIndex));
    const uint16_t first_offset = pg::page_item_id(page, 1).offset;
    ASSERT_TRUE(overwrite_index_item(page, 2, item_of('x', new_size)));
    EXPECT_EQ(letters(page), "axc");
    EXPECT_EQ(pg::page_item_id(page, 1).offset, first_offset);
    EXPECT_EQ(pg::page_item_id(page, 2).length, new_size);
    EXPECT_EQ(pg::page_upper(page), pg::page_item_id(page, 3).offset);
  }
  PageBytes page = empty_page(16);
  ASSERT_TRUE(add_item(page, item_of('a', 32), 1, AddMode::kIndex));
  EXPECT_FALSE(overwrite_index_item(page, 1, item_of('x', 8180)));
  EXPECT_FALSE(overwrite_index_item(page, 2, item_of('x', 8)));
}

TEST(Mask, HidesHintsAndTheHoleButNotTheVisibilityMap) {
  const pg::RelTag rel = testing::kRel;
  PageBytes page = empty_page();
  PageBytes other = page;
  pg::set_page_lsn(other, Lsn(77));
  pg::set_page_flags(other, pg::kPdAllVisible | pg::kPdPageFull | pg::kPdHasFreeLines);
  pg::set_page_prune_xid(other, 9);
  other[4000] = std::byte{1};
  EXPECT_EQ(compare_pages(page, other), 4u);
  ASSERT_TRUE(mask_page(static_cast<uint8_t>(pg::Rmgr::kHeap), 0, rel, 0, page));
  ASSERT_TRUE(mask_page(static_cast<uint8_t>(pg::Rmgr::kHeap), 0, rel, 0, other));
  EXPECT_EQ(compare_pages(page, other), std::nullopt);

  pg::RelTag vm = rel;
  vm.forknum = pg::Fork::kVm;
  PageBytes map = empty_page();
  map[4000] = std::byte{1};
  ASSERT_TRUE(mask_page(static_cast<uint8_t>(pg::Rmgr::kHeap2), 0x40, vm, 0, map));
  EXPECT_EQ(map[4000], std::byte{1});
  pg::set_page_lower(map, 9000);
  EXPECT_FALSE(mask_page(static_cast<uint8_t>(pg::Rmgr::kHeap2), 0, rel, 0, map));
}

}  // namespace
}  // namespace helium::redo
