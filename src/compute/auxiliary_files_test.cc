// Goal: slots come back with what they need, nothing but files of the short list does, and a clean stop tells what is not
// in WAL yet, as WAL that follows the shutdown checkpoint.
// Method: slots that stock servers wrote (tests/compat); a data directory made by hand whose last WAL is decoded again.

#include "compute/auxiliary_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "base/crc32c.h"
#include "base/source_dir.h"
#include "compute/data_directory.h"
#include "io/durable_file.h"
#include "pg/wal_record.h"
#include "pg/wal_stream.h"
#include "redo/side_effects.h"

namespace helium::compute {
namespace {

namespace fs = std::filesystem;

Bytes fixture(const std::string& name) {
  std::ifstream file(source_path("tests/compat/" + name), std::ios::binary);
  EXPECT_TRUE(file) << name;
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const ByteView bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

TEST(AuxiliaryFiles, SlotsSayWhatTheyNeed) {
  wire::BootstrapReply bootstrap;
  bootstrap.files.push_back({"PG_VERSION", 0600, {}});
  EXPECT_EQ(take_slots(bootstrap)->slots, 0);
  EXPECT_FALSE(take_slots(bootstrap)->wal_from);
  bootstrap.files.push_back({"pg_replslot/phys/state", 0600, fixture("pg15/slot_physical")});
  EXPECT_EQ(take_slots(bootstrap)->slots, 1);
  EXPECT_FALSE(take_slots(bootstrap)->logical);
  bootstrap.files.push_back({"pg_replslot/logi/state", 0600, fixture("pg15/slot_logical")});
  const auto needs = take_slots(bootstrap);
  EXPECT_EQ(needs->slots, 2);
  EXPECT_TRUE(needs->logical);
  EXPECT_LE(*needs->wal_from, Lsn(0x15007C8));
  EXPECT_EQ(bootstrap.files.size(), 3u);

  Bytes temporary = fixture("pg15/slot_physical");
  store<uint32_t>(temporary.data() + 84, 2);
  store<uint32_t>(temporary.data() + 4, Crc32c().add(ByteView(temporary).subspan(8)).value());
  bootstrap.files.push_back({"pg_replslot/temp/state", 0600, temporary});
  EXPECT_EQ(take_slots(bootstrap)->slots, 2);
  EXPECT_EQ(bootstrap.files.size(), 3u) << "its session has ended";

  bootstrap.files.push_back({"pg_replslot/damaged/state", 0600, Bytes(200)});
  EXPECT_EQ(take_slots(bootstrap).error().code, ErrorCode::kCorrupt);
}

TEST(AuxiliaryFiles, OnlyTheShortListIsWritten) {
  for (const char* good : {"pg_replslot/s/state", "pg_logical/replorigin_checkpoint", "pg_stat/pgstat.stat", "PG_VERSION"})
    EXPECT_TRUE(check_auxiliary_path(good, 100)) << good;
  for (const char* bad : {"pg_replslot/s/other", "pg_logical/x", "pg_stat/x", "pg_replslot/a/b/state"})
    EXPECT_FALSE(check_auxiliary_path(bad, 100)) << bad;
  EXPECT_FALSE(check_auxiliary_path("pg_replslot/s/state", 5000));
}

class LastWalTest : public testing::Test {
 protected:
  LastWalTest() {
    char name[] = "/tmp/helium-lastwal-XXXXXX";
    pgdata_ = ::mkdtemp(name);
    for (const char* folder : {"global", "pg_wal", "pg_replslot", "pg_replslot/s", "pg_stat", "pg_logical",
                               "pg_logical/snapshots", "pg_logical/mappings"})
      fs::create_directory(pgdata_ / folder);
    auto control = *pg::ControlFile::parse(fixture("pg15/pg_control.bin"), 15);
    checkpoint_ = pg::build_shutdown_checkpoint(kX, Lsn(0x2000028), control.checkpoint(), control.system_identifier(), 15);
    control.set_shutdown_checkpoint(checkpoint_.record_start, checkpoint_.checkpoint, 1);
    write("global/pg_control", control.encode());
    EXPECT_TRUE(write_wal_segments(pgdata_ / "pg_wal", pg::build_sparse_pieces(kX, checkpoint_.wal, control.system_identifier(), 15)));
    key_ = auxiliary_key(control, timeline_);
  }
  ~LastWalTest() override { fs::remove_all(pgdata_); }

  void write(const std::string& path, ByteView content) { ASSERT_TRUE(write_durable(pgdata_ / path, content)); }
  void mark(const std::string& path) {
    const timespec times[2] = {{0, UTIME_OMIT}, pg::auxiliary_mark(static_cast<int64_t>(fs::file_size(pgdata_ / path)))};
    ASSERT_EQ(::utimensat(AT_FDCWD, (pgdata_ / path).c_str(), times, 0), 0);
  }
  Result<LastWal> build(Lsn end) { return build_last_wal(pgdata_, end, 15, timeline_); }

  // Near a page's end, so that what follows crosses it.
  static constexpr Lsn kX{0x3000000 + 8192 - 160};
  fs::path pgdata_;
  const TimelineId timeline_ = random_id<TimelineId>();
  pg::SyntheticCheckpoint checkpoint_;
  pg::AuxiliaryKey key_;
};

TEST_F(LastWalTest, TellsWhatIsNotInWalYet) {
  const Bytes large(20000, std::byte{3});
  write("pg_replslot/s/state", as_bytes("slot"));
  write("pg_stat/pgstat.stat", large);
  write("pg_stat/pgstat.tmp", as_bytes("not on the list"));
  write("pg_logical/snapshots/0-30.snap", as_bytes("known"));
  mark("pg_logical/snapshots/0-30.snap");
  write("pg_logical/snapshots/0-40.snap", as_bytes("new"));
  const auto last = build(checkpoint_.end_lsn);
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_EQ(last->files, 3);
  EXPECT_EQ(last->end - checkpoint_.end_lsn, last->wal.size());

  pg::WalStreamDecoder decoder(checkpoint_.end_lsn, 15);
  decoder.feed(last->wal);
  const std::pair<std::string, ByteView> wanted[] = {{"pg_logical/snapshots/0-40.snap", as_bytes("new")},
                                                     {"pg_replslot/s/state", as_bytes("slot")},
                                                     {"pg_stat/pgstat.stat", large}};
  Lsn prev = checkpoint_.record_start;
  for (const auto& [path, content] : wanted) {
    const auto view = decoder.next();
    ASSERT_TRUE(view && *view) << path;
    const auto record = pg::decode_record((*view)->bytes, 15);
    ASSERT_TRUE(record);
    EXPECT_EQ(record->prev_lsn, prev);
    prev = (*view)->start_lsn;
    const auto logical = redo::parse_logical_message(*record);
    ASSERT_TRUE(logical);
    EXPECT_EQ(logical->prefix, pg::kAuxiliaryPrefix);
    pg::AuxiliaryMessage message;
    ASSERT_EQ(pg::decode_auxiliary_message(logical->payload, key_, message), pg::AuxiliaryVerdict::kGood);
    EXPECT_EQ(message.path, path);
    EXPECT_TRUE(std::ranges::equal(message.content, content));
  }
  EXPECT_EQ(decoder.record_end_lsn(), last->end);
}

TEST_F(LastWalTest, HasNothingToTellWithoutFiles) {
  const auto last = build(checkpoint_.end_lsn);
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_EQ(last->files, 0);
  EXPECT_TRUE(last->wal.empty());
}

TEST_F(LastWalTest, FollowsTheShutdownCheckpointOnly) {
  write("pg_replslot/s/state", as_bytes("slot"));
  EXPECT_EQ(build(checkpoint_.end_lsn + 64).error().code, ErrorCode::kCorrupt);
  // PostgreSQL did not stop cleanly.
  Bytes control = *read_file(pgdata_ / "global/pg_control");
  store<uint32_t>(control.data() + 16, 6);
  store(control.data() + 288, Crc32c().add(ByteView(control).first(288)).value());
  write("global/pg_control", control);
  const auto last = build(checkpoint_.end_lsn);
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_EQ(last->files, 0);
}

}  // namespace
}  // namespace helium::compute
