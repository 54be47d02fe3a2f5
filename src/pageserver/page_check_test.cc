// Goal: every page is looked at; one that cannot be rebuilt, or that cannot be PostgreSQL's, is named, the others not.
// Method: full-page images by hand, good ones and one of each kind of bad.

#include "pageserver/page_check.h"

#include "pageserver/test_timeline.h"
#include "pg/page.h"

namespace helium::pageserver {
namespace {

const pg::RelTag kMap{kRel.spcnode, kRel.dbnode, kRel.relnode, pg::Fork::kVm};

class PageChecks : public TestTimeline {
 protected:
  static Bytes empty_page(uint16_t flags = 0) {
    Bytes page(pg::kBlockSize);
    pg::page_init(page, 0);
    pg::set_page_flags(page, flags);
    return page;
  }
  void put(const pg::RelTag& rel, uint32_t blkno, ByteView page) {
    ingest(RecordBuilder(pg::Rmgr::kXlog, 0xB0).image(0, rel, blkno, page));
  }
  PageFindings look() {
    PageFindings findings;
    PageCheck check(timeline_->reader(), timeline_->last_record_lsn(), [](uint64_t, uint64_t) { return true; });
    const Status done = check.run(findings);
    EXPECT_TRUE(done) << done.error().message;
    return findings;
  }
};

TEST_F(PageChecks, GoodPagesAreCountedByFork) {
  put(kRel, 0, empty_page(pg::kPdAllVisible));
  put(kRel, 2, empty_page());  // the gap is zeros
  Bytes map = empty_page();
  map[pg::kPageHeaderSize] = std::byte{0x01};  // block 0 is all-visible
  put(kMap, 0, map);
  const PageFindings found = look();
  EXPECT_EQ(found.differences, 0u) << found.first_differences[0].what << ": " << found.first_differences[0].detail;
  EXPECT_EQ(found.forks, 2u);
  EXPECT_EQ(found.pages[0], 3u);
  EXPECT_EQ(found.pages[static_cast<size_t>(pg::Fork::kVm)], 1u);
  EXPECT_EQ(found.zero_pages, 1u);
  EXPECT_EQ(found.map_bits, 1u);
}

TEST_F(PageChecks, AMapThatSaysMoreThanItsPageIsADifference) {
  for (uint32_t blkno = 0; blkno < 6; ++blkno) put(kRel, blkno, empty_page(blkno == 5 ? 0 : pg::kPdAllVisible));
  Bytes map = empty_page();
  map[pg::kPageHeaderSize + 1] = std::byte{0x05};  // blocks 4 and 5
  put(kMap, 0, map);
  const PageFindings found = look();
  ASSERT_EQ(found.differences, 1u);
  EXPECT_EQ(found.first_differences[0].what, "1663/5/16384 blk 5");
  EXPECT_EQ(found.first_differences[0].detail, "the visibility map says all-visible, the page does not");
}

TEST_F(PageChecks, AnImpossibleHeaderAndAPageThatRedoRefusesAreDifferences) {
  put(kRel, 0, empty_page());
  put(kRel, 1, Bytes(pg::kBlockSize, std::byte{7}));
  const Bytes insert = words({0x00010001});  // offset 1; a heap insert without a tuple
  ingest(RecordBuilder(pg::Rmgr::kHeap, 0x00, 700).block(0, kRel, 2, false).main(ByteView(insert).first(3)));
  const PageFindings found = look();
  ASSERT_EQ(found.differences, 2u);
  EXPECT_EQ(found.first_differences[0].what, "1663/5/16384 blk 1");
  EXPECT_EQ(found.first_differences[0].detail, "the page header is impossible");
  EXPECT_EQ(found.first_differences[1].what, "1663/5/16384 blk 2");
  EXPECT_NE(found.first_differences[1].detail.find("HEAP/INSERT"), std::string::npos) << found.first_differences[1].detail;
}

TEST_F(PageChecks, CanBeCanceled) {
  put(kRel, 0, empty_page());
  PageFindings findings;
  PageCheck check(timeline_->reader(), timeline_->last_record_lsn(), [](uint64_t, uint64_t) { return false; });
  const Status stopped = check.run(findings);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCanceled);
}

}  // namespace
}  // namespace helium::pageserver
