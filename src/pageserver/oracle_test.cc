// Goal: a page that differs from its record's image is seen and named; what could not be compared is not counted as such.
// Method: handmade inserts with an image that is right, wrong by a byte, missing, or of a page that redo refuses.

#include "pageserver/oracle.h"

#include <algorithm>

#include "pageserver/format.h"
#include "pageserver/test_timeline.h"
#include "pg/page.h"

namespace helium::pageserver {
namespace {

constexpr uint8_t kInsertInit = 0x80;

// xl_heap_header (t_infomask2, t_infomask, t_hoff), a padding byte, and the text "abcdefg".
Bytes tuple() {
  ByteWriter out;
  out.u16(1);
  out.u16(0x0802);
  out.u8(24);
  out.u8(0);
  out.raw(as_bytes(std::string_view("abcdefg")));
  return out.take();
}

Bytes insert_at(uint16_t offset) {
  ByteWriter out;
  out.u16(offset);
  out.u8(0);
  return out.take();
}

class PageserverOracle : public TestTimeline {
 protected:
  // What our redo makes of an insert into an empty page.
  Bytes right_page() {
    const pg::RelTag scratch{1663, 5, 999, pg::Fork::kMain};
    const Lsn end = ingest(RecordBuilder(pg::Rmgr::kHeap, kInsertInit, 700).block(0, scratch, 0, true, tuple()).main(insert_at(1)));
    auto page = timeline_->reader().get_rel_page(scratch, 0, end);
    EXPECT_TRUE(page.has_value()) << page.error().message;
    return page ? page->to_bytes() : Bytes();
  }
  void check(const RecordBuilder& record) {
    const Bytes bytes = record.build(last_start_);
    const Lsn end = ingest(record);
    oracle_.check(timeline_->reader(), *pg::decode_record(bytes, 15), end);
  }

  Oracle oracle_;
};

TEST_F(PageserverOracle, APageLikeItsImageIsNoDifference) {
  const Bytes page = right_page();
  check(RecordBuilder(pg::Rmgr::kHeap, kInsertInit, 700).checked_block(0, kRel, 0, true, tuple(), page).main(insert_at(1)));
  const auto counts = oracle_.counts().at("HEAP/INSERT+INIT");
  EXPECT_EQ(counts.compared, 1u);
  EXPECT_EQ(counts.differences, 0u) << counts.first_difference;
  EXPECT_TRUE(oracle_.differences().empty());
}

TEST_F(PageserverOracle, AWrongByteInTheImageIsNamed) {
  Bytes page = right_page();
  const auto at = std::ranges::find(page, std::byte{'d'}) - page.begin();
  ASSERT_LT(static_cast<size_t>(at), page.size());
  page[at] = std::byte{'D'};
  check(RecordBuilder(pg::Rmgr::kHeap, kInsertInit, 700).checked_block(0, kRel, 0, true, tuple(), page).main(insert_at(1)));
  ASSERT_EQ(oracle_.differences().size(), 1u);
  const Oracle::Difference difference = oracle_.differences()[0];
  EXPECT_EQ(difference.type, "HEAP/INSERT+INIT");
  EXPECT_EQ(difference.what, "1663/5/16384 blk 0");
  EXPECT_EQ(difference.record_end_lsn, timeline_->last_record_lsn());
  EXPECT_EQ(difference.detail, fmt::format("byte {}: image 44, ours 64", at));
  EXPECT_EQ(oracle_.counts().at(difference.type).differences, 1u);
  EXPECT_EQ(oracle_.counts().at(difference.type).refused, 0u);
}

TEST_F(PageserverOracle, APageThatRedoRefusesIsADifferenceThatSaysWhy) {
  const Bytes page = right_page();
  check(RecordBuilder(pg::Rmgr::kHeap, kInsertInit, 700).checked_block(0, kRel, 0, true, tuple(), page).main(insert_at(300)));
  ASSERT_EQ(oracle_.differences().size(), 1u);
  EXPECT_NE(oracle_.differences()[0].detail.find("300"), std::string::npos) << oracle_.differences()[0].detail;
  EXPECT_EQ(oracle_.counts().at("HEAP/INSERT+INIT").refused, 1u);
}

TEST_F(PageserverOracle, WithoutAnImageThereIsNothingToCompare) {
  check(RecordBuilder(pg::Rmgr::kHeap, kInsertInit, 700).block(0, kRel, 0, true, tuple()).main(insert_at(1)));
  const auto counts = oracle_.counts().at("HEAP/INSERT+INIT");
  EXPECT_EQ(counts.compared, 0u);
  EXPECT_EQ(counts.unchecked, 1u);
}

}  // namespace
}  // namespace helium::pageserver
