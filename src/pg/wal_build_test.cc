#include "pg/wal_build.h"

#include "pg/testing.h"
#include "pg/wal_record.h"
#include "pg/wal_segment.h"

namespace helium::pg {
namespace {

using testing::decode_all;
using testing::kSystemId;
using testing::StreamWriter;

Checkpoint some_checkpoint() {
  Checkpoint checkpoint;
  checkpoint.next_full_xid = (uint64_t{3} << 32) | 755;
  checkpoint.next_oid = 24576;
  checkpoint.next_multi = 5;
  checkpoint.next_multi_offset = 12;
  checkpoint.oldest_xid = 716;
  checkpoint.oldest_xid_db = 1;
  checkpoint.oldest_multi = 1;
  checkpoint.oldest_multi_db = 1;
  checkpoint.time = 1763808000;
  checkpoint.oldest_commit_ts_xid = 700;
  checkpoint.newest_commit_ts_xid = 754;
  checkpoint.oldest_active_xid = 740;
  return checkpoint;
}

// Decodes the checkpoint at x and compares it with what was asked for; the WAL must end where it says.
void expect_checkpoint_decodes(Lsn x, Lsn prev, int pg_version) {
  SCOPED_TRACE(::testing::Message() << "x " << to_string(x) << ", version " << pg_version);
  const auto built = build_shutdown_checkpoint(x, prev, some_checkpoint(), kSystemId, pg_version);
  ASSERT_EQ(built.end_lsn, x + built.wal.size());
  WalStreamDecoder decoder(x);
  decoder.feed(built.wal);
  const auto view = decoder.next();
  ASSERT_TRUE(view) << view.error().message;
  ASSERT_TRUE(*view);
  ASSERT_EQ((*view)->start_lsn, built.record_start);
  ASSERT_EQ((*view)->end_lsn, built.end_lsn);
  const auto record = decode_record((*view)->bytes, pg_version);
  ASSERT_TRUE(record) << record.error().message;
  ASSERT_EQ(record_type_name(record->rmgr, record->info, pg_version), "XLOG/CHECKPOINT_SHUTDOWN");
  ASSERT_EQ(record->prev_lsn, prev);
  Checkpoint expected = some_checkpoint();
  expected.redo = built.record_start;
  expected.oldest_active_xid = 0;
  ASSERT_EQ(built.checkpoint, expected);
  const auto decoded = decode_checkpoint(record->main_data, pg_version);
  ASSERT_TRUE(decoded);
  ASSERT_EQ(*decoded, expected);
}

// Rule: the synthetic checkpoint crosses a page at 1.4 % of all offsets. Method: every aligned offset in a page, in the
// middle of a segment, in its first page and in its last, and the segment's start.
TEST(WalBuild, TheSyntheticCheckpointDecodesAtEveryOffset) {
  const Lsn segment = wal_segment_start(7);
  const Lsn pages[] = {segment, segment + 100 * kWalPageSize, segment + (kWalSegmentSize - kWalPageSize)};
  int crossing = 0;
  for (const Lsn page : pages) {
    for (uint32_t offset = 0; offset < kWalPageSize; offset += 8) {
      const Lsn x = page + offset;
      if (offset != 0 && offset < wal_page_header_size(page)) continue;
      expect_checkpoint_decodes(x, x == page ? Lsn(page.bytes() - 120) : Lsn(x.bytes() - 8), 15);
      if (::testing::Test::HasFatalFailure()) return;
      crossing += offset > kWalPageSize - 114;
    }
  }
  EXPECT_GT(crossing, 20);
  for (const int pg_version : {14, 16, 17, 18}) expect_checkpoint_decodes(segment + 8000, segment + 7000, pg_version);
}

// Goal: a server that starts in a sparse segment finds the record, and so does one that only knows the page.
TEST(WalBuild, SparseSegmentsLeadAReaderToX) {
  const Lsn segment = wal_segment_start(3);
  for (const Lsn x : {segment, segment + 40, segment + 200, segment + kWalPageSize, segment + (5 * kWalPageSize + 24),
                      segment + (5 * kWalPageSize + 8000), segment + (6 * kWalPageSize - 8),
                      segment + (kWalSegmentSize - 8), segment + (kWalSegmentSize - 120)}) {
    SCOPED_TRACE(to_string(x));
    const auto built = build_shutdown_checkpoint(x, Lsn(x.bytes() - 64), some_checkpoint(), kSystemId, 15);
    const auto segments = build_sparse_segments(x, built.wal, kSystemId, 15);
    const size_t expected_count = wal_segment_number(Lsn(built.end_lsn.bytes() - 1)) - wal_segment_number(x) + 1;
    ASSERT_EQ(segments.size(), expected_count);
    Bytes all;
    for (size_t i = 0; i < segments.size(); ++i) {
      ASSERT_EQ(segments[i].size(), kWalSegmentSize);
      const auto info = read_segment_info(segments[i]);
      ASSERT_TRUE(info) << info.error().message;
      EXPECT_EQ(info->start_lsn, segment + i * kWalSegmentSize);
      EXPECT_EQ(info->system_identifier, kSystemId);
      EXPECT_EQ(info->pg_version, 15);
      all.insert(all.end(), segments[i].begin(), segments[i].end());
    }
    const Lsn page(x.bytes() - wal_page_offset(x));
    const auto first = find_first_record(ByteView(all).subspan(page - segment), page);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(*first, built.record_start);
    WalStreamDecoder decoder(*first);
    const auto found = decode_all(decoder, ByteView(all).subspan(*first - segment), 1 << 16);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].end, built.end_lsn);
  }
}

