// Goal: check_wal finds every kind of damage at its place, and takes no sound WAL for damaged.

#include "safekeeper/wal_check.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "pg/wal_build.h"
#include "safekeeper/inspect.h"
#include "safekeeper/test_support.h"
#include "safekeeper/wal_storage.h"

namespace helium::safekeeper {
namespace {

using test::kStart;
using test::WalMaker;

// A timeline's segments in memory.
class Segments {
 public:
  explicit Segments(Lsn start) {
    segments_[pg::wal_segment_number(start)] =
        pg::build_sparse_segments(start, {}, test::kSystemId, test::kPgVersion).at(0);
    segments_.begin()->second.resize(pg::kWalSegmentSize);
  }
  void put(Lsn at, ByteView bytes) {
    for (const std::byte b : bytes) {
      Bytes& segment = segments_[pg::wal_segment_number(at)];
      segment.resize(pg::kWalSegmentSize);
      segment[pg::wal_segment_offset(at)] = b;
      at = at + 1;
    }
  }
  std::byte& at(Lsn lsn) { return segments_.at(pg::wal_segment_number(lsn))[pg::wal_segment_offset(lsn)]; }
  void remove(uint64_t segno) { segments_.erase(segno); }
  void cut(uint64_t segno, size_t size) { segments_.at(segno).resize(size); }

  WalCheckResult check(Lsn first, Lsn synced, uint64_t system_id = test::kSystemId) const {
    return check_wal({.first = first, .synced = synced, .pg_version = test::kPgVersion, .system_id = system_id},
                     [this](Lsn at, MutableByteView bytes) { return read(at, bytes); });
  }

