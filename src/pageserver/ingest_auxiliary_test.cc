// Goal: the bootstrap brings back exactly the files that the compute put into WAL, as of each LSN; what somebody else wrote
// changes nothing and is told; a branch starts without its parent's.
// Method: logical messages put together by hand; the bootstrap's files are looked at.

#include <map>

#include "pageserver/bootstrap.h"
#include "pageserver/test_timeline.h"
#include "pg/auxiliary_file.h"

namespace helium::pageserver {
namespace {

using Files = std::map<std::string, std::string>;

constexpr const char* kSlot = "pg_replslot/s/state";
constexpr const char* kSnapshot = "pg_logical/snapshots/0-16B5A50.snap";
constexpr const char* kStatistics = "pg_stat/pgstat.stat";

class IngestAuxiliary : public TestTimeline {
 protected:
  static Files files(const Timeline& timeline, Lsn lsn) {
    const auto reply = build_bootstrap(timeline, lsn);
    if (!reply) {
      ADD_FAILURE() << reply.error().message;
      return {};
    }
    Files found;
    for (const wire::BootstrapFile& file : reply->files)
      if (pg::auxiliary_kind(file.path) != pg::AuxiliaryKind::kNone) found[file.path] = as_text(file.content);
    return found;
  }
  Files files(Lsn lsn) const { return files(*timeline_, lsn); }

  pg::AuxiliaryKey key() const {
    return pg::auxiliary_key(test_control_file().mock_authentication_nonce(),
                             std::as_bytes(std::span(timeline_->store()->timeline_id().bytes)));
  }
  RecordBuilder message(std::string_view path, std::string_view content) const {
    return RecordBuilder(pg::Rmgr::kLogicalMsg, 0).main(pg::encode_auxiliary_message({path, false, as_bytes(content)}, key()));
  }
  RecordBuilder removal(std::string_view path) const {
    return RecordBuilder(pg::Rmgr::kLogicalMsg, 0).main(pg::encode_auxiliary_message({path, true, {}}, key()));
  }
  // A checkpoint at the end of WAL.
  RecordBuilder checkpoint() const {
    pg::Checkpoint now = test_control_file().checkpoint();
    now.redo = next_start_;
    now.next_full_xid = 1000;
    return RecordBuilder(pg::Rmgr::kXlog, 0x00).main(pg::encode_checkpoint(now, 15));
  }
};

TEST_F(IngestAuxiliary, EachFileIsWhatItsLastMessageSays) {
  const Lsn before = ingest(commit(1001));
  EXPECT_EQ(files(before), Files{});
  const Lsn first = ingest(message(kSlot, "one"));
  EXPECT_EQ(files(first), (Files{{kSlot, "one"}}));
  EXPECT_EQ(files(ingest(message(kSnapshot, ""))), (Files{{kSlot, "one"}, {kSnapshot, ""}}));
  EXPECT_EQ(files(ingest(message(kSlot, "two"))), (Files{{kSlot, "two"}, {kSnapshot, ""}}));
  EXPECT_EQ(files(ingest(removal(kSlot))), (Files{{kSnapshot, ""}}));
  EXPECT_EQ(files(ingest(removal(kSlot))), (Files{{kSnapshot, ""}}));
  EXPECT_EQ(files(ingest(message(kSlot, "three"))), (Files{{kSlot, "three"}, {kSnapshot, ""}}));
  EXPECT_EQ(files(first), (Files{{kSlot, "one"}})) << "what was stays";
}

TEST_F(IngestAuxiliary, FilesSurviveFreezeAndReopening) {
  ingest(message(kSlot, "one"));
  const Lsn lsn = ingest(message(kSnapshot, "snap"));
  ASSERT_TRUE(timeline_->checkpoint().has_value());
  timeline_.reset();
  timeline_ = *Timeline::attach(root_id_, *layer::TimelineStore::open(folder_ / "root", {}), nullptr, options());
  ASSERT_TRUE(timeline_->start_ingest().has_value());
  EXPECT_EQ(files(lsn), (Files{{kSlot, "one"}, {kSnapshot, "snap"}}));
  EXPECT_EQ(files(ingest(removal(kSlot))), (Files{{kSnapshot, "snap"}}));
}

TEST_F(IngestAuxiliary, WhatSomebodyElseWroteChangesNothing) {
  ingest(message(kSlot, "mine"));
  const Bytes good = pg::encode_auxiliary_message({kSlot, false, as_bytes("forged")}, key());
  std::vector<Bytes> forged;
  // By a session of database 5; transactional; with another key; with another prefix; cut short.
  forged.push_back(good);
  store<uint32_t>(forged.back().data(), 5);
  forged.push_back(good);
  forged.back()[4] = std::byte{1};
  forged.push_back(pg::encode_auxiliary_message({kSlot, false, as_bytes("forged")}, pg::auxiliary_key({}, {})));
  forged.push_back(good);
  store<uint64_t>(forged.back().data() + 16, load<uint64_t>(good.data() + 16) - 1);
  forged.back().pop_back();
  forged.push_back(pg::encode_auxiliary_message({"global/pg_control", false, as_bytes("forged")}, key()));
  for (const Bytes& main : forged)
    EXPECT_EQ(files(ingest(RecordBuilder(pg::Rmgr::kLogicalMsg, 0).main(main))), (Files{{kSlot, "mine"}}));
  Bytes other_prefix = good;
  other_prefix[pg::kLogicalMessageHead] = std::byte{'H'};
  EXPECT_EQ(files(ingest(RecordBuilder(pg::Rmgr::kLogicalMsg, 0).main(other_prefix))), (Files{{kSlot, "mine"}}));
}

TEST_F(IngestAuxiliary, StatisticsCountUntilSomethingGoesOn) {
  ingest(checkpoint());
  ingest(message(kSlot, "one"));
  const Lsn stopped = ingest(message(kStatistics, "counted"));
  EXPECT_EQ(files(stopped), (Files{{kSlot, "one"}, {kStatistics, "counted"}}));
  const auto child = branch(timeline_, *timeline_->branch_point(stopped, Timeline::Rounding::kExact), "child");
  // The next compute's first record.
  const Lsn started = ingest(checkpoint());
  EXPECT_EQ(files(started), (Files{{kSlot, "one"}}));
  ASSERT_TRUE(child->start_ingest().has_value());
  EXPECT_EQ(files(*child, stopped), (Files{{kStatistics, "counted"}})) << "a branch's first compute begins where they were";
}

TEST_F(IngestAuxiliary, ABranchStartsWithoutItsParentsSlots) {
  ingest(message(kSlot, "parent's"));
  ingest(message(kSnapshot, "parent's"));
  const Lsn at = ingest(commit(1001));
  const auto child = branch(timeline_, *timeline_->branch_point(at, Timeline::Rounding::kExact), "child");
  ASSERT_TRUE(child->start_ingest().has_value());
  EXPECT_EQ(files(*child, at), Files{});
  timeline_ = child;
  EXPECT_EQ(files(ingest(message(kSlot, "its own"))), (Files{{kSlot, "its own"}}));
  EXPECT_EQ(files(ingest(removal(kSlot))), Files{});
}

}  // namespace
}  // namespace helium::pageserver