TEST(WalBuild, ASparseSegmentWithoutWalHasOnlyHeaders) {
  const Lsn segment = wal_segment_start(3);
  const Lsn x = segment + (9 * kWalPageSize + 1000);
  const auto segments = build_sparse_segments(x, {}, kSystemId, 15);
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_TRUE(read_segment_info(segments[0]));
  const auto first = find_first_record(ByteView(segments[0]).subspan(9 * kWalPageSize), segment + 9 * kWalPageSize);
  ASSERT_TRUE(first);
  EXPECT_EQ(*first, x);
  size_t set = 0;
  for (const std::byte b : segments[0]) set += b != std::byte{0};
  EXPECT_LT(set, 40u + 24u);
}

TEST(WalBuild, RecordsOfEveryLengthAreReadBack) {
  StreamWriter writer(wal_segment_start(2) + kWalLongPageHeader);
  for (size_t size = 0; size < 600; ++size) writer.append(size);
  WalStreamDecoder decoder(writer.start());
  testing::expect_same(decode_all(decoder, writer.wal(), 4096), writer.records());
  const auto with_short = decode_record(writer.records()[255].bytes, 15);
  const auto with_long = decode_record(writer.records()[256].bytes, 15);
  ASSERT_TRUE(with_short && with_long);
  EXPECT_EQ(with_short->main_data.size(), 255u);
  EXPECT_EQ(with_long->main_data.size(), 256u);
}

TEST(WalSegment, FindsTheFirstRecordBehindAContinuation) {
  StreamWriter writer(Lsn(wal_segment_start(2).bytes() - 504));
  for (const size_t size : {100, 30000, 9}) writer.append(size);
  const size_t skip = wal_segment_start(2) - writer.start();
  const auto first = find_first_record(ByteView(writer.wal()).subspan(skip), wal_segment_start(2));
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*first, writer.records()[2].start);

  const auto none = find_first_record(ByteView(writer.wal()).subspan(skip, 2 * kWalPageSize), wal_segment_start(2));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kTruncated);
  EXPECT_EQ(find_first_record(Bytes(kWalPageSize), wal_segment_start(2)).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(find_first_record(Bytes(kWalPageSize), Lsn(123)).error().code, ErrorCode::kInvalid);
}

TEST(WalSegment, RefusesWhatIsNoSegment) {
  const Bytes good = encode_wal_page_header({wal_segment_start(1), kSystemId, 0, 15});
  ASSERT_TRUE(read_segment_info(good));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(read_segment_info(ByteView(good).first(size)).error().code, ErrorCode::kTruncated);
  }
  for (const size_t at : {0, 2, 8, 33, 37}) {
    Bytes bad = good;
    bad[at] ^= std::byte{0xFF};
    EXPECT_EQ(read_segment_info(bad).error().code, ErrorCode::kCorrupt) << "byte " << at;
  }
}

}  // namespace
}  // namespace helium::pg
