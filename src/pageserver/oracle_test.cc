// Goal: a page that differs from its record's image is seen and named; what could not be compared is not counted as such.
// Method: handmade inserts with an image that is right, wrong by a byte, missing, or of a page that redo refuses; maps
// whose image has bits that our page lacks, in a database that CREATE DATABASE copied and in others.

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
    oracle_->check(timeline_->reader(), *pg::decode_record(bytes, 15), end);
  }

  // An empty map page comes into being as CREATE DATABASE makes one, or with the bits of heap block 0.
  void copy_map(const pg::RelTag& map) {
    check(RecordBuilder(pg::Rmgr::kXlog, 0xB0).standard_image(0, map, 0, map_page({})));
  }
  void make_map(const pg::RelTag& map) { set_visible(map, 0, {0}); }
  // HEAP2/VISIBLE of a heap block; PostgreSQL's map has the bits of `image` then.
  void set_visible(const pg::RelTag& map, uint32_t heap_blkno, std::initializer_list<uint32_t> image) {
    pg::RelTag heap = map;
    heap.forknum = pg::Fork::kMain;
    ByteWriter main;
    main.u32(0);
    main.u8(redo::kVmAllVisible);
    RecordBuilder visible(pg::Rmgr::kHeap2, 0x40);
    visible.checked_block(0, map, 0, false, {}, map_page(image)).block(1, heap, heap_blkno, false);
    check(visible.main(main.view()));
  }
  // HEAP/DELETE that clears the heap block's bits.
  void clear(const pg::RelTag& map, uint32_t heap_blkno) {
    pg::RelTag heap = map;
    heap.forknum = pg::Fork::kMain;
    ByteWriter main;
    main.u32(700);
    main.u16(1);
    main.u8(0);
    main.u8(1);  // XLH_DELETE_ALL_VISIBLE_CLEARED
    check(RecordBuilder(pg::Rmgr::kHeap, 0x10, 700).block(0, heap, heap_blkno, false).main(main.view()));
  }
  static Bytes map_page(std::initializer_list<uint32_t> all_visible) {
    Bytes page(pg::kBlockSize);
    pg::page_init(page, 0);
    for (const uint32_t blkno : all_visible)
      page[pg::kPageHeaderSize + blkno / 4] |= static_cast<std::byte>(redo::kVmAllVisible << (2 * (blkno % 4)));
    return page;
  }
  size_t map_differences() const {
    const auto counts = oracle_->counts();
    const auto found = counts.find("HEAP2/VISIBLE");
    return found == counts.end() ? 0 : found->second.differences;
  }

  std::optional<Oracle> oracle_ = std::optional<Oracle>(std::in_place);
  const pg::RelTag map_{1663, 16400, 1259, pg::Fork::kVm};  // of a catalog in a user's database
};

TEST_F(PageserverOracle, APageLikeItsImageIsNoDifference) {
  const Bytes page = right_page();
  check(RecordBuilder(pg::Rmgr::kHeap, kInsertInit, 700).checked_block(0, kRel, 0, true, tuple(), page).main(insert_at(1)));
  const auto counts = oracle_->counts().at("HEAP/INSERT+INIT");
  EXPECT_EQ(counts.compared, 1u);
  EXPECT_EQ(counts.differences, 0u) << counts.first_difference;
  EXPECT_TRUE(oracle_->differences().empty());
}

TEST_F(PageserverOracle, AWrongByteInTheImageIsNamed) {
  Bytes page = right_page();
  const auto at = std::ranges::find(page, std::byte{'d'}) - page.begin();
  ASSERT_LT(static_cast<size_t>(at), page.size());
  page[at] = std::byte{'D'};
  check(RecordBuilder(pg::Rmgr::kHeap, kInsertInit, 700).checked_block(0, kRel, 0, true, tuple(), page).main(insert_at(1)));
  ASSERT_EQ(oracle_->differences().size(), 1u);
  const Oracle::Difference difference = oracle_->differences()[0];
  EXPECT_EQ(difference.type, "HEAP/INSERT+INIT");
  EXPECT_EQ(difference.what, "1663/5/16384 blk 0");
  EXPECT_EQ(difference.record_end_lsn, timeline_->last_record_lsn());
  EXPECT_EQ(difference.detail, fmt::format("byte {}: image 44, ours 64", at));
  EXPECT_EQ(oracle_->counts().at(difference.type).differences, 1u);
  EXPECT_EQ(oracle_->counts().at(difference.type).refused, 0u);
}

