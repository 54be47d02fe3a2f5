#include "pg/wal_stream.h"

#include "pg/testing.h"

namespace helium::pg {
namespace {

using testing::decode_all;
using testing::expect_same;
using testing::kSystemId;
using testing::StreamWriter;
using testing::WrittenRecord;

// About four pages of records of all lengths that matter around a page's end, from the middle of a page.
StreamWriter four_pages(Lsn start = Lsn(0x1500000 + 8192 + 200)) {
  StreamWriter writer(start);
  for (const size_t size : {0, 1, 7, 100, 255, 256, 3000, 10, 9000, 0, 0, 5000, 17, 8192, 300}) writer.append(size);
  return writer;
}

TEST(WalStream, RecordsComeOutWholeHoweverTheBytesArrive) {
  const StreamWriter writer = four_pages();
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{8}, size_t{24}, size_t{1000}, size_t{8192}, writer.wal().size()}) {
    SCOPED_TRACE(::testing::Message() << "pieces of " << piece);
    WalStreamDecoder decoder(writer.start());
    expect_same(decode_all(decoder, writer.wal(), piece), writer.records());
    EXPECT_EQ(decoder.record_end_lsn(), writer.end());
    EXPECT_EQ(decoder.fed_lsn(), writer.end());
    EXPECT_EQ(decoder.last_record_start(), writer.records().back().start);
  }
}

// Goal: nothing but whole records ever comes out. Method: every prefix of a stream.
TEST(WalStream, EveryTruncationGivesExactlyTheRecordsThatAreWhole) {
  const StreamWriter writer = four_pages();
  for (size_t size = 0; size <= writer.wal().size(); ++size) {
    WalStreamDecoder decoder(writer.start());
    std::optional<Error> error;
    const auto found = decode_all(decoder, ByteView(writer.wal()).first(size), SIZE_MAX / 2, &error);
    ASSERT_FALSE(error) << size << ": " << error->message;
    size_t whole = 0;
    while (whole < writer.records().size() && writer.records()[whole].end <= writer.start() + size) ++whole;
    ASSERT_EQ(found.size(), whole) << "prefix of " << size;
  }
}

// Goal: damage never becomes a record. Method: flip every bit; what still comes out must be the true beginning, and if
// everything comes out, the bit had no meaning (page header: timeline, padding and the like; alignment padding).
TEST(WalStream, EveryFlippedBitIsNoticedOrMeansNothing) {
  StreamWriter writer(Lsn(0x1500000 + 8192 - 64));
  for (const size_t size : {0, 30, 200, 5}) writer.append(size);
  for (size_t bit = 0; bit < 8 * writer.wal().size(); ++bit) {
    Bytes damaged = writer.wal();
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    WalStreamDecoder decoder(writer.start());
    const auto found = decode_all(decoder, damaged, SIZE_MAX / 2);
    ASSERT_LE(found.size(), writer.records().size());
    expect_same(found, std::span(writer.records()).first(found.size()));
  }
}

TEST(WalStream, AnErrorStaysUntilRewindAndTheDecoderGoesOnFromTheLastRecord) {
  const StreamWriter writer = four_pages();
  Bytes damaged = writer.wal();
  const WrittenRecord& victim = writer.records()[4];
  damaged[victim.start - writer.start() + 30] ^= std::byte{1};
  WalStreamDecoder decoder(writer.start());
  std::optional<Error> error;
  expect_same(decode_all(decoder, damaged, 500, &error), std::span(writer.records()).first(4));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kCorrupt);
  EXPECT_NE(error->message.find("checksum"), std::string::npos) << error->message;
  decoder.feed(writer.wal());
  EXPECT_FALSE(decoder.next());

  decoder.rewind();
  EXPECT_EQ(decoder.fed_lsn(), decoder.record_end_lsn());
  const ByteView rest = ByteView(writer.wal()).subspan(decoder.record_end_lsn() - writer.start());
  expect_same(decode_all(decoder, rest, 500), std::span(writer.records()).subspan(4));
}

