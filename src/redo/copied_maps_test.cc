// Goal: exactly those bits of a map count as unknown that CREATE DATABASE copied outside of WAL and no record has set or
// cleared since.
// Method: a map page comes as an image with or without its bits; then one record after the other.

#include "redo/copied_maps.h"

#include "redo/side_effects.h"
#include "redo/test_records.h"

namespace helium::redo {
namespace {

using testing::empty_page;
using testing::pack;
using testing::TestRecord;

constexpr uint32_t kDatabase = 16400;  // made by a user
constexpr VmPage page_of(uint32_t dbnode, uint32_t blkno = 0) { return {{1663, dbnode, 1259, pg::Fork::kVm}, blkno}; }
const VmPage kPage = page_of(kDatabase);

bool never(const VmPage&) { return false; }
bool always(const VmPage&) { return true; }

class CopiedMapsTest : public ::testing::Test {
 protected:
  void note(TestRecord& test, const CopiedMaps::IsOlder& is_older = never, uint32_t dbnode = kDatabase, int pg_version = 15) {
    for (pg::BlockRef& ref : test.record.blocks) {
      ref.rel.dbnode = dbnode;
      ref.rel.relnode = kPage.rel.relnode;
    }
    maps_.note(test.record, pg_version, is_older);
  }
  // As CREATE DATABASE logs a page: all but the header lies in the hole.
  void copy(uint32_t dbnode = kDatabase, uint32_t blkno = 0, uint16_t hole_length = pg::kBlockSize - pg::kPageHeaderSize) {
    TestRecord fpi(pg::Rmgr::kXlog, kXlogFpi, {});
    fpi.block(0, blkno, {}, false, pg::Fork::kVm);
    fpi.record.blocks[0].image = pg::BlockImage{true, pg::ImageCompression::kNone, pg::kPageHeaderSize, hole_length, header_};
    note(fpi, never, dbnode);
  }
  void set_visible(uint32_t heap_blkno, uint8_t flags, const CopiedMaps::IsOlder& is_older = never, uint32_t dbnode = kDatabase) {
    TestRecord visible(pg::Rmgr::kHeap2, 0x40, pack<uint32_t, uint8_t>(700, flags));
    visible.block(0, vm_blkno_of(heap_blkno), {}, false, pg::Fork::kVm).block(1, heap_blkno);
    note(visible, is_older, dbnode);
  }
  void lock(uint32_t heap_blkno, const CopiedMaps::IsOlder& is_older = never, uint32_t dbnode = kDatabase) {
    TestRecord lock(pg::Rmgr::kHeap, 0x60, pack<uint32_t, uint16_t, uint8_t, uint8_t>(700, 1, 0, 0x01));
    lock.block(0, heap_blkno);
    note(lock, is_older, dbnode);
  }
  uint8_t unknown(uint32_t heap_blkno, uint32_t dbnode = kDatabase) const {
    const ByteView page = maps_.unknown_bits(page_of(dbnode, vm_blkno_of(heap_blkno)));
    return page.empty() ? 0 : get_vm_bits(page, heap_blkno);
  }

