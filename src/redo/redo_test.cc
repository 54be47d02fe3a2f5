#include "redo/redo.h"

#include <random>
#include <regex>

#include "redo/heap_tuple.h"
#include "redo/test_records.h"

namespace helium::redo {
namespace {

using testing::empty_page;
using testing::heap_tuple_data;
using testing::pack;
using testing::TestRecord;

TEST(Redo, HeapInsertPutsTheTupleAndStampsTheEndOfTheRecord) {
  TestRecord insert(pg::Rmgr::kHeap, 0x00, pack<uint16_t, uint8_t>(1, 0x01));
  insert.block(0, 7, heap_tuple_data("hello"));
  PageBytes page = empty_page();
  pg::set_page_flags(page, pg::kPdAllVisible);
  ASSERT_TRUE(insert.redo(0, page, Lsn(0x123456789)));
  EXPECT_EQ(pg::page_lsn(page), Lsn(0x123456789));
  EXPECT_EQ(pg::page_flags(page) & pg::kPdAllVisible, 0);
  ASSERT_EQ(pg::page_item_count(page), 1);
  const MutableByteView item = pg::page_item(MutableByteView(page), pg::page_item_id(page, 1));
  EXPECT_EQ(item.size(), 24u + 5u);
  EXPECT_EQ(as_text(item.last(5)), "hello");
  EXPECT_EQ(load<uint32_t>(item.data()), 700u);                 // xmin
  EXPECT_EQ(load<uint16_t>(item.data() + 14), 7);               // t_ctid's block
  EXPECT_EQ(HeapTuple(item.data()).ctid_offset(), 1);
}

TEST(Redo, ARefusedRecordLeavesThePageAndNamesRecordPageAndLsn) {
  TestRecord remove(pg::Rmgr::kHeap, 0x10, pack<uint32_t, uint16_t, uint8_t, uint8_t>(700, 300, 0, 0));
  remove.block(0, 3);
  PageBytes page = empty_page();
  const PageBytes before = page;
  const Status status = remove.redo(0, page, Lsn(0x1A2B3C4));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kRedo);
  EXPECT_EQ(status.error().message,
            "redo: HEAP/DELETE at 1663/5/16385 blk 3, LSN 0/1A2B3C4: offset 300 beyond line pointers 0");
  EXPECT_EQ(page, before);
}

TEST(Redo, APageThatIsAlreadyPastTheRecordStaysButNotIfItIsRebuilt) {
  TestRecord insert(pg::Rmgr::kHeap, 0x00, pack<uint16_t, uint8_t>(1, 0));
  insert.block(0, 7, heap_tuple_data("hello"));
  PageBytes page = empty_page();
  pg::set_page_lsn(page, Lsn(0x1000));
  const PageBytes before = page;
  ASSERT_TRUE(insert.redo(0, page, Lsn(0x1000)));
  EXPECT_EQ(page, before);

  TestRecord init(pg::Rmgr::kHeap, 0x80, pack<uint16_t, uint8_t>(1, 0));
  init.block(0, 7, heap_tuple_data("first"), /*will_init=*/true);
  EXPECT_TRUE(redo_starts_from_nothing(init.record, init.record.blocks[0]));
  ASSERT_TRUE(init.redo(0, page, Lsn(0x800)));
  EXPECT_EQ(pg::page_item_count(page), 1);
  EXPECT_EQ(pg::page_lsn(page), Lsn(0x800));
}

TEST(Redo, AnAppliedImageIsThePageAndACheckImageOfANativeRecordIsNot) {
  PageBytes image = empty_page();
  pg::set_page_lsn(image, Lsn(1));
  TestRecord lock(pg::Rmgr::kHeap, 0x60, pack<uint32_t, uint16_t, uint8_t, uint8_t>(700, 1, 0, 0));
  lock.block(0, 3).image(0, image, /*apply=*/true);
  EXPECT_TRUE(redo_starts_from_nothing(lock.record, lock.record.blocks[0]));
  PageBytes page{};
  ASSERT_TRUE(lock.redo(0, page, Lsn(0x99)));
  EXPECT_EQ(pg::page_lsn(page), Lsn(0x99));

  lock.image(0, image, /*apply=*/false);
  EXPECT_FALSE(redo_starts_from_nothing(lock.record, lock.record.blocks[0]));
  page = empty_page();
  EXPECT_FALSE(lock.redo(0, page));  // redo runs, and there is no tuple 1
}

TEST(Redo, AnImageOfANewPageStaysAllZero) {
  const PageBytes image{};
  TestRecord fpi(pg::Rmgr::kXlog, 0xB0, {});
  fpi.block(0, 3).image(0, image, /*apply=*/true);
  PageBytes page = empty_page();
  ASSERT_TRUE(fpi.redo(0, page));
  EXPECT_EQ(page, PageBytes{});
}

TEST(Redo, AHintRecordWithoutImageHasNoEffectButAFullPageImageNeedsOne) {
  PageBytes page = empty_page();
  TestRecord hint(pg::Rmgr::kXlog, 0xA0, {});
  hint.block(0, 3);
  EXPECT_TRUE(redo_has_no_effect(hint.record, hint.record.blocks[0]));
  EXPECT_TRUE(hint.redo(0, page));
  TestRecord fpi(pg::Rmgr::kXlog, 0xB0, {});
  fpi.block(0, 3);
  EXPECT_FALSE(fpi.redo(0, page));
}

TEST(Redo, CustomResourceManagersTakeTheirCheckImageAndSayWhatIsMissing) {
  PageBytes image = empty_page(8);
  TestRecord custom(static_cast<pg::Rmgr>(pg::kFirstCustomRmgr), 0x20, {});
  custom.block(0, 3);
  PageBytes page = empty_page(8);
  const Status missing = custom.redo(0, page);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("wal_consistency_checking"), std::string::npos) << missing.error().message;
  custom.image(0, image, /*apply=*/false);
  EXPECT_TRUE(redo_starts_from_nothing(custom.record, custom.record.blocks[0]));
  ASSERT_TRUE(custom.redo(0, page, Lsn(0x77)));
  EXPECT_EQ(pg::page_lsn(page), Lsn(0x77));
}

