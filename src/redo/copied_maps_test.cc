// Goal: exactly those bits and entries of a map count as unknown that CREATE DATABASE copied outside of WAL and no record
// has changed since.
// Method: a map page comes as an image with or without its content; then one record after the other.

#include "redo/copied_maps.h"

#include <algorithm>

#include "redo/brin_page.h"
#include "redo/side_effects.h"
#include "redo/test_records.h"

namespace helium::redo {
namespace {

using testing::empty_page;
using testing::pack;
using testing::TestRecord;

constexpr uint32_t kDatabase = 16400;  // made by a user
constexpr MapPage page_of(uint32_t dbnode, uint32_t blkno = 0) { return {{1663, dbnode, 1259, pg::Fork::kVm}, blkno}; }
const MapPage kPage = page_of(kDatabase);

bool never(const MapPage&) { return false; }
bool always(const MapPage&) { return true; }

class CopiedMapsTest : public ::testing::Test {
 protected:
  // Our page gets the same record.
  void note(TestRecord& test, const CopiedMaps::IsOlder& is_older = never, uint32_t dbnode = kDatabase, int pg_version = 15) {
    const Lsn end(lsn_ += 8);
    for (pg::BlockRef& ref : test.record.blocks) {
      ref.rel.dbnode = dbnode;
      ref.rel.relnode = kPage.rel.relnode;
    }
    maps_.note(test.record, pg_version, end, is_older);
    for (const pg::BlockRef& ref : test.record.blocks) {
      PageBytes* page = ours(ref.rel, ref.blkno);
      if (page != nullptr) EXPECT_TRUE(redo_block(test.record, ref, {end, pg_version, false, ref.blkno, ref.rel}, *page));
    }
    for_each_vm_effect(test.record, pg_version, [&](const VmPage& vm) {
      PageBytes* page = ours(vm.rel, vm.blkno);
      if (page != nullptr) EXPECT_TRUE(redo_vm_side_effect(test.record, {end, pg_version, false, vm.blkno, vm.rel}, *page));
    });
  }
  PageBytes* ours(const pg::RelTag& rel, uint32_t blkno) {
    const auto found = ours_.find({rel, blkno});
    return found == ours_.end() ? nullptr : &found->second;
  }
  // As CREATE DATABASE logs a page: all but the header lies in the hole.
  void copy(uint32_t dbnode = kDatabase, uint32_t blkno = 0, uint16_t hole_length = pg::kBlockSize - pg::kPageHeaderSize) {
    TestRecord fpi(pg::Rmgr::kXlog, kXlogFpi, {});
    fpi.block(0, blkno, {}, false, pg::Fork::kVm);
    ours_[page_of(dbnode, blkno)] = {};
    const Bytes bytes(empty_.begin(), empty_.end() - hole_length);
    fpi.record.blocks[0].image = pg::BlockImage{true, pg::ImageCompression::kNone, pg::kPageHeaderSize, hole_length, bytes};
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
  // Set where PostgreSQL's content is not compared: there its opposite of ours becomes ours.
  PageBytes unknown_of(const MapPage& page) const {
    const auto found = ours_.find(page);
    const PageBytes ours = found == ours_.end() ? PageBytes{} : found->second;
    PageBytes theirs = ours;
    for (std::byte& byte : theirs) byte = ~byte;
    maps_.copy_unknown(page, ours, theirs);
    for (size_t at = 0; at < theirs.size(); ++at) theirs[at] = ~(theirs[at] ^ ours[at]);
    return theirs;
  }
  uint8_t unknown(uint32_t heap_blkno, uint32_t dbnode = kDatabase) const {
    return get_vm_bits(unknown_of(page_of(dbnode, vm_blkno_of(heap_blkno))), heap_blkno);
  }

  CopiedMaps maps_;
  std::map<MapPage, PageBytes> ours_;
  uint64_t lsn_ = 0x1000;
  const PageBytes empty_ = empty_page();
};

TEST_F(CopiedMapsTest, OfAMapThatWasNotCopiedAllIsKnown) {
  set_visible(3, kVmAllVisible);
  lock(4);
  EXPECT_EQ(unknown_of(kPage), PageBytes{});
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
  EXPECT_EQ(unknown_of(kPage), PageBytes{});
  copy(kDatabase, 0, 100);  // another hole than all of the content
  EXPECT_EQ(unknown_of(kPage), PageBytes{});
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
  ours_[page_of(kDatabase + 1)] = ours_[kPage];
  EXPECT_EQ(unknown(3, kDatabase + 1), 0);
  EXPECT_EQ(unknown(4, kDatabase + 1), kVmAllBits);
  TestRecord drop(pg::Rmgr::kDbase, 0x20, pack<uint32_t, uint32_t, uint32_t>(kDatabase, 1, 1663));
  note(drop);
  EXPECT_EQ(unknown_of(kPage), PageBytes{});
  EXPECT_EQ(unknown(4, kDatabase + 1), kVmAllBits);
}

TEST_F(CopiedMapsTest, OfAPageFromBeforeTheFirstRecordACopyIsPossibleInAUsersDatabaseOnly) {
  ours_[kPage] = empty_page();
  set_visible(3, kVmAllBits, always);
  EXPECT_EQ(unknown(3), 0);
  EXPECT_EQ(unknown(4), kVmAllBits);
  set_visible(3, kVmAllBits, always, 5);
  lock(4, always, 5);
  EXPECT_EQ(unknown_of(page_of(5)), PageBytes{});
}

// A revmap page: its entries, 6 bytes each, go and come alike.
class CopiedRevmaps : public CopiedMapsTest {
 protected:
  static MapPage revmap() {
    MapPage page = kPage;
    page.rel.forknum = pg::Fork::kMain;
    page.blkno = 1;
    return page;
  }
  void copy_revmap() {
    PageBytes page;
    init_brin_page(page, kBrinRevmapPage);
    Bytes bytes(page.begin(), page.begin() + pg::kPageHeaderSize);
    bytes.insert(bytes.end(), page.end() - kBrinSpecialSize, page.end());
    ours_[revmap()] = {};
    TestRecord fpi(pg::Rmgr::kXlog, kXlogFpi, {});
    fpi.block(0, 1);
    constexpr uint16_t kHole = pg::kBlockSize - pg::kPageHeaderSize - kBrinSpecialSize;
    fpi.record.blocks[0].image = pg::BlockImage{true, pg::ImageCompression::kNone, pg::kPageHeaderSize, kHole, bytes};
    note(fpi);
  }
  // The summary of the range's first heap block is entry (blkno, 1).
  void desummarize(uint32_t range, const CopiedMaps::IsOlder& is_older = never) {
    TestRecord record(pg::Rmgr::kBrin, kBrinDesummarize, pack<uint32_t, uint32_t, uint16_t>(4, range * 4, 1));
    record.block(0, 1);
    note(record, is_older);
  }
  // Unknown bytes of an entry.
  size_t unknown_bytes(uint32_t range) const {
    const PageBytes unknown = unknown_of(revmap());
    const auto entry = std::span(unknown).subspan(pg::kPageHeaderSize + 6 * range, 6);
    return static_cast<size_t>(std::ranges::count(entry, std::byte{0xFF}));
  }
};

TEST_F(CopiedRevmaps, EntriesAreUnknownUntilARecordWritesThem) {
  copy_revmap();
  EXPECT_EQ(unknown_bytes(0), 6u);
  EXPECT_EQ(unknown_bytes(1359), 6u);
  desummarize(7);
  EXPECT_EQ(unknown_bytes(7), 0u);
  EXPECT_EQ(unknown_bytes(6), 6u);
  EXPECT_EQ(unknown_bytes(8), 6u);
  EXPECT_EQ(unknown_of(revmap())[pg::kBlockSize - 1], std::byte{0}) << "the page type is in the image";
}

TEST_F(CopiedRevmaps, AnotherPageOfThatShapeIsWhatItsImageSays) {
  PageBytes page;
  init_brin_page(page, kBrinRegularPage);
  Bytes bytes(page.begin(), page.begin() + pg::kPageHeaderSize);
  bytes.insert(bytes.end(), page.end() - kBrinSpecialSize, page.end());
  TestRecord fpi(pg::Rmgr::kXlog, kXlogFpi, {});
  fpi.block(0, 1);
  constexpr uint16_t kHole = pg::kBlockSize - pg::kPageHeaderSize - kBrinSpecialSize;
  fpi.record.blocks[0].image = pg::BlockImage{true, pg::ImageCompression::kNone, pg::kPageHeaderSize, kHole, bytes};
  note(fpi);
  EXPECT_EQ(unknown_of(revmap()), PageBytes{});
}

TEST_F(CopiedRevmaps, AnOlderPageMayBeACopy) {
  ours_[revmap()] = {};
  init_brin_page(ours_[revmap()], kBrinRevmapPage);
  desummarize(7, always);
  EXPECT_EQ(unknown_bytes(7), 0u);
  EXPECT_EQ(unknown_bytes(8), 6u);
}

}  // namespace
}  // namespace helium::redo
