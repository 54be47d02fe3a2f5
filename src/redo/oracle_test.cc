#include "redo/oracle.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "redo/block_types.h"
#include "redo/test_records.h"

namespace helium::redo {
namespace {

// Replays a recorded WAL of src/redo/testdata; adds to `compared` how often each kind of block was.
void replay_without_a_difference(const std::string& name, int version, std::map<std::string, uint64_t>& compared) {
  const Bytes wal = testing::recorded_wal(name);
  ASSERT_FALSE(wal.empty()) << name;
  OracleOptions options;
  options.pg_version = version;
  options.track_commit_timestamp = true;
  Oracle oracle(options);
  const auto run = replay_wal(oracle, wal);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_GT(run->records, 500u);
  EXPECT_EQ(oracle.total().differences, 0u) << name << "\n" << format_counts(oracle.counts());
  EXPECT_EQ(oracle.total().refused, 0u) << name << "\n" << format_counts(oracle.counts());
  for (const auto& [type, counts] : oracle.counts()) compared[type] += counts.compared;
}

bool is_index_type(const std::string& type) { return !type.starts_with("HEAP") && !type.starts_with("BTREE") && type != "SEQ/LOG"; }

// Kinds that no recorded WAL shows, each with a directed test: btree_redo_test.cc,
// index_redo_test.cc, vm_redo_test.cc.
const std::set<std::string> kNotRecorded = {
    "BTREE/INSERT_META", "BTREE/INSERT_META blk 1", "BTREE/INSERT_META blk 2", "BTREE/UNLINK_PAGE_META blk 1",
    "HASH/ADD_OVFL_PAGE blk 2", "HASH/ADD_OVFL_PAGE blk 3", "HASH/SQUEEZE_PAGE blk 4", "GIN/SPLIT blk 3",
    "GIST/PAGE_SPLIT", "SPGIST/ADD_NODE blk 1", "SPGIST/ADD_NODE blk 2",
    "HEAP2/LOCK_UPDATED blk 1"};

// Goal: redo agrees with PostgreSQL, for every kind of block that records change.
// Method: WAL of a stock cluster of each version (tests/redo_oracle/fixture*.sql), each page compared
// with its check image after masking. Pages that were there before are adopted, so a kind counts only where redo ran.
// Index types of 14 have the layouts of 15, those of 17 the ones of 18. Map pages as blocks: of 17.12 and 18.6.
class RecordedWal : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Oracle, RecordedWal, ::testing::Values(14, 15, 16, 17, 18));
TEST_P(RecordedWal, ReplaysWithoutADifferenceAndShowsEveryKindOfBlock) {
  const int version = GetParam();
  const bool with_indexes = version != 14 && version != 17;
  std::map<std::string, uint64_t> compared;
  replay_without_a_difference(fmt::format("workload_{}", version), version, compared);
  if (with_indexes) replay_without_a_difference(fmt::format("indexes_{}", version), version, compared);
  if (version >= 17) replay_without_a_difference(fmt::format("maps_{}", version), version, compared);
  for (const std::string& type : native_block_types(version)) {
    if (is_index_type(type) && !with_indexes) continue;
    EXPECT_EQ(compared[type] > 0, !kNotRecorded.contains(type)) << type;
  }
}

// Goal: a map bit whose heap page is not all-visible is seen. Method: VISIBLE sets both; then a damaged INSERT, without
// the flag that clears the map's bit, replaces the page.
TEST(Oracle, AMapBitWithoutItsPagesFlagIsSeen) {
  const auto record = [](uint8_t rmgr, uint8_t info, std::initializer_list<std::pair<uint8_t, uint8_t>> blocks, ByteView data,
                         ByteView main) {
    ByteWriter wal;
    wal.u32(0);
    wal.u32(700);
    wal.u64(0);
    wal.u8(info);
    wal.u8(rmgr);
    wal.u16(0);
    wal.u32(0);
    for (const auto& [id, fork_flags] : blocks) {
      wal.u8(id);
      wal.u8(fork_flags);
      wal.u16(static_cast<uint16_t>(data.size()));
      wal.u32(1663);
      wal.u32(5);
      wal.u32(16385);
      wal.u32(0);
    }
    wal.u8(255);
    wal.u8(static_cast<uint8_t>(main.size()));
    wal.raw(data);
    wal.raw(main);
    wal.patch_u32(0, static_cast<uint32_t>(wal.size()));
    return wal.take();
  };
  const Bytes tuple = testing::heap_tuple_data("row");
  const Bytes insert = record(10, 0x80, {{0, 0x60}}, tuple, testing::pack<uint16_t, uint8_t>(1, 0));
  const Bytes visible = record(9, 0x40, {{0, 0x02}, {1, 0x00}}, {}, testing::pack<uint32_t, uint8_t>(700, 0x03));
  OracleOptions options;
  options.base = "/nonexistent";
  Oracle oracle(options);
  const auto map_bits = [&] { return oracle.compare_with("/nonexistent").at("final map bits and PD_ALL_VISIBLE"); };
  ASSERT_TRUE(oracle.replay({Lsn(0x900), Lsn(0x1000), insert}));
  ASSERT_TRUE(oracle.replay({Lsn(0x1000), Lsn(0x1100), visible}));
  ASSERT_EQ(oracle.total().refused, 0u) << oracle.total().first_problem;
  EXPECT_EQ(map_bits().compared, 1u);
  EXPECT_EQ(map_bits().differences, 0u);
  ASSERT_TRUE(oracle.replay({Lsn(0x1100), Lsn(0x1200), insert}));
  EXPECT_EQ(map_bits().differences, 1u);
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
