#include "redo/side_effects.h"
#include "redo/test_records.h"
#include "redo/xact_record.h"

namespace helium::redo {
namespace {

using pg::SlruKind;
using testing::pack;
using testing::TestRecord;

struct Named {
  SlruKind kind;
  uint32_t segno;
  uint32_t page;
  bool will_init;
  friend bool operator==(const Named&, const Named&) = default;
};

std::vector<Named> effects(const TestRecord& test) {
  std::vector<Named> named;
  EXPECT_TRUE(for_each_slru_effect(test.record, 15, [&](const SlruEffect& effect) {
    named.push_back({effect.segment.kind, effect.segment.segno, effect.page_in_segment, effect.will_init});
  }));
  return named;
}

Status apply(const TestRecord& test, const Named& to, PageBytes& page) {
  return redo_slru_page(test.record, {to.kind, to.segno}, to.page, {Lsn(0x1000)}, page);
}

uint32_t clog_status(const PageBytes& page, uint32_t xid) {
  return static_cast<uint32_t>(page[xid % 32768 / 4]) >> xid % 4 * 2 & 3;
}

Bytes commit_with_subxacts(std::vector<uint32_t> subxids) {
  ByteWriter main;
  main.u64(123456);     // time
  main.u32(1u << 1);    // xinfo: subtransactions
  main.u32(static_cast<uint32_t>(subxids.size()));
  for (const uint32_t xid : subxids) main.u32(xid);
  return main.take();
}

TEST(Slru, ACommitWritesClogAndCommitTimestampsOfAllItsTransactions) {
  // xid 32767 is the last of clog page 0; its subtransactions lie on page 1 and on page 0.
  TestRecord commit(pg::Rmgr::kXact, 0x80, commit_with_subxacts({32768, 32770, 5}), 32767);
  EXPECT_EQ(effects(commit), (std::vector<Named>{{SlruKind::kClog, 0, 0, false},
                                                 {SlruKind::kClog, 0, 1, false},
                                                 {SlruKind::kCommitTs, 0, 0, false},
                                                 {SlruKind::kCommitTs, 1, 8, false}}));  // page 40 of 819 entries each
  PageBytes page{};
  ASSERT_TRUE(apply(commit, {SlruKind::kClog, 0, 0, false}, page));
  EXPECT_EQ(clog_status(page, 32767), 1u);
  EXPECT_EQ(clog_status(page, 5), 1u);
  EXPECT_EQ(clog_status(page, 4), 0u);
  EXPECT_EQ(clog_status(page, 32768 % 32768), 0u) << "another page's transaction";
  page = {};
  ASSERT_TRUE(apply(commit, {SlruKind::kClog, 0, 1, false}, page));
  EXPECT_EQ(clog_status(page, 32768), 1u);
  EXPECT_EQ(clog_status(page, 32770), 1u);
  EXPECT_EQ(clog_status(page, 32769), 0u);
  page = {};
  ASSERT_TRUE(apply(commit, {SlruKind::kCommitTs, 0, 0, false}, page));
  EXPECT_EQ(load<int64_t>(page.data() + 50), 123456);
}

TEST(Slru, AnAbortWritesClogOnlyAndAPreparedOneTakesTheXidFromItsBody) {
  ByteWriter main;
  main.u64(1);
  main.u32(1u << 4);  // xinfo: two-phase
  main.u32(900);
  const Bytes body = main.take();
  TestRecord abort(pg::Rmgr::kXact, 0xC0, body, 0);
  EXPECT_EQ(effects(abort), (std::vector<Named>{{SlruKind::kClog, 0, 0, false}}));
  PageBytes page{};
  ASSERT_TRUE(apply(abort, {SlruKind::kClog, 0, 0, false}, page));
  EXPECT_EQ(clog_status(page, 900), 2u);
  EXPECT_FALSE(apply(abort, {SlruKind::kCommitTs, 0, 0, false}, page));
}

TEST(Slru, AMultixactWritesItsOffsetTheNextOnesAndItsMembers) {
  // Multixact 2047 is the last of offsets page 0; members 1634 to 1637 lie on two pages.
  ByteWriter main;
  main.u32(2047);
  main.u32(1634);
  main.u32(4);
  for (uint32_t i = 0; i < 4; ++i) {
    main.u32(800 + i);
    main.u32(i);
  }
  TestRecord create(pg::Rmgr::kMultixact, 0x20, main.take());
  EXPECT_EQ(effects(create), (std::vector<Named>{{SlruKind::kMultixactOffsets, 0, 0, false},
                                                 {SlruKind::kMultixactOffsets, 0, 1, false},
                                                 {SlruKind::kMultixactMembers, 0, 0, false},
                                                 {SlruKind::kMultixactMembers, 0, 1, false}}));
  PageBytes page{};
  ASSERT_TRUE(apply(create, {SlruKind::kMultixactOffsets, 0, 0, false}, page));
  EXPECT_EQ(load<uint32_t>(page.data() + 2047 * 4), 1634u);
  PageBytes next{};
  ASSERT_TRUE(apply(create, {SlruKind::kMultixactOffsets, 0, 1, false}, next));
  EXPECT_EQ(load<uint32_t>(next.data()), 1638u);

  // The zero page record of the next page comes after: what CREATE_ID wrote stays, anything else goes.
  store<uint32_t>(next.data() + 400, 99);
  TestRecord zero(pg::Rmgr::kMultixact, 0x00, pack<uint32_t>(1));
  EXPECT_EQ(effects(zero), (std::vector<Named>{{SlruKind::kMultixactOffsets, 0, 1, false}}));
  ASSERT_TRUE(apply(zero, {SlruKind::kMultixactOffsets, 0, 1, false}, next));
  EXPECT_EQ(load<uint32_t>(next.data()), 1638u);
  EXPECT_EQ(load<uint32_t>(next.data() + 400), 0u);

  page = {};
  ASSERT_TRUE(apply(create, {SlruKind::kMultixactMembers, 0, 0, false}, page));
  const std::byte* group = page.data() + 1632 / 4 * 20;  // members 1632 to 1635
  EXPECT_EQ(load<uint32_t>(group + 4 + 2 * 4), 800u);
  EXPECT_EQ(load<uint32_t>(group + 4 + 3 * 4), 801u);
  EXPECT_EQ(static_cast<int>(group[3]), 1);
  page = {};
  ASSERT_TRUE(apply(create, {SlruKind::kMultixactMembers, 0, 1, false}, page));
  EXPECT_EQ(load<uint32_t>(page.data() + 4), 802u);
  EXPECT_EQ(static_cast<int>(page[1]), 3);
}

TEST(Slru, MultixactsWrapAroundPastTheNumbersThatDoNotExist) {
  ByteWriter main;
  main.u32(UINT32_MAX);
  main.u32(UINT32_MAX);
  main.u32(1);
  main.u32(800);
  main.u32(0);
  TestRecord create(pg::Rmgr::kMultixact, 0x20, main.take());
  const auto parsed = parse_multixact_create(create.record);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->next_mid(), 1u);
  EXPECT_EQ(parsed->next_offset(), 1u);
  PageBytes page{};
  ASSERT_TRUE(apply(create, {SlruKind::kMultixactOffsets, 0, 0, false}, page));
  EXPECT_EQ(load<uint32_t>(page.data() + 4), 1u);
  TestRecord zero(pg::Rmgr::kMultixact, 0x00, pack<uint32_t>(0));
  ASSERT_TRUE(apply(zero, {SlruKind::kMultixactOffsets, 0, 0, false}, page));
  EXPECT_EQ(load<uint32_t>(page.data() + 4), 1u);
}

TEST(Slru, ZeroPageRecordsMakeTheirPageFromNothing) {
  TestRecord zero(pg::Rmgr::kClog, 0x00, pack<uint32_t>(33));
  EXPECT_EQ(effects(zero), (std::vector<Named>{{SlruKind::kClog, 1, 1, true}}));
  PageBytes page;
  page.fill(std::byte{0xFF});
  ASSERT_TRUE(apply(zero, {SlruKind::kClog, 1, 1, true}, page));
  EXPECT_EQ(page, PageBytes{});
  EXPECT_FALSE(apply(zero, {SlruKind::kClog, 1, 2, true}, page)) << "another page";
  TestRecord members(pg::Rmgr::kMultixact, 0x10, pack<uint32_t>(2));
  EXPECT_EQ(effects(members), (std::vector<Named>{{SlruKind::kMultixactMembers, 0, 2, true}}));
}

TEST(Slru, ACommitThatPromisesMoreSubtransactionsThanItHasIsRefused) {
  ByteWriter main;
  main.u64(1);
  main.u32(1u << 1);
  main.u32(0x7FFFFFFF);
  TestRecord commit(pg::Rmgr::kXact, 0x80, main.take());
  EXPECT_FALSE(for_each_slru_effect(commit.record, 15, [](const SlruEffect&) { FAIL(); }));
}

TEST(Slru, TruncationFollowsTheOrderThatWrapsAround) {
  EXPECT_TRUE(slru_segment_is_before({SlruKind::kClog, 0}, 32, 15));
  EXPECT_FALSE(slru_segment_is_before({SlruKind::kClog, 0}, 31, 15)) << "its last page is still needed";
  EXPECT_FALSE(slru_segment_is_before({SlruKind::kClog, 1}, 32, 15));
  EXPECT_TRUE(slru_segment_is_before({SlruKind::kClog, 0xFFF}, 0, 15)) << "behind the wrap-around";
  const MultixactTruncate truncate{0, 1, 2048 * 32 + 2, 0, 1636 * 32 * 2};
  EXPECT_TRUE(multixact_segment_goes(truncate, {SlruKind::kMultixactOffsets, 0}));
  EXPECT_FALSE(multixact_segment_goes(truncate, {SlruKind::kMultixactOffsets, 1}));
  EXPECT_TRUE(multixact_segment_goes(truncate, {SlruKind::kMultixactMembers, 0}));
  EXPECT_TRUE(multixact_segment_goes(truncate, {SlruKind::kMultixactMembers, 1}));
  EXPECT_FALSE(multixact_segment_goes(truncate, {SlruKind::kMultixactMembers, 2}));
}

}  // namespace
}  // namespace helium::redo
