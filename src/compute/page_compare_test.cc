// Goal: hint bits are no difference; what storage must have right is one, even where PostgreSQL's masks would hide it.
// Method: handmade pages, spoiled in one place each.

#include "compute/page_compare.h"

#include <gtest/gtest.h>

#include "pg/page.h"
#include "redo/brin_page.h"

namespace helium::compute {
namespace {

const pg::RelTag kMain{1663, 5, 16384, pg::Fork::kMain};
const pg::RelTag kVm{1663, 5, 16384, pg::Fork::kVm};

Bytes page_with(uint32_t special) {
  Bytes page(pg::kBlockSize);
  pg::page_init(page, special);
  pg::set_page_lsn(page, Lsn(800));
  return page;
}

TEST(PageCompare, EqualPagesAreEqualWhateverTheKind) {
  for (const PageKind kind : {PageKind::kHeap, PageKind::kBtree, PageKind::kGist, PageKind::kOther}) {
    const Bytes page = page_with(16);
    EXPECT_FALSE(compare_relation_pages(kMain, 3, kind, page, page));
  }
}

TEST(PageCompare, PruneHintsAreNoDifference) {
  const Bytes ours = page_with(0);
  Bytes theirs = ours;
  pg::set_page_prune_xid(theirs, 700);
  EXPECT_FALSE(compare_relation_pages(kMain, 3, PageKind::kHeap, ours, theirs));
}

TEST(PageCompare, AllVisibleIsADifference) {
  const Bytes ours = page_with(0);
  Bytes theirs = ours;
  pg::set_page_flags(theirs, pg::kPdAllVisible);
  const auto difference = compare_relation_pages(kMain, 3, PageKind::kHeap, ours, theirs);
  ASSERT_TRUE(difference);
  EXPECT_EQ(difference->kind, "all_visible");
}

TEST(PageCompare, GistsHintThatTuplesWereDeletedIsNoDifference) {
  const Bytes ours = page_with(16);
  Bytes theirs = ours;
  theirs[pg::kBlockSize - 4] = std::byte{0x04};  // F_TUPLES_DELETED
  EXPECT_FALSE(compare_relation_pages(kMain, 3, PageKind::kGist, ours, theirs));
  theirs[pg::kBlockSize - 4] = std::byte{0x01};  // F_LEAF
  EXPECT_TRUE(compare_relation_pages(kMain, 3, PageKind::kGist, ours, theirs));
}

TEST(PageCompare, WhenAGinPageWasDeletedIsADifference) {
  const Bytes ours = page_with(8);
  Bytes theirs = ours;
  pg::set_page_prune_xid(theirs, 700);
  const auto difference = compare_relation_pages(kMain, 3, PageKind::kGin, ours, theirs);
  ASSERT_TRUE(difference);
  EXPECT_EQ(difference->kind, "delete_xid");
}

TEST(PageCompare, EveryMapByteCounts) {
  const Bytes ours = page_with(0);
  Bytes theirs = ours;
  theirs[4000] = std::byte{1};
  EXPECT_TRUE(compare_relation_pages(kVm, 0, PageKind::kHeap, ours, theirs));
}

TEST(PageCompare, GistNsnIsADifference) {
  const Bytes ours = page_with(16);
  Bytes theirs = ours;
  theirs[pg::kBlockSize - 16] = std::byte{1};
  const auto difference = compare_relation_pages(kMain, 3, PageKind::kGist, ours, theirs);
  ASSERT_TRUE(difference);
  EXPECT_EQ(difference->kind, "nsn");
}

TEST(PageCompare, AnExtendedPageThatWasNeverLoggedEqualsZeros) {
  const Bytes zeros(pg::kBlockSize);
  Bytes empty(pg::kBlockSize);
  pg::page_init(empty, 0);
  EXPECT_TRUE(is_unlogged_empty_page(zeros));
  EXPECT_TRUE(is_unlogged_empty_page(empty));
  EXPECT_FALSE(is_unlogged_empty_page(page_with(0)));
  EXPECT_FALSE(compare_relation_pages(kMain, 3, PageKind::kHeap, empty, zeros));
  EXPECT_TRUE(compare_relation_pages(kMain, 3, PageKind::kHeap, page_with(0), zeros));
}

// A sequence page with one tuple: 24 bytes of header, then last_value, log_cnt, is_called.
Bytes sequence_page(uint64_t last_value, uint64_t log_cnt) {
  Bytes page = page_with(8);
  constexpr uint16_t kLength = 24 + 17;
  const uint16_t offset = pg::kBlockSize - 8 - 48;
  pg::set_page_lower(page, pg::kPageHeaderSize + pg::kItemIdSize);
  pg::set_page_upper(page, offset);
  pg::set_page_item_id(page, 1, {offset, pg::ItemFlags::kNormal, kLength});
  page[offset + 22] = std::byte{24};
  store(page.data() + offset + 24, last_value);
  store(page.data() + offset + 32, log_cnt);
  return page;
}

TEST(PageCompare, ASequenceLogsAhead) {
  EXPECT_FALSE(compare_relation_pages(kMain, 0, PageKind::kSequence, sequence_page(100, 32), sequence_page(132, 0)));
  EXPECT_TRUE(compare_relation_pages(kMain, 0, PageKind::kSequence, sequence_page(100, 0), sequence_page(132, 0)));
}

TEST(PageCompare, MapsOfCopiedTablesMayHaveFewerBitsAtStorageAndNeverMore) {
  const pg::RelTag copied{1663, 20000, 17000, pg::Fork::kVm};
  Bytes ours = page_with(0);
  ours[100] = std::byte{0xFF};
  const Bytes theirs = page_with(0);
  EXPECT_TRUE(is_map_of_copied_table(copied, PageKind::kHeap, ours, theirs));
  EXPECT_FALSE(is_map_of_copied_table(copied, PageKind::kHeap, theirs, ours));
  EXPECT_FALSE(is_map_of_copied_table({1663, 5, 1259, pg::Fork::kVm}, PageKind::kHeap, ours, theirs)) << "initdb's database";
  EXPECT_FALSE(is_map_of_copied_table({1663, 20000, 20001, pg::Fork::kVm}, PageKind::kHeap, ours, theirs)) << "made in it";
  EXPECT_FALSE(is_map_of_copied_table({1663, 20000, 17000, pg::Fork::kMain}, PageKind::kHeap, ours, theirs));
}

TEST(PageCompare, RevmapsOfCopiedIndexesMayLackEntriesAtStorageAndHaveNoOthers) {
  const pg::RelTag copied{1663, 20000, 17000, pg::Fork::kMain};
  Bytes ours(pg::kBlockSize);
  redo::init_brin_page(ours, redo::kBrinRevmapPage);
  const Bytes empty = ours;
  ours[24 + 6 * 9] = std::byte{7};
  Bytes other = ours;
  other[24 + 6 * 9] = std::byte{8};
  EXPECT_TRUE(compare_relation_pages(copied, 1, PageKind::kBrin, ours, empty));
  EXPECT_TRUE(is_map_of_copied_table(copied, PageKind::kBrin, ours, empty));
  EXPECT_FALSE(is_map_of_copied_table(copied, PageKind::kBrin, empty, ours));
  EXPECT_FALSE(is_map_of_copied_table(copied, PageKind::kBrin, ours, other));
  EXPECT_FALSE(is_map_of_copied_table({1663, 20000, 20001, pg::Fork::kMain}, PageKind::kBrin, ours, empty)) << "made in it";
  EXPECT_FALSE(is_map_of_copied_table(copied, PageKind::kOther, ours, empty));
  Bytes regular = empty;
  redo::init_brin_page(regular, redo::kBrinRegularPage);
  EXPECT_FALSE(is_map_of_copied_table(copied, PageKind::kBrin, ours, regular));
}

TEST(PageCompare, SlruPagesAreComparedAsTheyAre) {
  const Bytes ours(pg::kBlockSize);
  Bytes theirs = ours;
  EXPECT_FALSE(compare_slru_pages(ours, theirs));
  theirs[77] = std::byte{1};
  EXPECT_EQ(compare_slru_pages(ours, theirs)->offset, 77u);
}

}  // namespace
}  // namespace helium::compute
