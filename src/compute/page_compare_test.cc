// Goal: hint bits are no difference; what storage must have right is one, even where PostgreSQL's masks would hide it.
// Method: handmade pages, spoiled in one place each.

#include "compute/page_compare.h"

#include <gtest/gtest.h>

#include "pg/page.h"

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

TEST(PageCompare, SlruPagesAreComparedAsTheyAre) {
  const Bytes ours(pg::kBlockSize);
  Bytes theirs = ours;
  EXPECT_FALSE(compare_slru_pages(ours, theirs));
  theirs[77] = std::byte{1};
  EXPECT_EQ(compare_slru_pages(ours, theirs)->offset, 77u);
}

}  // namespace
}  // namespace helium::compute