  CopiedMaps maps_;
  const Bytes header_ = Bytes(pg::kPageHeaderSize);
};

TEST_F(CopiedMapsTest, OfAMapThatWasNotCopiedAllIsKnown) {
  set_visible(3, kVmAllVisible);
  lock(4);
  EXPECT_TRUE(maps_.unknown_bits(kPage).empty());
}

TEST_F(CopiedMapsTest, OfACopyNothingIsKnownAndNoOtherPageIsConcerned) {
  copy();
  for (const uint32_t blkno : {0u, 3u, kHeapBlocksPerVmPage - 1}) EXPECT_EQ(unknown(blkno), kVmAllBits);
  EXPECT_EQ(unknown(kHeapBlocksPerVmPage), 0);
  EXPECT_EQ(unknown(3, kDatabase + 1), 0);
}

TEST_F(CopiedMapsTest, AnImageThatHasTheBitsTellsThem) {
  copy();
  TestRecord fpi(pg::Rmgr::kXlog, kXlogFpi, {});
  const PageBytes whole = empty_page();
  fpi.block(0, 0, {}, false, pg::Fork::kVm).image(0, whole, true);
  note(fpi);
  EXPECT_TRUE(maps_.unknown_bits(kPage).empty());
  copy(kDatabase, 0, 100);  // another hole than all of the content
  EXPECT_TRUE(maps_.unknown_bits(kPage).empty());
}

TEST_F(CopiedMapsTest, AnImageForCheckingTellsNothing) {
  copy();
  TestRecord visible(pg::Rmgr::kHeap2, 0x40, pack<uint32_t, uint8_t>(700, kVmAllVisible));
  const PageBytes whole = empty_page();
  visible.block(0, 0, {}, false, pg::Fork::kVm).block(1, 3).image(0, whole, false);
  note(visible);
  EXPECT_EQ(unknown(4), kVmAllBits);
}

TEST_F(CopiedMapsTest, WhatARecordSetsOrClearsIsKnownFromThenOn) {
  copy();
  set_visible(3, kVmAllVisible);
  EXPECT_EQ(unknown(3), kVmAllFrozen) << "the frozen bit may still be the source's";
  lock(3);
  EXPECT_EQ(unknown(3), 0);
  lock(5);
  EXPECT_EQ(unknown(5), kVmAllVisible);
  TestRecord remove(pg::Rmgr::kHeap, 0x10, pack<uint32_t, uint16_t, uint8_t, uint8_t>(700, 1, 0, 0x01));
  remove.block(0, 6);
  note(remove);
  EXPECT_EQ(unknown(6), 0);
  for (const uint32_t blkno : {2, 4, 7}) EXPECT_EQ(unknown(blkno), kVmAllBits) << blkno;
}

TEST_F(CopiedMapsTest, ARecordThatNamesTheMapPageCountsToo) {
  copy();
  TestRecord insert(pg::Rmgr::kHeap, 0x00, pack<uint16_t, uint8_t>(1, 0x01));
  insert.block(0, 8).block(1, 0, {}, false, pg::Fork::kVm);
  note(insert, never, kDatabase, 18);
  EXPECT_EQ(unknown(8), 0);
  EXPECT_EQ(unknown(7), kVmAllBits);
}

TEST_F(CopiedMapsTest, WhatATruncationCutsOffIsKnown) {
  copy();
  copy(kDatabase, 1);
  TestRecord truncate(pg::Rmgr::kSmgr, 0x20, pack<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>(5, 1663, kDatabase, 1259, 7));
  note(truncate);
  EXPECT_EQ(unknown(4), kVmAllBits);
  EXPECT_EQ(unknown(5), 0);
  EXPECT_EQ(unknown(kHeapBlocksPerVmPage), 0) << "the page went";
}

TEST_F(CopiedMapsTest, ACopyByFilesTakesUnknownBitsAlongAndADroppedDatabaseIsForgotten) {
  copy();
  set_visible(3, kVmAllBits);
  TestRecord files(pg::Rmgr::kDbase, 0x00, pack<uint32_t, uint32_t, uint32_t, uint32_t>(kDatabase + 1, 1663, kDatabase, 1663));
  note(files);
  EXPECT_EQ(unknown(3, kDatabase + 1), 0);
  EXPECT_EQ(unknown(4, kDatabase + 1), kVmAllBits);
  TestRecord drop(pg::Rmgr::kDbase, 0x20, pack<uint32_t, uint32_t, uint32_t>(kDatabase, 1, 1663));
  note(drop);
  EXPECT_TRUE(maps_.unknown_bits(kPage).empty());
  EXPECT_EQ(unknown(4, kDatabase + 1), kVmAllBits);
}

TEST_F(CopiedMapsTest, OfAPageFromBeforeTheFirstRecordACopyIsPossibleInAUsersDatabaseOnly) {
  set_visible(3, kVmAllBits, always);
  EXPECT_EQ(unknown(3), 0);
  EXPECT_EQ(unknown(4), kVmAllBits);
  set_visible(3, kVmAllBits, always, 5);
  lock(4, always, 5);
  EXPECT_TRUE(maps_.unknown_bits(page_of(5)).empty());
}

}  // namespace
}  // namespace helium::redo
