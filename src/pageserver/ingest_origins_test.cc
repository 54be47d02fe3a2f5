// Goal: a subscriber that starts anew knows how far it has applied: the progress of each origin, from every record that
// carries it, as of each LSN; and a branch starts without its parent's.
// Method: records put together by hand; the file that the bootstrap gives is read back.

#include <algorithm>

#include "pageserver/bootstrap.h"
#include "pageserver/test_timeline.h"
#include "pg/origin_file.h"

namespace helium::pageserver {
namespace {

using Origins = std::vector<pg::OriginProgress>;

class IngestOrigins : public TestTimeline {
 protected:
  static Origins origins(const Timeline& timeline, Lsn lsn) {
    const auto reply = build_bootstrap(timeline, lsn);
    if (!reply) {
      ADD_FAILURE() << reply.error().message;
      return {};
    }
    for (const wire::BootstrapFile& file : reply->files)
      if (file.path == pg::kOriginFile) return *pg::decode_origin_file(file.content);
    return {};
  }
  Origins origins(Lsn lsn) const { return origins(*timeline_, lsn); }

  // xact_time, xinfo with HAS_ORIGIN (and HAS_TWOPHASE: the xid), origin_lsn, origin_timestamp.
  static RecordBuilder end(uint8_t op, uint32_t xid, uint16_t origin, uint64_t remote_lsn, bool prepared = false) {
    ByteWriter out;
    out.u64(1);
    out.u32(1u << 5 | (prepared ? 1u << 4 : 0));
    if (prepared) out.u32(xid);
    out.u64(remote_lsn);
    out.u64(2);
    return RecordBuilder(pg::Rmgr::kXact, op | 0x80, prepared ? 0 : xid).origin(origin).main(out.view());
  }
  // xl_xact_prepare of 15 without subtransactions.
  static RecordBuilder prepare(uint32_t xid, uint16_t origin, uint64_t remote_lsn) {
    ByteWriter out;
    out.u32(0x57F94534);
    out.u32(0);
    out.u32(xid);
    out.u32(5);
    out.zeros(38);
    out.u16(8);  // gid length
    out.u64(remote_lsn);
    out.u64(2);
    out.raw(Bytes(8, std::byte{'g'}));
    RecordBuilder record(pg::Rmgr::kXact, 0x10, xid);
    if (origin != 0) record.origin(origin);
    return record.main(out.view());
  }
  static RecordBuilder set(uint16_t origin, uint64_t remote_lsn, bool backward) {
    ByteWriter out;
    out.u64(remote_lsn);
    out.u16(origin);
    out.u8(backward);
    out.zeros(5);
    return RecordBuilder(pg::Rmgr::kReplOrigin, 0x00).main(out.view());
  }
  static RecordBuilder drop(uint16_t origin) {
    ByteWriter out;
    out.u16(origin);
    return RecordBuilder(pg::Rmgr::kReplOrigin, 0x10).main(out.view());
  }
};

TEST_F(IngestOrigins, EveryRecordThatCarriesProgressCounts) {
  EXPECT_EQ(origins(ingest(commit(1001))), Origins{});
  EXPECT_EQ(origins(ingest(end(0x00, 1002, 1, 0x100))), (Origins{{1, Lsn(0x100)}}));          // commit
  EXPECT_EQ(origins(ingest(end(0x20, 1003, 1, 0x180))), (Origins{{1, Lsn(0x180)}}));          // abort
  EXPECT_EQ(origins(ingest(prepare(1004, 2, 0x200))), (Origins{{1, Lsn(0x180)}, {2, Lsn(0x200)}}));
  EXPECT_EQ(origins(ingest(prepare(1005, 0, 0x900))), (Origins{{1, Lsn(0x180)}, {2, Lsn(0x200)}})) << "from nowhere";
  EXPECT_EQ(origins(ingest(end(0x30, 1004, 2, 0x280, true))), (Origins{{1, Lsn(0x180)}, {2, Lsn(0x280)}}));
  EXPECT_EQ(origins(ingest(end(0x40, 1005, 2, 0x300, true))), (Origins{{1, Lsn(0x180)}, {2, Lsn(0x300)}}));
  // Progress never goes back by itself, and changes that are not to be sent on are nobody's progress.
  EXPECT_EQ(origins(ingest(end(0x00, 1006, 2, 0x200))), (Origins{{1, Lsn(0x180)}, {2, Lsn(0x300)}}));
  const Lsn before = ingest(end(0x00, 1007, 0xFFFF, 0x999));
  EXPECT_EQ(origins(before), (Origins{{1, Lsn(0x180)}, {2, Lsn(0x300)}}));
  // By pg_replication_origin_advance, also back.
  EXPECT_EQ(origins(ingest(set(1, 0x80, false))), (Origins{{1, Lsn(0x180)}, {2, Lsn(0x300)}}));
  EXPECT_EQ(origins(ingest(set(1, 0x80, true))), (Origins{{1, Lsn(0x80)}, {2, Lsn(0x300)}}));
  EXPECT_EQ(origins(ingest(drop(1))), (Origins{{2, Lsn(0x300)}}));
  EXPECT_EQ(origins(ingest(set(1, 0x10, false))), (Origins{{1, Lsn(0x10)}, {2, Lsn(0x300)}})) << "its number comes back";
  EXPECT_EQ(origins(before), (Origins{{1, Lsn(0x180)}, {2, Lsn(0x300)}})) << "what was stays";
}

TEST_F(IngestOrigins, ProgressSurvivesFreezeAndReopening) {
  const Lsn lsn = ingest(end(0x00, 1002, 7, 0x100));
  ASSERT_TRUE(timeline_->checkpoint().has_value());
  timeline_.reset();
  timeline_ = *Timeline::attach(root_id_, *layer::TimelineStore::open(folder_ / "root", {}), nullptr, options());
  ASSERT_TRUE(timeline_->start_ingest().has_value());
  EXPECT_EQ(origins(lsn), (Origins{{7, Lsn(0x100)}}));
  EXPECT_EQ(origins(ingest(end(0x00, 1003, 7, 0x80))), (Origins{{7, Lsn(0x100)}})) << "what is stored counts";
}

TEST_F(IngestOrigins, ABranchStartsWithoutItsParents) {
  ingest(set(1, 0x500, false));
  ingest(set(2, 0x500, false));
  const Lsn at = ingest(commit(1001));
  const auto child = branch(timeline_, *timeline_->branch_point(at, Timeline::Rounding::kExact), "child");
  ASSERT_TRUE(child->start_ingest().has_value());
  EXPECT_EQ(origins(*child, at), Origins{});
  EXPECT_TRUE(build_bootstrap(*child, at)->is_branch);
  EXPECT_FALSE(build_bootstrap(*timeline_, at)->is_branch);
  timeline_ = child;
  // What moves there counts from nothing.
  EXPECT_EQ(origins(ingest(set(2, 0x90, false))), (Origins{{2, Lsn(0x90)}}));
}

}  // namespace
}  // namespace helium::pageserver