// Storage from before native redo begins a page's history at any record with a check image.
TEST(Redo, AnIndexPageThatDoesNotExistComesFromItsCheckImageAndOneThatDoesIsReplayed) {
  PageBytes image = empty_page(8);
  pg::set_page_lsn(image, Lsn(5));
  TestRecord gin(pg::Rmgr::kGin, 0x20, pack<uint16_t>(0x03));
  gin.block(0, 3).image(0, image, /*apply=*/false);
  EXPECT_FALSE(redo_starts_from_nothing(gin.record, gin.record.blocks[0]));
  PageBytes page{};
  ASSERT_TRUE(gin.redo(0, page, Lsn(0x77)));
  EXPECT_EQ(pg::page_lsn(page), Lsn(0x77));
  EXPECT_FALSE(gin.redo(0, page, Lsn(0x88))) << "the record does not fit this page";
}

TEST(Redo, AGistChildsImageStillGetsItsNsnAndLosesFollowRight) {
  PageBytes image = empty_page(16);
  std::byte* opaque = image.data() + 8192 - 16;
  store<uint16_t>(opaque + 12, 0x0009);  // leaf, follow-right
  for (const bool apply : {true, false}) {
    TestRecord update(pg::Rmgr::kGist, 0x00, pack<uint16_t, uint16_t>(0, 0));
    update.block(0, 1).block(1, 2).image(0, image, apply).image(1, image, apply);
    PageBytes page = apply ? PageBytes{} : image;
    ASSERT_TRUE(update.redo(1, page, Lsn(0x200000033)));
    EXPECT_EQ(load<uint32_t>(page.data() + 8192 - 16), 2u);
    EXPECT_EQ(load<uint32_t>(page.data() + 8192 - 12), 0x33u);
    EXPECT_EQ(load<uint16_t>(page.data() + 8192 - 4), 0x0001);
    page = image;
    ASSERT_TRUE(update.redo(0, page));  // the page itself is final
    EXPECT_EQ(load<uint16_t>(page.data() + 8192 - 4), 0x0009);
  }
}

TEST(Redo, AHashBucketsImageStillGetsItsFlagsWhenItIsSplit) {
  const PageBytes image = empty_page(16);
  TestRecord allocate(pg::Rmgr::kHash, 0x40, pack<uint32_t, uint16_t, uint16_t, uint8_t>(9, 0x22, 0x12, 0));
  allocate.block(0, 1).image(0, image, /*apply=*/true);
  PageBytes page{};
  ASSERT_TRUE(allocate.redo(0, page));
  EXPECT_EQ(load<uint32_t>(page.data() + 8192 - 16), 9u);
  EXPECT_EQ(load<uint16_t>(page.data() + 8192 - 4), 0x22);

  TestRecord complete(pg::Rmgr::kHash, 0x60, pack<uint16_t, uint16_t>(0x42, 0x52));
  complete.block(0, 1).block(1, 2).image(0, image, true).image(1, image, true);
  ASSERT_TRUE(complete.redo(0, page));
  EXPECT_EQ(load<uint16_t>(page.data() + 8192 - 4), 0x42);
  ASSERT_TRUE(complete.redo(1, page));
  EXPECT_EQ(load<uint16_t>(page.data() + 8192 - 4), 0x52);
}

TEST(Redo, AnUpdateMayNotTakeAPrefixFromAnotherPage) {
  TestRecord update(pg::Rmgr::kHeap, 0x20,
                    pack<uint32_t, uint16_t, uint8_t, uint8_t, uint32_t, uint16_t>(700, 1, 0, 0x20, 0, 1));
  update.block(0, 4, pack<uint16_t, uint16_t, uint16_t, uint8_t>(50, 2, 0x0802, 24)).block(1, 3);
  PageBytes page = empty_page();
  const Status status = update.redo(0, page);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("another page"), std::string::npos);
}

