#include "redo/oracle.h"

#include "redo/test_records.h"

namespace helium::redo {
namespace {

void expect_compared(const Oracle& oracle, std::initializer_list<const char*> types) {
  for (const char* type : types) {
    const auto counts = oracle.counts().find(type);
    ASSERT_NE(counts, oracle.counts().end()) << type;
    EXPECT_GT(counts->second.compared, 0u) << type;
  }
}

// Goal: redo agrees with PostgreSQL, for every native record type.
// Method: WAL of a stock PostgreSQL 15 (tests/redo_oracle/fixture.sql), each page compared with its check image after
// masking. Pages that were there before are adopted, so a type counts only where redo ran.
TEST(Oracle, RecordedWalReplaysWithoutADifference) {
  const Bytes wal = testing::recorded_wal("workload_15");
  ASSERT_FALSE(wal.empty());
  OracleOptions options;
  options.track_commit_timestamp = true;
  Oracle oracle(options);
  const auto run = replay_wal(oracle, wal);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_GT(run->records, 5000u);
  const OracleCounts total = oracle.total();
  EXPECT_EQ(total.differences, 0u) << format_counts(oracle.counts());
  EXPECT_EQ(total.refused, 0u) << format_counts(oracle.counts());
  EXPECT_GT(total.compared, 5000u);

  expect_compared(
      oracle,
      {"HEAP/INSERT", "HEAP/INSERT+INIT", "HEAP/DELETE", "HEAP/UPDATE", "HEAP/UPDATE blk 1", "HEAP/HOT_UPDATE",
       "HEAP/CONFIRM", "HEAP/LOCK", "HEAP/INPLACE", "HEAP2/PRUNE", "HEAP2/VACUUM", "HEAP2/FREEZE_PAGE", "HEAP2/VISIBLE",
       "HEAP2/VISIBLE blk 1", "HEAP2/MULTI_INSERT", "HEAP2/MULTI_INSERT+INIT", "HEAP2/LOCK_UPDATED", "BTREE/INSERT_LEAF",
       "BTREE/INSERT_UPPER", "BTREE/INSERT_UPPER blk 1", "BTREE/INSERT_POST", "BTREE/SPLIT_L", "BTREE/SPLIT_L blk 1",
       "BTREE/SPLIT_L blk 2", "BTREE/SPLIT_L blk 3", "BTREE/SPLIT_R", "BTREE/SPLIT_R blk 1", "BTREE/SPLIT_R blk 2",
       "BTREE/SPLIT_R blk 3", "BTREE/DEDUP", "BTREE/DELETE", "BTREE/VACUUM", "BTREE/NEWROOT", "BTREE/NEWROOT blk 1",
       "BTREE/NEWROOT blk 2", "BTREE/MARK_PAGE_HALFDEAD", "BTREE/MARK_PAGE_HALFDEAD blk 1", "BTREE/UNLINK_PAGE",
       "BTREE/UNLINK_PAGE blk 1", "BTREE/UNLINK_PAGE blk 2", "BTREE/UNLINK_PAGE blk 3", "BTREE/UNLINK_PAGE_META",
       "BTREE/UNLINK_PAGE_META blk 4", "BTREE/META_CLEANUP", "SEQ/LOG"});
}

// The same for index types other than btree. Most records come without image, and still run: the next image proves them.
TEST(Oracle, RecordedIndexWalReplaysWithoutADifference) {
  const Bytes wal = testing::recorded_wal("indexes_15");
  ASSERT_FALSE(wal.empty());
  Oracle oracle({});
  const auto run = replay_wal(oracle, wal);
  ASSERT_TRUE(run) << run.error().message;
  const OracleCounts total = oracle.total();
  EXPECT_EQ(total.differences, 0u) << format_counts(oracle.counts());
  EXPECT_EQ(total.refused, 0u) << format_counts(oracle.counts());
  expect_compared(
      oracle,
      {"HASH/INIT_META_PAGE", "HASH/INIT_BITMAP_PAGE", "HASH/INIT_BITMAP_PAGE blk 1", "HASH/INSERT", "HASH/INSERT blk 1",
       "HASH/ADD_OVFL_PAGE", "HASH/ADD_OVFL_PAGE blk 1", "HASH/ADD_OVFL_PAGE blk 4", "HASH/SPLIT_ALLOCATE_PAGE",
       "HASH/SPLIT_ALLOCATE_PAGE blk 1", "HASH/SPLIT_ALLOCATE_PAGE blk 2", "HASH/SPLIT_COMPLETE",
       "HASH/SPLIT_COMPLETE blk 1", "HASH/MOVE_PAGE_CONTENTS blk 1", "HASH/MOVE_PAGE_CONTENTS blk 2",
       "HASH/SQUEEZE_PAGE blk 1", "HASH/SQUEEZE_PAGE blk 2", "HASH/SQUEEZE_PAGE blk 3", "HASH/SQUEEZE_PAGE blk 5",
       "HASH/SQUEEZE_PAGE blk 6", "HASH/DELETE blk 1", "HASH/SPLIT_CLEANUP", "HASH/UPDATE_META_PAGE",
       "HASH/VACUUM_ONE_PAGE", "HASH/VACUUM_ONE_PAGE blk 1", "GIN/CREATE_PTREE", "GIN/INSERT", "GIN/INSERT blk 1",
       "GIN/VACUUM_DATA_LEAF_PAGE", "GIN/DELETE_PAGE", "GIN/DELETE_PAGE blk 1", "GIN/DELETE_PAGE blk 2",
       "GIN/UPDATE_META_PAGE", "GIN/UPDATE_META_PAGE blk 1", "GIN/INSERT_LISTPAGE", "GIN/DELETE_LISTPAGE",
       "GIN/DELETE_LISTPAGE blk 1", "GIST/PAGE_UPDATE", "GIST/PAGE_UPDATE blk 1", "GIST/DELETE", "GIST/PAGE_SPLIT blk 1",
       "GIST/PAGE_SPLIT blk 2", "GIST/PAGE_DELETE", "GIST/PAGE_DELETE blk 1", "SPGIST/ADD_LEAF", "SPGIST/ADD_LEAF blk 1",
       "SPGIST/MOVE_LEAFS", "SPGIST/MOVE_LEAFS blk 1", "SPGIST/MOVE_LEAFS blk 2", "SPGIST/ADD_NODE",
       "SPGIST/SPLIT_TUPLE", "SPGIST/PICKSPLIT", "SPGIST/PICKSPLIT blk 1", "SPGIST/PICKSPLIT blk 2",
       "SPGIST/PICKSPLIT blk 3", "SPGIST/VACUUM_LEAF", "SPGIST/VACUUM_ROOT", "SPGIST/VACUUM_REDIRECT",
       "BRIN/CREATE_INDEX", "BRIN/INSERT", "BRIN/INSERT blk 1", "BRIN/INSERT+INIT", "BRIN/UPDATE", "BRIN/UPDATE blk 1",
       "BRIN/UPDATE blk 2", "BRIN/UPDATE+INIT", "BRIN/SAMEPAGE_UPDATE", "BRIN/REVMAP_EXTEND", "BRIN/REVMAP_EXTEND blk 1",
       "BRIN/DESUMMARIZE", "BRIN/DESUMMARIZE blk 1", "GENERIC/Generic"});
}

// Goal: the oracle sees a wrong page. Method: after half of the WAL one byte of a page is not what it should be.
TEST(Oracle, AWrongByteIsSeen) {
  PageBytes image = testing::empty_page();
  testing::TestRecord first(pg::Rmgr::kHeap, 0x80, testing::pack<uint16_t, uint8_t>(1, 0));
  first.block(0, 0, testing::heap_tuple_data("right"), /*will_init=*/true);
  ASSERT_TRUE(first.redo(0, image));
  image[8192 - 8] ^= std::byte{0x01};  // inside the tuple's text

  // The whole record: header (24), block header with image (4 + 5 + 12 + 4), main header (2), image, data, main.
  const Bytes data = testing::heap_tuple_data("right");
  const Bytes main = testing::pack<uint16_t, uint8_t>(1, 0);
  ByteWriter wal;
  wal.u32(0);                     // total length, below
  wal.u32(700);                   // xid
  wal.u64(0);                     // prev
  wal.u8(0x80);                   // info: INSERT+INIT
  wal.u8(static_cast<uint8_t>(pg::Rmgr::kHeap));
  wal.u16(0);
  wal.u32(0);                     // CRC: not decode_record()'s business
  wal.u8(0);                      // block 0
  wal.u8(0x10 | 0x20 | 0x40);     // image, data, WILL_INIT; main fork
  wal.u16(static_cast<uint16_t>(data.size()));
  wal.u16(8192);                  // image length
  wal.u16(0);                     // hole offset
  wal.u8(0);                      // bimg_info: no hole, not applied
  wal.u32(1663);
  wal.u32(5);
  wal.u32(16385);
  wal.u32(0);                     // blkno
  wal.u8(255);                    // short main data
  wal.u8(static_cast<uint8_t>(main.size()));
  wal.raw(image);
  wal.raw(data);
  wal.raw(main);
  wal.patch_u32(0, static_cast<uint32_t>(wal.size()));

  Oracle oracle({});
  ASSERT_TRUE(oracle.replay(pg::WalRecordView{Lsn(0x900), Lsn(0x1000), wal.view()}));
  EXPECT_EQ(oracle.total().compared, 1u);
  EXPECT_EQ(oracle.total().differences, 1u);
  EXPECT_NE(oracle.total().first_problem.find("HEAP/INSERT+INIT at 1663/5/16385 blk 0, LSN 0/1000: differs at byte 8184"),
            std::string::npos)
      << oracle.total().first_problem;
}

}  // namespace
}  // namespace helium::redo