 private:
  Status read(Lsn at, MutableByteView bytes) const {
    const auto segment = segments_.find(pg::wal_segment_number(at));
    if (segment == segments_.end()) return fail(ErrorCode::kLsnTooOld, "no such segment");
    const uint32_t offset = pg::wal_segment_offset(at);
    if (offset + bytes.size() > segment->second.size()) return fail(ErrorCode::kTruncated, "the file ends");
    std::copy_n(segment->second.begin() + offset, bytes.size(), bytes.begin());
    return {};
  }
  std::map<uint64_t, Bytes> segments_;
};

struct Sample {
  Segments segments{kStart};
  std::vector<Lsn> ends{kStart};
  explicit Sample(size_t bytes, size_t data_size = 5000) {
    WalMaker maker(kStart);
    while (maker.end() < kStart + bytes) {
      const Lsn at = maker.end();
      segments.put(at, maker.record(data_size));
      ends.push_back(maker.end());
    }
  }
  Lsn end() const { return ends.back(); }
};

TEST(WalCheck, SoundWalIsGoodFromTheTimelinesStartAndFromEachSegmentsStart) {
  const Sample sample(40 << 20, 900'000);
  const WalCheckResult all = sample.segments.check(kStart, sample.end());
  EXPECT_FALSE(all.damage) << all.damage->what;
  EXPECT_EQ(all.records, sample.ends.size() - 1);
  EXPECT_EQ(all.end, sample.end());
  for (uint64_t segno = pg::wal_segment_number(kStart) + 1; segno <= pg::wal_segment_number(sample.end()); ++segno) {
    const WalCheckResult part = sample.segments.check(pg::wal_segment_start(segno), sample.end());
    EXPECT_FALSE(part.damage) << part.damage->what;
    EXPECT_EQ(part.end, sample.end());
    EXPECT_LT(part.records, all.records);
    EXPECT_GT(part.records, 0u);
  }
}

TEST(WalCheck, ATornTailBehindWhatWasSyncedIsNoDamageAndASyncedOneIs) {
  const Sample whole(100'000);
  for (const size_t torn : {1, 24, 4000}) {
    Sample sample(100'000);
    const Lsn last = sample.ends[sample.ends.size() - 2];
    sample.segments.put(last + torn, Bytes(sample.end() - last - torn));
    const WalCheckResult tail = sample.segments.check(kStart, last);
    EXPECT_FALSE(tail.damage) << tail.damage->what;
    EXPECT_EQ(tail.end, last);
    const WalCheckResult damaged = sample.segments.check(kStart, sample.end());
    ASSERT_TRUE(damaged.damage.has_value()) << torn;
    EXPECT_EQ(damaged.damage->lsn, last);
    EXPECT_NE(damaged.damage->what.find("synced"), std::string::npos) << damaged.damage->what;
  }
}

TEST(WalCheck, EveryFlippedBitInSyncedWalIsFoundInItsRecord) {
  Sample sample(60'000);
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    const Lsn at = kStart + random() % (sample.end() - kStart);
    const auto bit = static_cast<std::byte>(1 << random() % 8);
    sample.segments.at(at) ^= bit;
    const WalCheckResult result = sample.segments.check(kStart, sample.end());
    const Lsn record = *std::prev(std::upper_bound(sample.ends.begin(), sample.ends.end(), at));
    const uint32_t on_page = pg::wal_page_offset(at);
    // xlp_tli and the header's padding mean nothing to a reader, and padding behind a record has no checksum.
    const bool unchecked = (on_page >= 4 && on_page < 8) || (on_page >= 20 && on_page < 24) || !result.damage;
    if (!unchecked) {
      EXPECT_EQ(result.damage->lsn, record) << to_string(at) << ": " << result.damage->what;
    } else if (on_page >= 24) {
      const Lsn next = *std::upper_bound(sample.ends.begin(), sample.ends.end(), at);
      EXPECT_LT(next - at, 8u) << "not seen at " << to_string(at);
    }
    sample.segments.at(at) ^= bit;
  }
  EXPECT_FALSE(sample.segments.check(kStart, sample.end()).damage);
}

TEST(WalCheck, MissingShortAndForeignSegments) {
  const uint64_t second = pg::wal_segment_number(kStart) + 1;
  {
    Sample sample(40 << 20, 900'000);
    sample.segments.remove(second);
    const auto damage = sample.segments.check(kStart, sample.end()).damage;
    ASSERT_TRUE(damage.has_value());
    EXPECT_EQ(damage->lsn, pg::wal_segment_start(second));
    EXPECT_NE(damage->what.find("missing"), std::string::npos) << damage->what;
  }
  {
    Sample sample(40 << 20, 900'000);
    sample.segments.cut(second, 5 << 20);
    EXPECT_TRUE(sample.segments.check(kStart, sample.end()).damage.has_value());
  }
  {
    const Sample sample(1 << 20);
    const auto damage = sample.segments.check(kStart, sample.end(), 42).damage;
    ASSERT_TRUE(damage.has_value());
    EXPECT_NE(damage->what.find("system identifier"), std::string::npos) << damage->what;
  }
}

TEST(WalCheck, WalFarBehindABadRecordProvesDamageAlsoBehindWhatTheControlFileKnows) {
  Sample sample(10 << 20, 100'000);
  const Lsn bad = sample.ends[5];
  sample.segments.at(bad + 40) ^= std::byte{1};
  const auto damage = sample.segments.check(kStart, kStart).damage;
  ASSERT_TRUE(damage.has_value());
  EXPECT_EQ(damage->lsn, bad);
  EXPECT_NE(damage->what.find("there is WAL at"), std::string::npos) << damage->what;
}

TEST(WalCheck, AnUnusedSegmentPreparedAheadIsNoDamage) {
  Sample sample(100'000);
  sample.segments.put(pg::wal_segment_start(pg::wal_segment_number(sample.end()) + 1), Bytes(1));
  EXPECT_FALSE(sample.segments.check(kStart, sample.end()).damage);
}

// --- a folder, as `safekeeper dump` and `safekeeper verify` see it

struct Folder {
  test::TempFolder datadir;
  TenantTimelineId id{random_id<TenantId>(), random_id<TimelineId>()};
  Lsn end;

  Folder() {
    const auto folder = datadir.path() / to_string(id.tenant) / to_string(id.timeline);
    ControlFile control;
    control.safekeeper_id = 1;
    control.id = id;
    control.pg_version = test::kPgVersion;
    control.system_id = test::kSystemId;
    control.acceptor.membership.members = {{1, "h", 1, 2}};
    control.acceptor.start_lsn = control.acceptor.commit_lsn = control.verify_lsn = control.local_start_lsn = kStart;
    control.flushed_lsn = kStart;
    EXPECT_TRUE(real_disk()->make_folders(folder));
    EXPECT_TRUE(WalStorage::create(*real_disk(), folder, kStart, test::kSystemId, test::kPgVersion));
    auto storage = WalStorage::open(real_disk(), folder, {kStart, kStart});
    WalMaker maker(kStart);
    EXPECT_TRUE((*storage)->write(maker.records(100'000, 3000)));
    (*storage)->sync();
    control.flushed_lsn = end = maker.end();
    EXPECT_TRUE(real_disk()->replace_file(folder / kControlFileName, encode_control_file(control)));
  }
  std::filesystem::path folder() const { return datadir.path() / to_string(id.tenant) / to_string(id.timeline); }
};

TEST(Inspect, ASoundTimelineIsGoodAndAllItsPartsAreNamed) {
  const Folder made;
  ASSERT_EQ(*list_timelines(made.datadir.path()), std::vector{made.id});
  const TimelineReport report = inspect_timeline(made.datadir.path(), made.id, {.with_sums = true});
  EXPECT_TRUE(report.is_good());
  EXPECT_EQ(report.wal.end, made.end);
  ASSERT_EQ(report.segments.size(), 1u);
  EXPECT_EQ(report.segments[0].records, report.wal.records);
  EXPECT_NE(report.segments[0].crc32c, 0u);
  const std::string text = to_text(report);
  for (const char* word : {"flushed_lsn", "verify_lsn", "000000010000000000000001", "good", "system id", "format version 2"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word << "\n" << text;
  }
}

TEST(Inspect, DamageIsNamedWithSegmentOffsetAndPosition) {
  const Folder made;
  const Lsn bad = kStart + 10'000;
  {
    auto file = real_disk()->open_file(segment_path(made.folder(), 1), Disk::Access::kReadWrite);
    const Bytes junk(16, std::byte{0xAA});
    ASSERT_TRUE((*file)->write_at(pg::wal_segment_offset(bad), junk));
  }
  const TimelineReport report = inspect_timeline(made.datadir.path(), made.id, {});
  ASSERT_TRUE(report.wal.damage.has_value());
  EXPECT_LE(report.wal.damage->lsn, bad);
  const std::string verdict = to_verdict(report);
  EXPECT_NE(verdict.find("BAD at " + to_string(report.wal.damage->lsn) + ", segment 000000010000000000000001 offset"),
            std::string::npos)
      << verdict;
  EXPECT_NE(verdicts_json({report}).find("\"damaged\""), std::string::npos);
}

TEST(Inspect, AControlFileThatCannotBeReadIsSaidSo) {
  const Folder made;
  ASSERT_TRUE(real_disk()->replace_file(made.folder() / kControlFileName, as_bytes("nonsense, all of it")));
  const TimelineReport report = inspect_timeline(made.datadir.path(), made.id, {});
  EXPECT_FALSE(report.is_good());
  EXPECT_NE(to_verdict(report).find("UNREADABLE"), std::string::npos);
  EXPECT_NE(to_text(report).find("magic"), std::string::npos);
}

}  // namespace
}  // namespace helium::safekeeper
