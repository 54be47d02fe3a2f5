#include "redo/oracle.h"

#include "redo/test_records.h"

namespace helium::redo {
namespace {

// Goal: redo agrees with PostgreSQL, for every native record type.
// Method: WAL of a stock PostgreSQL 15 (tests/redo_oracle/fixture.sql), each page compared with its check image after
// masking. Pages that were there before are adopted, so a type counts only where redo ran.
TEST(Oracle, RecordedWalReplaysWithoutADifference) {
  const Bytes wal = testing::recorded_wal();
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

  for (const char* type :
       {"HEAP/INSERT", "HEAP/INSERT+INIT", "HEAP/DELETE", "HEAP/UPDATE", "HEAP/UPDATE blk 1", "HEAP/HOT_UPDATE",
        "HEAP/CONFIRM", "HEAP/LOCK", "HEAP/INPLACE", "HEAP2/PRUNE", "HEAP2/VACUUM", "HEAP2/FREEZE_PAGE", "HEAP2/VISIBLE",
        "HEAP2/VISIBLE blk 1", "HEAP2/MULTI_INSERT", "HEAP2/MULTI_INSERT+INIT", "HEAP2/LOCK_UPDATED", "BTREE/INSERT_LEAF",
        "BTREE/INSERT_UPPER", "BTREE/INSERT_UPPER blk 1", "BTREE/INSERT_POST", "BTREE/SPLIT_L", "BTREE/SPLIT_L blk 1",
        "BTREE/SPLIT_L blk 2", "BTREE/SPLIT_L blk 3", "BTREE/SPLIT_R", "BTREE/SPLIT_R blk 1", "BTREE/SPLIT_R blk 2",
        "BTREE/SPLIT_R blk 3", "BTREE/DEDUP", "BTREE/DELETE", "BTREE/VACUUM", "BTREE/NEWROOT", "BTREE/NEWROOT blk 1",
        "BTREE/NEWROOT blk 2", "BTREE/MARK_PAGE_HALFDEAD", "BTREE/MARK_PAGE_HALFDEAD blk 1", "BTREE/UNLINK_PAGE",
        "BTREE/UNLINK_PAGE blk 1", "BTREE/UNLINK_PAGE blk 2", "BTREE/UNLINK_PAGE blk 3", "BTREE/UNLINK_PAGE_META",
        "BTREE/UNLINK_PAGE_META blk 4", "BTREE/META_CLEANUP", "SEQ/LOG"}) {
    const auto counts = oracle.counts().find(type);
    ASSERT_NE(counts, oracle.counts().end()) << type;
    EXPECT_GT(counts->second.compared, 0u) << type;
  }
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
