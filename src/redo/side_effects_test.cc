#include "redo/side_effects.h"

#include "base/crc32c.h"
#include "redo/test_records.h"
#include "redo/xact_record.h"

namespace helium::redo {
namespace {

using testing::pack;
using testing::TestRecord;

std::vector<uint32_t> assigned(const pg::DecodedRecord& record) {
  std::vector<uint32_t> xids;
  for_each_assigned_xid(record, 15, [&](uint32_t xid) { xids.push_back(xid); });
  return xids;
}

TEST(SideEffects, ACommitNamesDroppedRelationsStatisticsOriginAndTime) {
  ByteWriter main;
  main.u64(1000);                                              // time
  main.u32(1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5 | 1u << 8);
  main.u32(5);                                                 // database and tablespace
  main.u32(1663);
  main.u32(1);                                                 // one subtransaction
  main.u32(702);
  main.u32(1);                                                 // one relation
  main.u32(1663);
  main.u32(5);
  main.u32(16400);
  main.u32(1);                                                 // one statistics entry
  main.u32(2);
  main.u32(5);
  main.u32(16400);
  main.u32(1);                                                 // one invalidation message
  main.zeros(16);
  main.u64(0xABC);                                             // origin: LSN and time
  main.u64(2000);
  TestRecord commit(pg::Rmgr::kXact, 0x80, main.take(), 701);
  commit.record.origin_id = 3;
  const auto end = parse_xact_end(commit.record, 15);
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(end->commit);
  EXPECT_FALSE(end->prepared);
  EXPECT_EQ(end->xid, 701u);
  EXPECT_EQ(end->subxids, std::vector<uint32_t>{702});
  ASSERT_EQ(end->dropped_rels.size(), 1u);
  EXPECT_EQ(end->dropped_rels[0].relnode, 16400u);
  ASSERT_EQ(end->dropped_stats.size(), 1u);
  EXPECT_EQ(end->dropped_stats[0].objid, 16400u);
  EXPECT_EQ(end->origin_id, 3);
  EXPECT_EQ(end->origin_lsn, Lsn(0xABC));
  EXPECT_EQ(end->commit_ts_time(), 2000);
  EXPECT_EQ(xact_end_time(commit.record), 1000);
  EXPECT_EQ(assigned(commit.record), (std::vector<uint32_t>{701, 701, 702}));
  for (size_t size = 0; size < commit.main.size(); ++size) {
    commit.record.main_data = ByteView(commit.main).first(size);
    EXPECT_FALSE(parse_xact_end(commit.record, 15)) << size;
  }
}

TEST(SideEffects, APreparedTransactionsFileIsItsRecordAndACrc) {
  ByteWriter main;
  main.u32(0x57F94534);
  main.u32(0);
  main.u32(750);       // xid
  main.u32(5);         // database
  main.u64(4000);      // prepared at
  main.u32(10);        // owner
  main.u32(2);         // subtransactions
  main.zeros(22);
  main.u16(4);         // gid length
  main.u64(0xDEF);     // origin: LSN and time
  main.u64(1);
  main.raw("gid\0\0\0\0\0", 8);
  main.u32(751);
  main.u32(752);
  TestRecord record(pg::Rmgr::kXact, 0x10, main.take(), 750);
  const auto prepare = parse_xact_prepare(record.record, 15);
  ASSERT_TRUE(prepare) << prepare.error().message;
  EXPECT_EQ(prepare->gid, "gid");
  EXPECT_EQ(prepare->subxids, (std::vector<uint32_t>{751, 752}));
  EXPECT_EQ(prepare->prepared_at, 4000);
  EXPECT_EQ(prepare->origin_lsn, Lsn(0xDEF));
  const Bytes file = twophase_file(prepare->state);
  ASSERT_EQ(file.size(), record.main.size() + 4);
  EXPECT_EQ(load<uint32_t>(file.data() + record.main.size()), crc32c(record.main));
  EXPECT_EQ(twophase_file_name(0x1000002EE, 15), "000002EE");
  EXPECT_EQ(twophase_file_name(0x1000002EE, 17), "00000001000002EE");
}

TEST(SideEffects, StorageRecordsNameForksAndTruncation) {
  TestRecord create(pg::Rmgr::kSmgr, 0x10, pack<uint32_t, uint32_t, uint32_t, uint32_t>(1663, 5, 16385, 3));
  const auto rel = parse_smgr_create(create.record);
  ASSERT_TRUE(rel);
  EXPECT_EQ(rel->forknum, pg::Fork::kInit);
  TestRecord bad_fork(pg::Rmgr::kSmgr, 0x10, pack<uint32_t, uint32_t, uint32_t, uint32_t>(1663, 5, 16385, 4));
  EXPECT_FALSE(parse_smgr_create(bad_fork.record));
  TestRecord truncate(pg::Rmgr::kSmgr, 0x20, pack<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>(12, 1663, 5, 16385, 0x3));
  const auto cut = parse_smgr_truncate(truncate.record);
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->nblocks, 12u);
  EXPECT_TRUE(cut->main && cut->vm && !cut->fsm);
  EXPECT_FALSE(parse_smgr_truncate(create.record)) << "another operation";
}

TEST(SideEffects, DatabaseOperationsMeanSomethingElseIn14) {
  TestRecord drop(pg::Rmgr::kDbase, 0x10, pack<uint32_t, uint32_t, uint32_t>(16400, 1, 1663));
  const auto in_14 = parse_dbase(drop.record, 14);
  ASSERT_TRUE(in_14);
  EXPECT_EQ(in_14->op, DbaseOp::kDrop);
  EXPECT_EQ(in_14->drop_spcnodes, std::vector<uint32_t>{1663});
  const auto in_15 = parse_dbase(drop.record, 15);
  ASSERT_TRUE(in_15);
  EXPECT_EQ(in_15->op, DbaseOp::kCreateWalLog);
  TestRecord copy(pg::Rmgr::kDbase, 0x00, pack<uint32_t, uint32_t, uint32_t, uint32_t>(16400, 1663, 5, 1663));
  const auto copied = parse_dbase(copy.record, 15);
  ASSERT_TRUE(copied);
  EXPECT_EQ(copied->src_dbnode, 5u);
}

TEST(SideEffects, OriginsAreSetAndDropped) {
  TestRecord set(pg::Rmgr::kReplOrigin, 0x00, pack<uint64_t, uint16_t, uint8_t, uint8_t, uint32_t>(0xABC, 3, 1, 0, 0), 0);
  const auto origin = parse_repl_origin(set.record);
  ASSERT_TRUE(origin);
  EXPECT_TRUE(origin->set && origin->backward);
  EXPECT_EQ(origin->origin_id, 3);
  EXPECT_EQ(origin->remote_lsn, Lsn(0xABC));
  TestRecord drop(pg::Rmgr::kReplOrigin, 0x10, pack<uint16_t>(3), 0);
  const auto dropped = parse_repl_origin(drop.record);
  ASSERT_TRUE(dropped);
  EXPECT_FALSE(dropped->set);
  EXPECT_EQ(dropped->origin_id, 3);
  for (const size_t size : {0, 8, 10}) {
    set.record.main_data = ByteView(set.main).first(size);
    EXPECT_FALSE(parse_repl_origin(set.record)) << size;
  }
}

TEST(SideEffects, RunningTransactionsAndAssignmentsProveXids) {
  TestRecord running(pg::Rmgr::kStandby, 0x10,
                     pack<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>(1, 1, 0, 800, 790, 789, 790, 795),
                     0);
  EXPECT_EQ(assigned(running.record), (std::vector<uint32_t>{790, 795, 789, 799}));
  TestRecord assignment(pg::Rmgr::kXact, 0x50, pack<uint32_t, uint32_t, uint32_t>(800, 1, 803), 0);
  EXPECT_EQ(assigned(assignment.record), (std::vector<uint32_t>{800, 803}));
}

TEST(SideEffects, XidsWidenToTheNearestEpochAndOnlyAdvance) {
  const uint64_t epoch1 = uint64_t{1} << 32;
  EXPECT_EQ(widen_xid(100, epoch1 + 50), epoch1 + 100);
  EXPECT_EQ(widen_xid(UINT32_MAX, epoch1 + 50), UINT32_MAX);
  EXPECT_EQ(advance_next_xid(700, 800), 801u);
  EXPECT_EQ(advance_next_xid(900, 800), 900u);
  EXPECT_EQ(advance_next_xid(900, 0), 900u);
  EXPECT_EQ(advance_next_xid(epoch1 - 5, UINT32_MAX), epoch1 + 3) << "past the special ids";
  EXPECT_EQ(advance_next_xid(10, 4000000000u), 10u) << "logically before";
}

TEST(SideEffects, LogicalMessagesAndRelationMapsCarryTheirBytes) {
  ByteWriter main;
  main.u32(5);
  main.u32(1);
  main.u64(7);
  main.u64(3);
  main.raw("prefix\0abc", 10);
  TestRecord record(pg::Rmgr::kLogicalMsg, 0x00, main.take());
  const auto message = parse_logical_message(record.record);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->prefix, "prefix");
  EXPECT_EQ(as_text(message->payload), "abc");
  EXPECT_TRUE(message->transactional);

  ByteWriter map;
  map.u32(5);
  map.u32(1663);
  map.blob(Bytes(512));
  TestRecord update(pg::Rmgr::kRelmap, 0x00, map.take());
  const auto relmap = parse_relmap_update(update.record);
  ASSERT_TRUE(relmap);
  EXPECT_EQ(relmap->map.size(), 512u);
}

}  // namespace
}  // namespace helium::redo
