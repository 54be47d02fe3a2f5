// The records of each version that prune, vacuum and freeze: one page, the same result, but for what 14 keeps.

#include "redo/heap_prune.h"

#include "redo/heap_records.h"
#include "redo/heap_tuple.h"
#include "redo/test_records.h"

namespace helium::redo {
namespace {

using pg::ItemFlags;
using testing::empty_page;
using testing::pack;
using testing::TestRecord;

PageBytes page_of_five_tuples() {
  PageBytes page = empty_page();
  for (uint16_t i = 1; i <= 5; ++i) {
    std::array<std::byte, 40> tuple{};
    tuple[30] = static_cast<std::byte>(i);
    HeapTuple(tuple.data()).set_hoff(24);
    EXPECT_TRUE(add_item(page, tuple, i, AddMode::kHeap));
  }
  return page;
}

Status apply(int version, uint8_t op, const Bytes& main, const Bytes& data, PageBytes& page) {
  TestRecord record(pg::Rmgr::kHeap2, op, main);
  record.block(0, 4, data);
  RedoContext context = record.context(0);
  context.pg_version = version;
  return redo_block(record.record, record.record.blocks[0], context, page);
}

Bytes join(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// 1 becomes a redirect to 2, 3 is dead, 5 unused.
Status prune(int version, PageBytes& page) {
  if (version >= 17) {
    const Bytes data = pack<uint16_t, uint16_t, uint16_t, uint16_t, uint16_t, uint16_t, uint16_t>(1, 1, 2, 1, 3, 1, 5);
    return apply(version, kHeap2Prune, pack<uint8_t, uint8_t, uint32_t>(0, 0x04 | 0x08 | 0x20 | 0x40 | 0x80, 690), data, page);
  }
  Bytes main = pack<uint32_t, uint16_t, uint16_t>(690, 1, 1);
  if (version == 16) main.push_back(std::byte{0});
  return apply(version, kHeap2Prune, main, pack<uint16_t, uint16_t, uint16_t, uint16_t>(1, 2, 3, 5), page);
}

TEST(HeapPrune, AllVersionsPruneAlikeButFourteenKeepsTheUnusedEnd) {
  for (int version = 14; version <= 18; ++version) {
    PageBytes page = page_of_five_tuples();
    const Status status = prune(version, page);
    ASSERT_TRUE(status) << version << ": " << status.error().message;
    EXPECT_EQ(pg::page_item_count(page), version == 14 ? 5 : 4) << version;
    EXPECT_EQ(pg::page_flags(page) & pg::kPdHasFreeLines, version == 14 ? pg::kPdHasFreeLines : 0) << version;
    EXPECT_EQ(pg::page_item_id(page, 1).flags, ItemFlags::kRedirect);
    EXPECT_EQ(pg::page_item_id(page, 1).offset, 2);
    EXPECT_EQ(pg::page_item_id(page, 2).offset, 8192 - 40);
    EXPECT_EQ(pg::page_item_id(page, 3).flags, ItemFlags::kDead);
    EXPECT_EQ(pg::page_item_id(page, 4).offset, 8192 - 80);
    EXPECT_EQ(page[8192 - 80 + 30], std::byte{4});
    EXPECT_EQ(pg::page_upper(page), 8192 - 80);
    EXPECT_EQ(pg::page_lsn(page), Lsn(0x1000));
  }
}

TEST(HeapPrune, AVacuumsSecondPassCutsUnusedLinePointersAndMovesNoTuple) {
  for (int version = 14; version <= 18; ++version) {
    PageBytes page = page_of_five_tuples();
    for (const uint16_t dead : {4, 5}) pg::set_page_item_id(page, dead, pg::ItemId{0, ItemFlags::kDead, 0});
    const PageBytes before = page;
    const Status status = version >= 17
                              ? apply(version, kHeap2FreezePage, pack<uint8_t, uint8_t>(2, 0x80),
                                      pack<uint16_t, uint16_t, uint16_t>(2, 4, 5), page)
                              : apply(version, kHeap2Vacuum, pack<uint16_t>(2), pack<uint16_t, uint16_t>(4, 5), page);
    ASSERT_TRUE(status) << version << ": " << status.error().message;
    EXPECT_EQ(pg::page_item_count(page), 3) << version;
    EXPECT_EQ(pg::page_upper(page), pg::page_upper(before));
    EXPECT_TRUE(std::ranges::equal(std::span(page).subspan(8192 - 200), std::span(before).subspan(8192 - 200)));
  }
}

// Tuples 2 and 4 alike, tuple 5 otherwise; its xvac becomes the frozen xid.
Status freeze(int version, PageBytes& page, bool one_offset_too_few = false) {
  Bytes data;
  if (version <= 15) {
    for (const uint16_t offset : {2, 4})
      data = join(data, pack<uint32_t, uint16_t, uint16_t, uint16_t, uint8_t, uint8_t>(0, offset, 3, 0x0B00, 0, 0));
    data = join(data, pack<uint32_t, uint16_t, uint16_t, uint16_t, uint8_t, uint8_t>(77, 5, 3, 0x0300, kFreezeXvac, 0));
    if (one_offset_too_few) data.pop_back();
    return apply(version, kHeap2FreezePage, pack<uint32_t, uint16_t>(700, 3), data, page);
  }
  data = join(pack<uint32_t, uint16_t, uint16_t, uint8_t, uint8_t, uint16_t>(0, 3, 0x0B00, 0, 0, 2),
              pack<uint32_t, uint16_t, uint16_t, uint8_t, uint8_t, uint16_t>(77, 3, 0x0300, kFreezeXvac, 0, 1));
  Bytes offsets = pack<uint16_t, uint16_t>(2, 4);
  if (!one_offset_too_few) offsets = join(offsets, pack<uint16_t>(5));
  if (version == 16)
    return apply(version, kHeap2FreezePage, pack<uint32_t, uint16_t, uint8_t>(700, 2, 0), join(data, offsets), page);
  return apply(version, kHeap2Vacuum, pack<uint8_t, uint8_t, uint32_t>(1, 0x10 | 0x08, 700),
               join(join(pack<uint16_t, uint16_t>(2, 0), data), offsets), page);
}

TEST(HeapPrune, AllVersionsFreezeAlike) {
  for (int version = 14; version <= 18; ++version) {
    PageBytes page = page_of_five_tuples();
    const Status status = freeze(version, page);
    ASSERT_TRUE(status) << version << ": " << status.error().message;
    const auto tuple = [&](uint16_t number) { return page.data() + pg::page_item_id(page, number).offset; };
    for (const uint16_t number : {2, 4}) EXPECT_EQ(HeapTuple(tuple(number)).infomask(), 0x0B00) << version;
    EXPECT_EQ(HeapTuple(tuple(3)).infomask(), 0) << version;
    EXPECT_EQ(HeapTuple(tuple(5)).infomask(), 0x0300) << version;
    EXPECT_EQ(HeapTuple(tuple(5)).infomask2(), 3) << version;
    EXPECT_EQ(load<uint32_t>(tuple(5) + 4), 77u) << version;
    EXPECT_EQ(load<uint32_t>(tuple(5) + 8), 2u) << version;
    EXPECT_EQ(pg::page_item_count(page), 5);
  }
}

TEST(HeapPrune, ARecordWhosePartsDoNotFitItsBytesIsRefused) {
  for (int version = 14; version <= 18; ++version) {
    PageBytes page = page_of_five_tuples();
    const PageBytes before = page;
    const Status status = freeze(version, page, /*one_offset_too_few=*/true);
    ASSERT_FALSE(status) << version;
    EXPECT_NE(status.error().message.find("plans"), std::string::npos) << status.error().message;
    EXPECT_EQ(page, before);
  }
  PageBytes page = page_of_five_tuples();
  // 18: a number of items but no items; bytes left over; redirects though tuples may not move; cut off horizon.
  EXPECT_FALSE(apply(18, kHeap2Prune, pack<uint8_t, uint8_t>(0, 0x84), pack<uint16_t>(1), page));
  EXPECT_FALSE(apply(18, kHeap2Prune, pack<uint8_t, uint8_t>(0, 0x84), pack<uint16_t, uint16_t, uint16_t>(1, 5, 4), page));
  EXPECT_FALSE(apply(18, kHeap2Prune, pack<uint8_t, uint8_t>(0, 0x20), pack<uint16_t, uint16_t, uint16_t>(1, 1, 2), page));
  EXPECT_FALSE(apply(18, kHeap2Prune, pack<uint8_t, uint8_t, uint8_t>(0, 0x8C, 1), pack<uint16_t, uint16_t>(1, 5), page));
  EXPECT_TRUE(apply(18, kHeap2Prune, pack<uint8_t, uint8_t>(0, 0x84), pack<uint16_t, uint16_t>(1, 5), page));
}

}  // namespace
}  // namespace helium::redo