TEST_F(PageserverOracle, APageThatRedoRefusesIsADifferenceThatSaysWhy) {
  const Bytes page = right_page();
  check(RecordBuilder(pg::Rmgr::kHeap, kInsertInit, 700).checked_block(0, kRel, 0, true, tuple(), page).main(insert_at(300)));
  ASSERT_EQ(oracle_->differences().size(), 1u);
  EXPECT_NE(oracle_->differences()[0].detail.find("300"), std::string::npos) << oracle_->differences()[0].detail;
  EXPECT_EQ(oracle_->counts().at("HEAP/INSERT+INIT").refused, 1u);
}

TEST_F(PageserverOracle, WithoutAnImageThereIsNothingToCompare) {
  check(RecordBuilder(pg::Rmgr::kHeap, kInsertInit, 700).block(0, kRel, 0, true, tuple()).main(insert_at(1)));
  const auto counts = oracle_->counts().at("HEAP/INSERT+INIT");
  EXPECT_EQ(counts.compared, 0u);
  EXPECT_EQ(counts.unchecked, 1u);
}

TEST_F(PageserverOracle, AMapsBitThatWeLackIsADifference) {
  make_map(map_);
  EXPECT_EQ(map_differences(), 0u);
  set_visible(map_, 3, {0, 3, 9});
  ASSERT_EQ(map_differences(), 1u) << "nobody copied this map, though it is a catalog's in a user's database";
  EXPECT_EQ(oracle_->differences()[0].what, "1663/16400/1259_vm blk 0");
  EXPECT_EQ(oracle_->differences()[0].detail, "map byte 26: image 04, ours 00");
}

TEST_F(PageserverOracle, AMapThatWasCopiedMayLackBitsThatNoRecordDecided) {
  copy_map(map_);
  set_visible(map_, 3, {0, 3, 9});
  EXPECT_EQ(map_differences(), 0u);
  clear(map_, 3);
  set_visible(map_, 4, {0, 4, 9});
  EXPECT_EQ(map_differences(), 0u);
  set_visible(map_, 5, {0, 3, 4, 5, 9});
  ASSERT_EQ(map_differences(), 1u) << "bit 3 was cleared by a record";
}

TEST_F(PageserverOracle, ACopyOfOneMapAllowsNothingOnAnother) {
  copy_map(map_);
  pg::RelTag other = map_;
  other.relnode = 1249;
  make_map(other);
  set_visible(other, 3, {0, 3, 9});
  EXPECT_EQ(map_differences(), 1u);
}

TEST_F(PageserverOracle, AnOracleThatBeganLaterDoesNotKnowWhatWasCopiedBefore) {
  const pg::RelTag postgres_map{1663, 5, 1259, pg::Fork::kVm};
  make_map(postgres_map);
  copy_map(map_);
  clear(map_, 3);
  oracle_.emplace();
  set_visible(postgres_map, 1, {0, 1});  // the first record that this one sees
  set_visible(map_, 4, {0, 3, 4, 9});    // the older page may have bit 3 from anywhere
  EXPECT_EQ(map_differences(), 0u);
  clear(map_, 3);
  set_visible(map_, 5, {3, 4, 5});
  EXPECT_EQ(map_differences(), 1u) << "it saw this one";
  set_visible(postgres_map, 2, {0, 1, 2, 9});
  EXPECT_EQ(map_differences(), 2u) << "not copied by CREATE DATABASE, ever";
  pg::RelTag later = map_;
  later.relnode = 2619;
  make_map(later);
  set_visible(later, 3, {0, 3, 9});
  EXPECT_EQ(map_differences(), 3u) << "a map that came later";
}

TEST_F(PageserverOracle, ACopyByFilesOfACopyThatIsOlderMayLackItsBits) {
  copy_map(map_);
  oracle_.emplace();
  right_page();
  check(RecordBuilder(pg::Rmgr::kDbase, 0x00).main(words({16401, 1663, 16400, 1663})));
  pg::RelTag copy = map_;
  copy.dbnode = 16401;
  set_visible(copy, 3, {3, 9});
  EXPECT_EQ(map_differences(), 0u);
}

}  // namespace
}  // namespace helium::pageserver
