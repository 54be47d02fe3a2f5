// Goal: whatever PostgreSQL has written so far, exactly the whole records in it are shipped, once and in order, and a
// sync returns only when the quorum has what it promises.
// Method: a fake pg_wal folder is written the way PostgreSQL writes: whole pages, the last one again and again with more
// in it, half records behind the flush target, garbage behind the last page. What the proposer got is compared with the
// stream itself.

#include "compute/wal_shipper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "io/durable_file.h"
#include "pg/constants.h"
#include "pg/wal_build.h"

namespace helium::compute {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSystemId = 7111;
constexpr int kVersion = 15;

// A stream of records, and where each ends.
struct Stream {
  Lsn start;
  Bytes bytes;            // from start
  std::vector<Lsn> ends;  // ascending

  Lsn end() const { return start + bytes.size(); }
  Lsn last_end_at(Lsn limit) const {
    Lsn best = start;
    for (const Lsn end : ends)
      if (end <= limit) best = end;
    return best;
  }
};

Stream make_stream(Lsn start, const std::vector<size_t>& sizes, Lsn prev = Lsn(8)) {
  Stream stream{start, {}, {}};
  Lsn at = start;
  uint8_t fill = 1;
  for (const size_t size : sizes) {
    const Bytes data(size, std::byte{fill++});
    const Bytes record = pg::build_record(static_cast<uint8_t>(pg::Rmgr::kXlog), 0x20, 0, prev, data);
    prev = pg::wal_record_start_after(at);
    Lsn end;
    const Bytes laid = pg::lay_out_record(at, record, kSystemId, kVersion, &end);
    stream.bytes.insert(stream.bytes.end(), laid.begin(), laid.end());
    at = end;
    stream.ends.push_back(end);
  }
  return stream;
}

class WalShipperTest : public testing::Test {
 protected:
  WalShipperTest() {
    char name[] = "/tmp/helium-shipper-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~WalShipperTest() override { fs::remove_all(folder_); }

  void write_at(Lsn at, ByteView bytes) {
    while (!bytes.empty()) {
      const fs::path path = folder_ / pg::wal_segment_name(1, pg::wal_segment_number(at));
      const Result<Fd> file = open_file(path, O_CREAT | O_WRONLY);
      ASSERT_TRUE(file);
      ASSERT_EQ(::ftruncate(file->get(), pg::kWalSegmentSize), 0);
      const size_t take = std::min<size_t>(bytes.size(), pg::kWalSegmentSize - pg::wal_segment_offset(at));
      ASSERT_TRUE(pwrite_all(*file, bytes.first(take), pg::wal_segment_offset(at)));
      bytes = bytes.subspan(take);
      at = at + take;
    }
  }

  // PostgreSQL writes up to `upto` (bytes of the stream behind it are not copied yet), as whole pages.
  void write_pages(const Stream& stream, Lsn upto) {
    const Lsn written = page_end(upto);
    Bytes pages(stream.bytes.begin(), stream.bytes.begin() + static_cast<ptrdiff_t>(upto - stream.start));
    pages.resize(written - stream.start);
    write_at(stream.start, pages);
    written_ = {written_.seq + 1, std::max(written_.written_upto, written)};
  }
  static Lsn page_end(Lsn lsn) { return Lsn((lsn.bytes() + pg::kWalPageSize - 1) / pg::kWalPageSize * pg::kWalPageSize); }

  WalShipper make_shipper(Lsn start) {
    return WalShipper(WalShipper::Options{
        .wal_folder = folder_,
        .start = start,
        .wait = [](uint64_t) { return WalShipper::Written{}; },
        .append =
            [this, start](Lsn at, ByteView bytes) {
              EXPECT_EQ(at, start + shipped_.size()) << "a gap or an overlap";
              shipped_.insert(shipped_.end(), bytes.begin(), bytes.end());
            },
        .commit_lsn = [this] { return commit_lsn_; },
        .publish_flushed = [this](uint64_t seq) { flushed_ = seq; },
        .on_damaged = [](const Error&) {},
        .on_progress = {},
    });
  }

  void expect_shipped(const Stream& stream, Lsn upto) {
    ASSERT_EQ(stream.start + shipped_.size(), upto);
    EXPECT_TRUE(std::equal(shipped_.begin(), shipped_.end(), stream.bytes.begin()));
  }

  fs::path folder_;
  Bytes shipped_;
  Lsn commit_lsn_;
  uint64_t flushed_ = 0;
  WalShipper::Written written_;
};

// Records of many sizes from the middle of a page on, one over several pages.
const Lsn kMidPage(0x1000000 + 3 * pg::kWalPageSize + 504);
const std::vector<size_t> kSizes = {1, 30, 300, 8100, 100, 7, 20000, 8, 8, 254, 255, 256, 4000, 3900, 60};

TEST_F(WalShipperTest, AtEveryCutExactlyTheWholeRecordsAreShipped) {
  const Stream stream = make_stream(kMidPage, kSizes);
  // One shipper sees the stream grow by 8 bytes at a time: the last page is rewritten all the time.
  WalShipper shipper = make_shipper(stream.start);
  for (Lsn upto = stream.start; upto <= stream.end(); upto = upto + 8) {
    write_pages(stream, upto);
    ASSERT_TRUE(shipper.ship(written_)) << to_string(upto);
    ASSERT_EQ(shipper.shipped_lsn(), stream.last_end_at(upto)) << to_string(upto);
  }
  expect_shipped(stream, stream.end());
}

TEST_F(WalShipperTest, AFreshShipperReadsAllAtOnceWhateverTheCut) {
  const Stream stream = make_stream(kMidPage, kSizes);
  for (Lsn upto = stream.start; upto <= stream.end(); upto = upto + 1016) {
    shipped_.clear();
    written_ = {};
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    write_pages(stream, upto);
    WalShipper shipper = make_shipper(stream.start);
    ASSERT_TRUE(shipper.ship(written_)) << to_string(upto);
    expect_shipped(stream, stream.last_end_at(upto));
  }
}

TEST_F(WalShipperTest, GarbageBehindTheLastWrittenPageIsNeverRead) {
  const Stream stream = make_stream(kMidPage, kSizes);
  const Stream older = make_stream(kMidPage, std::vector<size_t>(40, 777));  // well-formed, at the same place
  for (const Lsn upto : stream.ends) {
    shipped_.clear();
    written_ = {};
    write_at(older.start, older.bytes);  // what a recycled segment held
    write_pages(stream, upto);
    WalShipper shipper = make_shipper(stream.start);
    ASSERT_TRUE(shipper.ship(written_));
    expect_shipped(stream, upto);
  }
}

TEST_F(WalShipperTest, ARecordThatRunsIntoTheNextSegmentIsShippedWhole) {
  const Lsn start(2 * pg::kWalSegmentSize - 5000);
  const Stream stream = make_stream(start, {1000, 9000, 50, 20000});
  WalShipper shipper = make_shipper(start);
  for (Lsn upto = start; upto <= stream.end(); upto = upto + 8) {
    write_pages(stream, upto);
    ASSERT_TRUE(shipper.ship(written_)) << to_string(upto);
    ASSERT_EQ(shipper.shipped_lsn(), stream.last_end_at(upto)) << to_string(upto);
  }
  expect_shipped(stream, stream.end());
}

TEST_F(WalShipperTest, ASwitchShipsTheRestOfItsSegment) {
  const Lsn start(0x1000000 + 5 * pg::kWalPageSize + 80);
  Stream stream = make_stream(start, {100});
  Lsn switch_end;
  const Lsn switch_start = pg::wal_record_start_after(stream.end());
  const Bytes record = pg::build_record(static_cast<uint8_t>(pg::Rmgr::kXlog), 0x40, 0,
                                        pg::wal_record_start_after(start), {});
  const Bytes laid = pg::lay_out_record(stream.end(), record, kSystemId, kVersion, &switch_end);
  stream.bytes.insert(stream.bytes.end(), laid.begin(), laid.end());
  const Lsn segment_end(0x2000000);
  stream.bytes.resize(segment_end - start);  // zeros
  stream.ends.push_back(segment_end);

  WalShipper shipper = make_shipper(start);
  write_pages(stream, switch_end);
  ASSERT_TRUE(shipper.ship(written_));
  EXPECT_EQ(shipper.shipped_lsn(), stream.ends[0]) << "the zeros behind the switch are not written yet";
  write_pages(stream, segment_end);
  ASSERT_TRUE(shipper.ship(written_));
  expect_shipped(stream, segment_end);

  const Stream next = make_stream(segment_end, {10, 9000}, switch_start);
  write_at(next.start, next.bytes);
  ASSERT_TRUE(shipper.ship({written_.seq + 1, page_end(next.end())}));
  EXPECT_EQ(shipper.shipped_lsn(), next.end());
}

TEST_F(WalShipperTest, ALongRecordIsReadOnceWhenItIsThere) {
  const Stream stream = make_stream(kMidPage, {20, 40 * 1024 * 1024, 20});
  WalShipper shipper = make_shipper(stream.start);
  for (const uint64_t part : {uint64_t{1} << 20, uint64_t{17} << 20, uint64_t{39} << 20}) {
    write_pages(stream, Lsn((stream.start.bytes() + part) / 8 * 8));
    ASSERT_TRUE(shipper.ship(written_));
    EXPECT_EQ(shipper.shipped_lsn(), stream.ends[0]);
  }
  write_pages(stream, stream.end());
  ASSERT_TRUE(shipper.ship(written_));
  expect_shipped(stream, stream.end());
}

TEST_F(WalShipperTest, ASyncReturnsWhenTheQuorumHasTheRecordsOfItsWrite) {
  const Stream stream = make_stream(kMidPage, {100, 100, 100});
  commit_lsn_ = stream.start;
  WalShipper shipper = make_shipper(stream.start);
  write_pages(stream, stream.ends[0]);  // seq 1
  ASSERT_TRUE(shipper.ship(written_));
  write_pages(stream, Lsn(stream.ends[1].bytes() + 16));  // seq 2: a third record is half there
  ASSERT_TRUE(shipper.ship(written_));
  EXPECT_EQ(flushed_, 0u);
  shipper.on_commit(Lsn(stream.ends[0].bytes() - 8));
  EXPECT_EQ(flushed_, 0u);
  shipper.on_commit(stream.ends[0]);
  EXPECT_EQ(flushed_, 1u);
  shipper.on_commit(stream.ends[1]);
  EXPECT_EQ(flushed_, 2u) << "the half record promises nothing";
}

TEST_F(WalShipperTest, AWriteThatCompletesNothingNewIsSafeAtOnce) {
  const Stream stream = make_stream(kMidPage, {100, 100});
  WalShipper shipper = make_shipper(stream.start);
  write_pages(stream, stream.ends[0]);
  ASSERT_TRUE(shipper.ship(written_));
  commit_lsn_ = stream.ends[0];
  write_pages(stream, Lsn(stream.ends[0].bytes() + 8));
  ASSERT_TRUE(shipper.ship(written_));
  EXPECT_EQ(flushed_, 2u);
}

TEST_F(WalShipperTest, DamageFarBehindTheLastPageIsAnErrorAndNotAWait) {
  const Stream stream = make_stream(kMidPage, {100, 9000, 9000, 9000, 9000});
  write_pages(stream, stream.end());
  const std::byte wrong{0xEE};
  write_at(Lsn(stream.ends[0].bytes() + 200), ByteView(&wrong, 1));
  WalShipper shipper = make_shipper(stream.start);
  const Status shipped = shipper.ship(written_);
  ASSERT_FALSE(shipped);
  EXPECT_EQ(shipped.error().code, ErrorCode::kCorrupt);
  expect_shipped(stream, stream.ends[0]);
}

TEST(RecordEnd, CountsThePageHeadersThatTheLayoutHas) {
  for (const size_t size : {1u, 100u, 8100u, 8168u, 8192u, 20000u, 17u * 1024 * 1024}) {
    for (uint64_t offset = 24; offset < pg::kWalPageSize; offset += 408) {
      const Lsn start(pg::kWalSegmentSize - 2 * pg::kWalPageSize + offset);
      const Bytes record = pg::build_record(0, 0x20, 0, Lsn(8), Bytes(size));
      Lsn end;
      pg::lay_out_record(start, record, kSystemId, kVersion, &end);
      ASSERT_EQ(record_end_of(start, static_cast<uint32_t>(record.size())), end) << to_string(start) << " " << size;
    }
  }
}

}  // namespace
}  // namespace helium::compute