TEST(WalStream, RewindInTheMiddleOfARecordForgetsItsBeginning) {
  const StreamWriter writer = four_pages();
  for (size_t cut = 1; cut < writer.wal().size(); cut += 97) {
    WalStreamDecoder decoder(writer.start());
    auto found = decode_all(decoder, ByteView(writer.wal()).first(cut), 64);
    decoder.rewind();
    for (auto& record : decode_all(decoder, ByteView(writer.wal()).subspan(decoder.record_end_lsn() - writer.start()), 64)) {
      found.push_back(std::move(record));
    }
    expect_same(found, writer.records());
  }
}

TEST(WalStream, ZerosBehindTheLastRecordAreTheEndOfWal) {
  StreamWriter writer = four_pages();
  Bytes wal = writer.wal();
  wal.resize(wal.size() + 20000);
  WalStreamDecoder decoder(writer.start());
  std::optional<Error> error;
  expect_same(decode_all(decoder, wal, 4096, &error), writer.records());
  ASSERT_TRUE(error);
  EXPECT_NE(error->message.find("length 0"), std::string::npos) << error->message;
}

TEST(WalStream, ARecordThatFillsItsPageEndsAtTheNextPagesStart) {
  StreamWriter writer(Lsn(0x1500000 + 8192 + 24));
  writer.append(8192 - 24 - 24 - 5);  // page header, record header, long data header
  writer.append(1);
  EXPECT_EQ(writer.records()[0].end, Lsn(0x1500000 + 2 * 8192));
  EXPECT_EQ(writer.records()[1].start, Lsn(0x1500000 + 2 * 8192 + 24));
  WalStreamDecoder decoder(writer.start());
  expect_same(decode_all(decoder, writer.wal(), 100), writer.records());
  // Both the end of a record and the start of the next are good places to start.
  for (const Lsn start : {writer.records()[0].end, writer.records()[1].start}) {
    WalStreamDecoder second(start);
    expect_same(decode_all(second, ByteView(writer.wal()).subspan(start - writer.start()), 100),
                std::span(writer.records()).subspan(1));
  }
}

TEST(WalStream, RecordsCrossSegmentsWithTheirLongHeader) {
  StreamWriter writer(Lsn(2 * uint64_t{kWalSegmentSize} - 104));
  for (const size_t size : {10, 500, 20000, 3}) writer.append(size);
  WalStreamDecoder decoder(writer.start());
  expect_same(decode_all(decoder, writer.wal(), 777), writer.records());
}

TEST(WalStream, ARecordLongerThanASegmentIsPutTogether) {
  StreamWriter writer(Lsn(3 * uint64_t{kWalSegmentSize} - 4096));
  writer.append(kWalSegmentSize + 12345);
  writer.append(5);
  WalStreamDecoder decoder(writer.start());
  expect_same(decode_all(decoder, writer.wal(), 1 << 20), writer.records());
}

TEST(WalStream, ASwitchRunsToItsSegmentsEnd) {
  StreamWriter writer(Lsn(2 * uint64_t{kWalSegmentSize} - 5 * 8192 - 400));
  writer.append(50);
  writer.append_switch();
  writer.append(60);
  EXPECT_EQ(writer.records()[1].end, Lsn(2 * uint64_t{kWalSegmentSize}));
  for (const size_t piece : {size_t{1000}, writer.wal().size()}) {
    WalStreamDecoder decoder(writer.start());
    expect_same(decode_all(decoder, writer.wal(), piece), writer.records());
  }
  // Not before all of it is there: an acknowledged end must lie within what was received.
  WalStreamDecoder decoder(writer.start());
  const uint64_t to_segment_end = writer.records()[1].end - writer.start();
  EXPECT_EQ(decode_all(decoder, ByteView(writer.wal()).first(to_segment_end - 1), 1 << 20).size(), 1u);
  decoder.feed(ByteView(writer.wal()).subspan(to_segment_end - 1, 1));
  const auto record = decoder.next();
  ASSERT_TRUE(record && *record);
  EXPECT_EQ((*record)->end_lsn, writer.records()[1].end);
}

