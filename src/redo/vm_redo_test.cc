#include "redo/test_records.h"

namespace helium::redo {
namespace {

using testing::empty_page;
using testing::kRel;
using testing::pack;
using testing::TestRecord;

pg::RelTag vm_rel() {
  pg::RelTag rel = kRel;
  rel.forknum = pg::Fork::kVm;
  return rel;
}

std::vector<VmPage> effects(const TestRecord& test) {
  std::vector<VmPage> pages;
  for_each_vm_effect(test.record, 15, [&](const VmPage& page) { pages.push_back(page); });
  return pages;
}

void set_bits(PageBytes& page, uint32_t heap_blkno, uint8_t flags) {
  const uint32_t index = heap_blkno % kHeapBlocksPerVmPage;
  page[24 + index / 4] |= static_cast<std::byte>(flags << index % 4 * 2);
}

constexpr uint32_t kPerPage = kHeapBlocksPerVmPage;

TEST(VisibilityMap, InsertDeleteAndMultiInsertClearBothBitsOfTheirBlock) {
  const struct {
    pg::Rmgr rmgr;
    uint8_t info;
    Bytes main;
  } records[] = {
      {pg::Rmgr::kHeap, 0x00, pack<uint16_t, uint8_t>(1, 0x01)},
      {pg::Rmgr::kHeap, 0x10, pack<uint32_t, uint16_t, uint8_t, uint8_t>(700, 1, 0, 0x01)},
      {pg::Rmgr::kHeap2, 0x50, pack<uint8_t, uint8_t, uint16_t>(0x01, 0, 1)},
  };
  for (const auto& [rmgr, info, main] : records) {
    TestRecord test(rmgr, info, main);
    test.block(0, kPerPage + 5);
    ASSERT_EQ(effects(test), (std::vector<VmPage>{{vm_rel(), 1}}));
    PageBytes page = empty_page();
    set_bits(page, 4, kVmAllBits);
    set_bits(page, 5, kVmAllBits);
    pg::set_page_lsn(page, Lsn(0x10));
    ASSERT_TRUE(redo_vm_side_effect(test.record, {Lsn(0x1000), 15, false, 1, vm_rel()}, page));
    EXPECT_EQ(get_vm_bits(page, kPerPage + 5), 0);
    EXPECT_EQ(get_vm_bits(page, kPerPage + 4), kVmAllBits);
    EXPECT_EQ(pg::page_lsn(page), Lsn(0x10)) << "the old form does not move the LSN";
  }
}

TEST(VisibilityMap, LocksClearOnlyTheFrozenBit) {
  for (const auto& [rmgr, info] : {std::pair{pg::Rmgr::kHeap, 0x60}, std::pair{pg::Rmgr::kHeap2, 0x60}}) {
    TestRecord lock(rmgr, static_cast<uint8_t>(info), pack<uint32_t, uint16_t, uint8_t, uint8_t>(700, 1, 0, 0x01));
    lock.block(0, 5);
    ASSERT_EQ(effects(lock), (std::vector<VmPage>{{vm_rel(), 0}}));
    PageBytes page = empty_page();
    set_bits(page, 5, kVmAllBits);
    ASSERT_TRUE(redo_vm_side_effect(lock.record, {Lsn(0x1000), 15, false, 0, vm_rel()}, page));
    EXPECT_EQ(get_vm_bits(page, 5), kVmAllVisible);
  }
}

TEST(VisibilityMap, AnUpdateMayClearBitsOnTwoMapPages) {
  const Bytes main = pack<uint32_t, uint16_t, uint8_t, uint8_t, uint32_t, uint16_t>(700, 1, 0, 0x03, 0, 1);
  TestRecord update(pg::Rmgr::kHeap, 0x20, main);
  update.block(0, kPerPage).block(1, 7);
  EXPECT_EQ(effects(update), (std::vector<VmPage>{{vm_rel(), 0}, {vm_rel(), 1}}));

  TestRecord near(pg::Rmgr::kHeap, 0x20, main);
  near.block(0, 8).block(1, 7);
  ASSERT_EQ(effects(near), (std::vector<VmPage>{{vm_rel(), 0}})) << "each page once";
  PageBytes page = empty_page();
  for (const uint32_t blkno : {6, 7, 8}) set_bits(page, blkno, kVmAllBits);
  ASSERT_TRUE(redo_vm_side_effect(near.record, {Lsn(0x1000), 15, false, 0, vm_rel()}, page));
  EXPECT_EQ(get_vm_bits(page, 6), kVmAllBits);
  EXPECT_EQ(get_vm_bits(page, 7), 0);
  EXPECT_EQ(get_vm_bits(page, 8), 0);

  TestRecord hot(pg::Rmgr::kHeap, 0x40, main);  // one page: the flags are both about block 0
  hot.block(0, 9);
  EXPECT_EQ(effects(hot), (std::vector<VmPage>{{vm_rel(), 0}}));
}

TEST(VisibilityMap, AMapPageThatIsNamedIsAnOrdinaryBlockAndCoversTheOldBlockToo) {
  TestRecord update(pg::Rmgr::kHeap, 0x20,
                    pack<uint32_t, uint16_t, uint8_t, uint8_t, uint32_t, uint16_t>(700, 1, 0, 0x03, 0, 1));
  update.block(0, 8).block(1, 7).block(2, 0, {}, false, pg::Fork::kVm);
  EXPECT_TRUE(effects(update).empty());
  PageBytes page = empty_page();
  for (const uint32_t blkno : {7, 8}) set_bits(page, blkno, kVmAllBits);
  ASSERT_TRUE(update.redo(2, page, Lsn(0x5000)));
  EXPECT_EQ(get_vm_bits(page, 7), 0);
  EXPECT_EQ(get_vm_bits(page, 8), 0);
  EXPECT_EQ(pg::page_lsn(page), Lsn(0x5000));
  pg::set_page_lsn(page, Lsn(0x10));
  ASSERT_TRUE(update.redo(2, page, Lsn(0x6000)));
  EXPECT_EQ(pg::page_lsn(page), Lsn(0x10)) << "no bit was set: the LSN stays";
}

// 17.11, 18.6 and later: each record that clears bits may name the map page. Block ids and flags of heapam_xlog.h.
TEST(VisibilityMap, EachRecordThatClearsBitsMayNameItsMapPage) {
  const auto update = [](uint8_t flags) {
    return pack<uint32_t, uint16_t, uint8_t, uint8_t, uint32_t, uint16_t>(700, 1, 0, flags, 0, 1);
  };
  const Bytes lock = pack<uint32_t, uint16_t, uint8_t, uint8_t>(700, 1, 0, 0x01);
  const struct {
    pg::Rmgr rmgr;
    uint8_t info;
    Bytes main;
    bool other_page;     // the update's old version is on a page of its own, block 7
    uint8_t map_ref;
    uint8_t left_of_7;   // bits after
    uint8_t left_of_8;
  } records[] = {
      {pg::Rmgr::kHeap, 0x00, pack<uint16_t, uint8_t>(1, 0x01), false, 1, kVmAllBits, 0},
      {pg::Rmgr::kHeap, 0x10, pack<uint32_t, uint16_t, uint8_t, uint8_t>(700, 1, 0, 0x01), false, 1, kVmAllBits, 0},
      {pg::Rmgr::kHeap, 0x20, update(0x02), true, 2, kVmAllBits, 0},
      {pg::Rmgr::kHeap, 0x20, update(0x01), true, 3, 0, kVmAllBits},
      {pg::Rmgr::kHeap, 0xA0, update(0x01), true, 3, 0, kVmAllBits},
      {pg::Rmgr::kHeap, 0x40, update(0x03), false, 3, kVmAllBits, 0},
      {pg::Rmgr::kHeap, 0x60, lock, false, 1, kVmAllBits, kVmAllVisible},
      {pg::Rmgr::kHeap2, 0x50, pack<uint8_t, uint8_t, uint16_t>(0x01, 0, 1), false, 1, kVmAllBits, 0},
      {pg::Rmgr::kHeap2, 0x60, lock, false, 1, kVmAllBits, kVmAllVisible},
  };
  for (const auto& expected : records) {
    TestRecord test(expected.rmgr, expected.info, expected.main);
    test.block(0, 8);
    if (expected.other_page) test.block(1, 7);
    test.block(expected.map_ref, 0, {}, false, pg::Fork::kVm);
    EXPECT_TRUE(effects(test).empty());
    PageBytes page = empty_page();
    for (const uint32_t blkno : {7, 8}) set_bits(page, blkno, kVmAllBits);
    RedoContext context = test.context(expected.map_ref, Lsn(0x5000));
    context.pg_version = 18;
    ASSERT_TRUE(redo_block(test.record, *test.record.block(expected.map_ref), context, page));
    EXPECT_EQ(get_vm_bits(page, 7), expected.left_of_7) << int{expected.info};
    EXPECT_EQ(get_vm_bits(page, 8), expected.left_of_8) << int{expected.info};
    EXPECT_EQ(pg::page_lsn(page), Lsn(0x5000));
  }
}

TEST(VisibilityMap, WithoutTheFlagNothingHappensAndAnEmptyPageStaysEmpty) {
  TestRecord insert(pg::Rmgr::kHeap, 0x00, pack<uint16_t, uint8_t>(1, 0x00));
  insert.block(0, 5);
  EXPECT_TRUE(effects(insert).empty());
  TestRecord clearing(pg::Rmgr::kHeap, 0x00, pack<uint16_t, uint8_t>(1, 0x01));
  clearing.block(0, 5);
  PageBytes page{};
  ASSERT_TRUE(redo_vm_side_effect(clearing.record, {Lsn(0x1000), 15, false, 0, vm_rel()}, page));
  EXPECT_EQ(page, PageBytes{});
}

TEST(VisibilityMap, VisibleSetsTheMapsBitsAndThePagesFlag) {
  TestRecord visible(pg::Rmgr::kHeap2, 0x40, pack<uint32_t, uint8_t>(700, 0x03));
  visible.block(0, 1, {}, false, pg::Fork::kVm).block(1, kPerPage + 2);
  PageBytes map{};  // not there yet
  ASSERT_TRUE(visible.redo(0, map, Lsn(0x2000)));
  EXPECT_EQ(get_vm_bits(map, kPerPage + 2), kVmAllBits);
  EXPECT_EQ(pg::page_lower(map), 24);
  EXPECT_EQ(pg::page_lsn(map), Lsn(0x2000));

  PageBytes heap = empty_page();
  ASSERT_TRUE(visible.redo(1, heap, Lsn(0x2000)));
  EXPECT_TRUE(pg::page_flags(heap) & pg::kPdAllVisible);
  EXPECT_EQ(pg::page_lsn(heap), Lsn(0)) << "only checksums or wal_log_hints move it";
  RedoContext context = visible.context(1, Lsn(0x2000));
  context.data_checksums_or_wal_log_hints = true;
  ASSERT_TRUE(redo_block(visible.record, *visible.record.block(1), context, heap));
  EXPECT_EQ(pg::page_lsn(heap), Lsn(0x2000));
}

TEST(VisibilityMap, TruncationClearsTheTailOfTheLastMapPage) {
  EXPECT_EQ(vm_truncation(0).nblocks, 0u);
  EXPECT_FALSE(vm_truncation(0).clears_tail);
  EXPECT_EQ(vm_truncation(kPerPage).nblocks, 1u);
  EXPECT_FALSE(vm_truncation(kPerPage).clears_tail);
  EXPECT_EQ(vm_truncation(kPerPage + 1).nblocks, 2u);
  EXPECT_TRUE(vm_truncation(kPerPage + 1).clears_tail);

  for (const uint32_t nblocks : {1u, 5u, 6u, 4001u, kPerPage - 1}) {
    TestRecord truncate(pg::Rmgr::kSmgr, 0x20,
                        pack<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>(nblocks, 1663, 5, 16385, 0x7));
    ASSERT_EQ(effects(truncate), (std::vector<VmPage>{{vm_rel(), 0}}));
    PageBytes page = empty_page();
    std::fill(page.begin() + 24, page.end(), std::byte{0xFF});
    ASSERT_TRUE(redo_vm_side_effect(truncate.record, {Lsn(0x1000), 15, false, 0, vm_rel()}, page));
    for (uint32_t blkno = 0; blkno < kPerPage; ++blkno)
      ASSERT_EQ(get_vm_bits(page, blkno), blkno < nblocks ? kVmAllBits : 0) << blkno << " of " << nblocks;
  }
}

}  // namespace
}  // namespace helium::redo