// Every refusal names record type, page and LSN before its cause.
void expect_named(const Status& status) {
  static const std::regex kForm(
      R"(redo: [A-Z0-9_]+/\S+ at (\d+/\d+/\d+(_fsm|_vm|_init)? blk \d+|pg_\S+ page \d+), LSN [0-9A-F]+/[0-9A-F]+: \S.*)");
  EXPECT_EQ(status.error().code, ErrorCode::kRedo);
  EXPECT_TRUE(std::regex_match(status.error().message, kForm)) << status.error().message;
}

// Damages a record and its page, and replays it; counts how it went.
struct DamagedReplay {
  int version;
  std::mt19937 random{15};
  uint64_t refused = 0, replayed = 0;

  void check(const Status& status) {
    if (status) ++replayed;
    if (status || ++refused % 32 != 0) return;  // a regular expression costs more than a redo
    expect_named(status);
  }

  void run(const PageBytes& old_page, ByteView bytes) {
    Bytes record(bytes.begin(), bytes.end());
    for (int round = 0; round < 4; ++round) {
      for (int i = 0; i < 1 + round; ++i) record[24 + random() % (record.size() - 24)] = static_cast<std::byte>(random());
      const auto decoded = pg::decode_record(record, version);
      if (!decoded) continue;
      for (const pg::BlockRef& ref : decoded->blocks) {
        const RedoContext context{Lsn::max(), version, true, ref.blkno, ref.rel};
        PageBytes page = old_page;
        if (round == 3) page[random() % 64] = static_cast<std::byte>(random());
        if (round == 2) page[8192 - 1 - random() % 16] = static_cast<std::byte>(random());
        const PageBytes before = page;
        const Status status = redo_block(*decoded, ref, context, page);
        check(status);
        if (!status) ASSERT_EQ(page, before);
        (void)redo_vm_side_effect(*decoded, context, page);
      }
      (void)for_each_slru_effect(*decoded, version, [&](const SlruEffect& effect) {
        PageBytes page{};
        check(redo_slru_page(*decoded, effect.segment, effect.page_in_segment, {Lsn::max(), version}, page));
      });
    }
  }
};

// Goal: no record and no page, however damaged, reads or writes outside; a refused page is untouched and its error named.
// Method: the recorded WAL with bytes of records and pages overwritten at random, after CRC checks; on the page as it was
// before the record, so that damage comes as deep as can be. The sanitizer build of CI makes this a memory check;
// the fuzzers go on from here.
class DamagedWal : public ::testing::TestWithParam<std::pair<const char*, int>> {};
INSTANTIATE_TEST_SUITE_P(Redo, DamagedWal,
                         ::testing::Values(std::pair{"workload_14", 14}, std::pair{"workload_15", 15},
                                           std::pair{"workload_16", 16}, std::pair{"workload_18", 18},
                                           std::pair{"indexes_15", 15}, std::pair{"indexes_18", 18}));
TEST_P(DamagedWal, IsRefusedByNameOrReplayedButNeverEscapes) {
  const auto& [name, version] = GetParam();
  const Bytes wal = testing::recorded_wal(name);
  ASSERT_FALSE(wal.empty());
  DamagedReplay damaged{version};
  OracleOptions options;
  options.pg_version = version;
  uint32_t nth = 0;
  options.on_redo = [&](const std::string&, const pg::BlockRef&, const PageBytes& page, ByteView record) {
    if (nth++ % 4 == 0) damaged.run(page, record);
  };
  Oracle oracle(options);
  ASSERT_TRUE(replay_wal(oracle, wal));
  EXPECT_EQ(oracle.total().refused, 0u);
  EXPECT_GT(damaged.refused, 1000u);
  EXPECT_GT(damaged.replayed, 1000u);
}

TEST(Redo, RefusalsOfSideEffectsAndSlruPagesHaveTheirPlaceToo) {
  TestRecord truncate(pg::Rmgr::kSmgr, 0x20, pack<uint32_t>(5));
  PageBytes page = empty_page();
  pg::RelTag map = testing::kRel;
  map.forknum = pg::Fork::kVm;
  const Status cut = redo_vm_side_effect(truncate.record, {Lsn(0x1A2B3C4), 15, false, 2, map}, page);
  ASSERT_FALSE(cut);
  expect_named(cut);
  EXPECT_TRUE(cut.error().message.starts_with("redo: SMGR/TRUNCATE at 1663/5/16385_vm blk 2, LSN 0/1A2B3C4: ")) << cut.error().message;

  TestRecord create(pg::Rmgr::kMultixact, 0x20, pack<uint32_t>(5));
  const Status slru = redo_slru_page(create.record, {pg::SlruKind::kMultixactOffsets, 0}, 3, {Lsn(0x1A2B3C4), 15}, page);
  ASSERT_FALSE(slru);
  expect_named(slru);
}

}  // namespace
}  // namespace helium::redo