TEST(WalStream, ASwitchThatEndsItsSegmentByItselfSkipsNothing) {
  StreamWriter writer(Lsn(2 * uint64_t{kWalSegmentSize} - 24));
  writer.append_switch();
  writer.append(1);
  EXPECT_EQ(writer.records()[0].end, Lsn(2 * uint64_t{kWalSegmentSize}));
  WalStreamDecoder decoder(writer.start());
  expect_same(decode_all(decoder, writer.wal(), 10), writer.records());
}

TEST(WalStream, AnOverwrittenContinuationDropsTheTornRecord) {
  for (const Lsn start : {Lsn(0x1500000 + 8192 + 4000), Lsn(2 * uint64_t{kWalSegmentSize} - 200)}) {
    StreamWriter writer(start);
    writer.append(50);
    writer.append_torn(20000);
    writer.append(60);
    for (const size_t piece : {size_t{1}, size_t{500}, writer.wal().size()}) {
      WalStreamDecoder decoder(start);
      expect_same(decode_all(decoder, writer.wal(), piece), writer.records());
    }
  }
}

TEST(WalStream, ATornRecordWithoutTheMarkIsAnError) {
  StreamWriter writer(Lsn(0x1500000 + 8192 + 4000));
  writer.append(50);
  const size_t torn_page = 2 * 8192 + 0x1500000 - writer.start().bytes();
  writer.append_torn(20000);
  Bytes wal = writer.wal();
  wal[torn_page + 2] = std::byte{0};
  WalStreamDecoder decoder(writer.start());
  std::optional<Error> error;
  EXPECT_EQ(decode_all(decoder, wal, 1 << 20, &error).size(), 1u);
  ASSERT_TRUE(error);
  EXPECT_NE(error->message.find("continues with 0 bytes"), std::string::npos) << error->message;
}

// Goal: old, well-formed records in a recycled segment are not taken for new ones.
TEST(WalStream, ARecordThatDoesNotFollowTheOneBeforeItIsRefused) {
  StreamWriter writer(Lsn(0x1500000 + 8192 + 200));
  writer.append(10);
  const Bytes stale = build_record(static_cast<uint8_t>(Rmgr::kLogicalMsg), 0, 1, Lsn(0x1500000 + 8192 + 100), Bytes(5));
  writer.append_record(stale);
  WalStreamDecoder decoder(writer.start());
  std::optional<Error> error;
  EXPECT_EQ(decode_all(decoder, writer.wal(), 1 << 20, &error).size(), 1u);
  ASSERT_TRUE(error);
  EXPECT_NE(error->message.find("as the record before it"), std::string::npos) << error->message;
}

TEST(WalStream, RefusesImpossibleLengthsManagersAndPlaces) {
  const auto error_of = [](Lsn start, ByteView wal) {
    WalStreamDecoder decoder(start);
    std::optional<Error> error;
    decode_all(decoder, wal, 1 << 20, &error);
    return error ? error->message : std::string();
  };
  const Lsn start(0x1500000 + 8192 + 200);
  Bytes record = build_record(static_cast<uint8_t>(Rmgr::kLogicalMsg), 0, 1, Lsn(8), Bytes(5));
  const auto with_length = [&](uint32_t length) {
    store(record.data(), length);
    return error_of(start, record);
  };
  EXPECT_NE(with_length(0).find("length 0 is impossible"), std::string::npos);
  EXPECT_NE(with_length(23).find("length 23 is impossible"), std::string::npos);
  EXPECT_NE(with_length(0x40000000).find("is impossible"), std::string::npos);
  EXPECT_NE(error_of(start, build_record(22, 0, 1, Lsn(8), Bytes(5))).find("resource manager 22"), std::string::npos);
  EXPECT_NE(error_of(start, build_record(20, 0, 1, start, Bytes(5))).find("as the record before"), std::string::npos);
  EXPECT_NE(error_of(start + 4, record).find("no place where a WAL record can begin"), std::string::npos);
  EXPECT_NE(error_of(Lsn(0x1500000 + 16), record).find("no place where"), std::string::npos);
  EXPECT_NE(error_of(Lsn(0x1000000 + 24), record).find("no place where"), std::string::npos);
}

