#include "pg/rel.h"

#include <gtest/gtest.h>

#include "pg/constants.h"

namespace helium::pg {
namespace {

TEST(Rel, PathsOfRelationFiles) {
  const auto rel = [](uint32_t spc, uint32_t db, uint32_t node, Fork fork = Fork::kMain, uint32_t segno = 0) {
    return std::optional(RelFile{RelTag{spc, db, node, fork}, segno});
  };
  EXPECT_EQ(parse_rel_path("base/5/16384"), rel(1663, 5, 16384));
  EXPECT_EQ(parse_rel_path("base/5/16384.1"), rel(1663, 5, 16384, Fork::kMain, 1));
  EXPECT_EQ(parse_rel_path("base/5/16384_vm.12"), rel(1663, 5, 16384, Fork::kVm, 12));
  EXPECT_EQ(parse_rel_path("base/5/16384_fsm"), rel(1663, 5, 16384, Fork::kFsm));
  EXPECT_EQ(parse_rel_path("base/5/16384_init"), rel(1663, 5, 16384, Fork::kInit));
  EXPECT_EQ(parse_rel_path("global/1262"), rel(1664, 0, 1262));
  EXPECT_EQ(parse_rel_path("global/1262_fsm"), rel(1664, 0, 1262, Fork::kFsm));
  EXPECT_EQ(parse_rel_path("pg_tblspc/16400/PG_15_202209061/5/16401_vm"), rel(16400, 5, 16401, Fork::kVm));
  EXPECT_EQ(parse_rel_path("base/1/4294967295"), rel(1663, 1, 4294967295));
}

TEST(Rel, OtherPathsAreNotRelationFiles) {
  for (const char* path :
       {"", "/", "base", "base/", "base/5", "base/5/", "base/5/PG_VERSION", "base/5/pg_filenode.map", "base/5/t3_16384",
        "base/5/16384_", "base/5/16384_vmx", "base/5/16384.", "base/5/16384.0", "base/5/16384.1.2", "base/5/016384",
        "base/5/4294967296", "base/5/0", "base/5/16384/1", "base/x/16384", "base/0/16384", "base/pgsql_tmp/1", "global",
        "global/pg_control", "global/pg_filenode.map", "global/1262/1", "global/0", "pg_tblspc/16400",
        "pg_tblspc/16400/5/16401", "pg_tblspc/x/PG_15_202209061/5/16401", "pg_wal/000000010000000000000001",
        "pg_xact/0000", "/base/5/16384", "base//5/16384", "base/5/-1", "base/5/+1", "base/5/1 ", "base/5/16384_vm_vm"}) {
    EXPECT_FALSE(parse_rel_path(path)) << path;
  }
}

TEST(Rel, PathsOfSlruSegments) {
  EXPECT_EQ(parse_slru_path("pg_xact/0000"), (SlruSegment{SlruKind::kClog, 0}));
  EXPECT_EQ(parse_slru_path("pg_xact/0FFF"), (SlruSegment{SlruKind::kClog, 0xFFF}));
  EXPECT_EQ(parse_slru_path("pg_multixact/members/14078"), (SlruSegment{SlruKind::kMultixactMembers, 0x14078}));
  EXPECT_EQ(parse_slru_path("pg_multixact/offsets/FFFF"), (SlruSegment{SlruKind::kMultixactOffsets, 0xFFFF}));
  EXPECT_EQ(parse_slru_path("pg_commit_ts/0001"), (SlruSegment{SlruKind::kCommitTs, 1}));
  for (const char* path : {"pg_xact", "pg_xact/", "pg_xact/000", "pg_xact/00000", "pg_xact/000g", "pg_xact/000a",
                           "pg_xact/0000.tmp", "pg_multixact/0000", "pg_subtrans/0000", "pg_xactx/0000"}) {
    EXPECT_FALSE(parse_slru_path(path)) << path;
  }
}

TEST(Rel, TextFormsRoundTrip) {
  EXPECT_EQ(to_string(RelTag{1663, 5, 16384, Fork::kVm}), "1663/5/16384_vm");
  EXPECT_EQ(to_string(RelTag{1664, 0, 1262, Fork::kMain}), "1664/0/1262");
  for (const SlruSegment& segment : {SlruSegment{SlruKind::kClog, 1}, SlruSegment{SlruKind::kMultixactMembers, 0x12345},
                                     SlruSegment{SlruKind::kCommitTs, 0xABC}}) {
    EXPECT_EQ(parse_slru_path(to_string(segment)), segment);
  }
}

TEST(Constants, SegmentNamesAndPlaces) {
  EXPECT_EQ(wal_segment_name(1, 1), "000000010000000000000001");
  EXPECT_EQ(wal_segment_name(2, 256), "000000020000000100000000");
  EXPECT_EQ(wal_segment_name(1, 0x12345), "000000010000012300000045");
  EXPECT_EQ(wal_record_start_after(Lsn(0x1000000)), Lsn(0x1000000 + 40));
  EXPECT_EQ(wal_record_start_after(Lsn(0x1002000)), Lsn(0x1002000 + 24));
  EXPECT_EQ(wal_record_start_after(Lsn(0x1002008)), Lsn(0x1002008));
}

}  // namespace
}  // namespace helium::pg