TEST(WalStream, RefusesPagesOfAnotherPlaceClusterOrVersion) {
  StreamWriter writer(Lsn(2 * uint64_t{kWalSegmentSize} - 104));
  writer.append(20000);
  const size_t first = 104, second = 104 + 8192;
  const auto error_with = [&](size_t at, uint8_t flip) {
    Bytes wal = writer.wal();
    wal[at] ^= std::byte{flip};
    WalStreamDecoder decoder(writer.start());
    std::optional<Error> error;
    EXPECT_TRUE(decode_all(decoder, wal, 1 << 20, &error).empty());
    return error ? error->message : std::string();
  };
  EXPECT_NE(error_with(first, 0xFF).find("magic"), std::string::npos);
  EXPECT_NE(error_with(second, 0x10 ^ 0x0D).find("magic"), std::string::npos) << "a page of version 14 among those of 15";
  EXPECT_NE(error_with(first + 2, kXlpLongHeader).find("flags"), std::string::npos);
  EXPECT_NE(error_with(second + 2, kXlpLongHeader).find("flags"), std::string::npos);
  EXPECT_NE(error_with(first + 9, 0x20).find("says that it is the page at"), std::string::npos);
  EXPECT_NE(error_with(first + 33, 0x01).find("segment or page size"), std::string::npos);
  EXPECT_NE(error_with(second + 16, 0x01).find("continues with"), std::string::npos);

  WalStreamDecoder decoder(Lsn(2 * uint64_t{kWalSegmentSize}));
  std::optional<Error> error;
  decode_all(decoder, ByteView(writer.wal()).subspan(first), 1 << 20, &error);
  ASSERT_TRUE(error);
  EXPECT_NE(error->message.find("continues a record that began before"), std::string::npos) << error->message;
}

TEST(WalStream, PagesOfAnotherVersionThanTheWantedOneAreRefusedFromTheFirstOn) {
  StreamWriter writer(Lsn(2 * uint64_t{kWalSegmentSize} - 104));
  writer.append(20000);
  for (const int wanted : {14, 15, 16, 17, 18}) {
    WalStreamDecoder decoder(writer.start(), wanted);
    std::optional<Error> error;
    const size_t records = decode_all(decoder, writer.wal(), 1 << 20, &error).size();
    if (wanted == 15) {
      EXPECT_EQ(records, 1u);
      EXPECT_FALSE(error);
      continue;
    }
    EXPECT_EQ(records, 0u);
    ASSERT_TRUE(error) << wanted;
    EXPECT_NE(error->message.find("is of PostgreSQL 15, this is WAL of " + std::to_string(wanted)), std::string::npos)
        << error->message;
  }
}

TEST(WalStream, AnotherClustersSegmentIsRefused) {
  StreamWriter writer(Lsn(2 * uint64_t{kWalSegmentSize}));
  writer.append_switch();
  writer.append(10);
  Bytes wal = writer.wal();
  wal[kWalSegmentSize + 24] ^= std::byte{1};
  WalStreamDecoder decoder(writer.start());
  std::optional<Error> error;
  EXPECT_EQ(decode_all(decoder, wal, 1 << 20, &error).size(), 1u);
  ASSERT_TRUE(error);
  EXPECT_NE(error->message.find("system identifier"), std::string::npos) << error->message;
}

}  // namespace
}  // namespace helium::pg
