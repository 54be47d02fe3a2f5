#include "pg/wal_record.h"

#include <fmt/format.h>
#include <lz4.h>
#include <zstd.h>

#include <set>
#include <sstream>

#include "pg/pglz.h"
#include "pg/testing.h"
#include "pg/wal_segment.h"

namespace helium::pg {
namespace {

using testing::read_fixture;

// One record with everything in it, put together by hand: the layout of wal_record.h's source.
struct HandMade {
  ByteWriter headers;
  ByteWriter payload;
  void block(uint8_t id, uint8_t flags_and_fork, std::string_view data, std::optional<RelTag> rel, uint32_t blkno) {
    headers.u8(id);
    headers.u8(flags_and_fork);
    headers.u16(static_cast<uint16_t>(data.size()));
    if (rel) {
      headers.u32(rel->spcnode);
      headers.u32(rel->dbnode);
      headers.u32(rel->relnode);
    }
    headers.u32(blkno);
    payload.raw(as_bytes(data));
  }
  void image_block(uint8_t id, RelTag rel, uint32_t blkno, uint8_t bimg_info, uint16_t hole_offset, uint16_t hole_length,
                   ByteView image) {
    headers.u8(id);
    headers.u8(0x10);
    headers.u16(0);
    headers.u16(static_cast<uint16_t>(image.size()));
    headers.u16(hole_offset);
    headers.u8(bimg_info);
    if ((bimg_info & 0x1C) != 0 && (bimg_info & 0x01) != 0) headers.u16(hole_length);
    headers.u32(rel.spcnode);
    headers.u32(rel.dbnode);
    headers.u32(rel.relnode);
    headers.u32(blkno);
    payload.raw(image);
  }
  Bytes record(std::string_view main_data, uint8_t rmgr = 10, uint8_t info = 0) {
    ByteWriter out;
    out.u32(0);
    out.u32(777);
    out.lsn(Lsn(0x1234560));
    out.u8(info);
    out.u8(rmgr);
    out.zeros(6);
    out.raw(headers.view());
    if (!main_data.empty()) {
      out.u8(255);
      out.u8(static_cast<uint8_t>(main_data.size()));
    }
    out.raw(payload.view());
    out.raw(as_bytes(main_data));
    out.patch_u32(0, static_cast<uint32_t>(out.size()));
    return out.take();
  }
};

TEST(WalRecord, TakesApartBlocksDataOriginAndToplevelXid) {
  HandMade made;
  const RelTag rel{1663, 5, 16384, Fork::kMain};
  made.block(0, 0x20 | 0x40, "new tuple", rel, 7);
  made.block(2, 0x80 | 0x02, "", std::nullopt, 0);  // same relation, VM fork, no data; id 1 is missing
  made.headers.u8(253);
  made.headers.u16(4);
  made.headers.u8(252);
  made.headers.u32(770);
  const Bytes bytes = made.record("main", 10, 0x80);
  const auto record = decode_record(bytes, 15);
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->xid, 777u);
  EXPECT_EQ(record->prev_lsn, Lsn(0x1234560));
  EXPECT_EQ(record->op(), 0x80);
  EXPECT_EQ(record->origin_id, 4);
  EXPECT_EQ(record->toplevel_xid, 770u);
  EXPECT_EQ(as_text(record->main_data), "main");
  ASSERT_EQ(record->blocks.size(), 2u);
  const BlockRef& first = record->blocks[0];
  EXPECT_EQ(first.rel, rel);
  EXPECT_EQ(first.blkno, 7u);
  EXPECT_TRUE(first.will_init && first.has_data && !first.image);
  EXPECT_EQ(as_text(first.data), "new tuple");
  EXPECT_EQ(record->block(1), nullptr);
  ASSERT_NE(record->block(2), nullptr);
  EXPECT_EQ(record->block(2)->rel, (RelTag{1663, 5, 16384, Fork::kVm}));
  EXPECT_FALSE(record->block(2)->will_init || record->block(2)->has_data);
}

TEST(WalRecord, DecodedIntoAnotherOneNothingOfThatIsLeft) {
  HandMade rich;
  rich.block(0, 0x20, "data", RelTag{1663, 5, 16384, Fork::kMain}, 7);
  rich.headers.u8(253);
  rich.headers.u16(4);
  rich.headers.u8(252);
  rich.headers.u32(770);
  const Bytes first = rich.record("main", 10, 0x80);
  const Bytes second = HandMade().record("", 0, 0x10);
  DecodedRecord record;
  ASSERT_TRUE(decode_record(first, 15, record));
  ASSERT_TRUE(decode_record(second, 15, record));
  EXPECT_EQ(record.op(), 0x10);
  EXPECT_EQ(record.rmgr, 0);
  EXPECT_EQ(record.origin_id, 0);
  EXPECT_FALSE(record.toplevel_xid);
  EXPECT_TRUE(record.blocks.empty());
  EXPECT_TRUE(record.main_data.empty());
}

TEST(WalRecord, EveryTruncationIsRefused) {
  HandMade made;
  made.block(0, 0x20, "0123456789", RelTag{1663, 5, 16384, Fork::kMain}, 7);
  made.image_block(1, RelTag{1663, 5, 16385, Fork::kMain}, 9, 0x03, 100, 0, Bytes(8000));
  const Bytes bytes = made.record("main data");
  ASSERT_TRUE(decode_record(bytes, 15));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_record(ByteView(bytes).first(size), 15)) << size;
    if (size < kWalRecordHeader) continue;
    Bytes shortened(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    store(shortened.data(), static_cast<uint32_t>(size));
    // With a length that agrees, a beginning may look whole (the CRC is there for that), but never longer than it is.
    const auto record = decode_record(shortened, 15);
    if (!record) continue;
    size_t parts = kWalRecordHeader + record->main_data.size();
    for (const BlockRef& block : record->blocks) parts += block.data.size() + (block.image ? block.image->bytes.size() : 0);
    EXPECT_LE(parts, size);
  }
}

TEST(WalRecord, RefusesHeadersThatContradictThemselves) {
  const RelTag rel{1663, 5, 16384, Fork::kMain};
  const auto refused = [](HandMade made) { return !decode_record(made.record("x"), 15).has_value(); };
  HandMade order, same_as_none, data_flag, no_data_flag, fork, id, blkno;
  order.block(1, 0, "", rel, 1);
  order.block(1, 0, "", rel, 2);
  EXPECT_TRUE(refused(order));
  same_as_none.block(0, 0x80, "", std::nullopt, 1);
  EXPECT_TRUE(refused(same_as_none));
  data_flag.block(0, 0x20, "", rel, 1);
  EXPECT_TRUE(refused(data_flag));
  no_data_flag.block(0, 0, "data", rel, 1);
  EXPECT_TRUE(refused(no_data_flag));
  fork.block(0, 0x04, "", rel, 1);
  EXPECT_TRUE(refused(fork));
  id.block(33, 0, "", rel, 1);
  EXPECT_TRUE(refused(id));
  blkno.block(0, 0, "", rel, UINT32_MAX);
  EXPECT_TRUE(refused(blkno));
  const auto image_refused = [&](uint8_t info, uint16_t hole_offset, uint16_t hole_length, size_t size) {
    HandMade made;
    made.image_block(0, rel, 1, info, hole_offset, hole_length, Bytes(size));
    return refused(made);
  };
  EXPECT_FALSE(image_refused(0x00, 0, 0, 8192));
  EXPECT_FALSE(image_refused(0x01, 24, 0, 8000));
  EXPECT_FALSE(image_refused(0x07, 24, 500, 100));
  EXPECT_TRUE(image_refused(0x00, 0, 0, 8000)) << "short, but no hole";
  EXPECT_TRUE(image_refused(0x01, 0, 0, 8000)) << "hole at 0";
  EXPECT_TRUE(image_refused(0x01, 24, 0, 8192)) << "hole, but full length";
  EXPECT_TRUE(image_refused(0x01, 8100, 0, 8000)) << "hole beyond the page";
  EXPECT_TRUE(image_refused(0x05, 8000, 193, 100)) << "hole beyond the page";
  EXPECT_TRUE(image_refused(0x04, 0, 0, 8192)) << "compressed, but full length";
  EXPECT_TRUE(image_refused(0x0C, 0, 0, 100)) << "compressed in two ways";
  EXPECT_TRUE(image_refused(0x20, 0, 0, 8192)) << "unknown flag";
}

TEST(WalRecord, AnUnknownMajorVersionIsRefused) {
  const Bytes bytes = HandMade().record("x");
  for (const int version : {13, 19, 0}) EXPECT_EQ(decode_record(bytes, version).error().code, ErrorCode::kInvalid);
}

TEST(WalRecord, ImageFlagsMeanOtherThingsIn14) {
  HandMade made;
  made.headers.u8(0);
  made.headers.u8(0x10);
  made.headers.u16(0);
  made.headers.u16(100);
  made.headers.u16(24);
  made.headers.u8(0x07);  // 14: hole, compressed, apply. 15: hole, apply, pglz.
  made.headers.u16(300);
  for (const uint32_t field : {1663, 5, 16384, 1}) made.headers.u32(field);
  made.payload.zeros(100);
  for (const int version : {14, 15}) {
    const auto record = decode_record(made.record("x"), version);
    ASSERT_TRUE(record);
    EXPECT_EQ(record->blocks[0].image->compression, ImageCompression::kPglz);
    EXPECT_TRUE(record->blocks[0].image->apply);
  }
  HandMade apply_only;
  apply_only.image_block(0, RelTag{1663, 5, 16384, Fork::kMain}, 1, 0x02, 0, 0, Bytes(8192));
  EXPECT_TRUE(decode_record(apply_only.record("x"), 15)->blocks[0].image->apply);
  EXPECT_FALSE(decode_record(apply_only.record("x"), 14)) << "in 14 that is a compressed image of full length";
}

Bytes test_page() {
  Bytes page(kBlockSize);
  for (size_t i = 0; i < kBlockSize; ++i) page[i] = static_cast<std::byte>(i * i / 100 % 7);
  std::fill(page.begin() + 200, page.begin() + 3200, std::byte{0});  // the hole
  return page;
}

TEST(WalRecord, ImagesAreRestoredFromEveryCompression) {
  const Bytes page = test_page();
  Bytes content(page.begin(), page.begin() + 200);
  content.insert(content.end(), page.begin() + 3200, page.end());
  BlockImage image{.apply = true, .hole_offset = 200, .hole_length = 3000};
  const auto expect_restores = [&] {
    Bytes restored(kBlockSize, std::byte{0xEE});
    const auto status = restore_image(image, restored);
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(restored, page);
    // Damage of the length is noticed, never read over.
    BlockImage shorter = image;
    shorter.bytes = image.bytes.first(image.bytes.size() - 1);
    EXPECT_FALSE(restore_image(shorter, restored));
    BlockImage wrong_hole = image;
    wrong_hole.hole_length = 2999;
    EXPECT_FALSE(restore_image(wrong_hole, restored));
  };
  image.bytes = content;
  expect_restores();

  Bytes lz4(8192);
  lz4.resize(static_cast<size_t>(LZ4_compress_default(reinterpret_cast<const char*>(content.data()),
                                                      reinterpret_cast<char*>(lz4.data()),
                                                      static_cast<int>(content.size()), 8192)));
  image.compression = ImageCompression::kLz4;
  image.bytes = lz4;
  expect_restores();

  Bytes zstd(8192);
  zstd.resize(ZSTD_compress(zstd.data(), zstd.size(), content.data(), content.size(), 3));
  image.compression = ImageCompression::kZstd;
  image.bytes = zstd;
  expect_restores();
}

Bytes bytes_of(std::initializer_list<int> values) {
  Bytes out;
  for (const int value : values) out.push_back(static_cast<std::byte>(value));
  return out;
}

TEST(Pglz, LiteralsCopiesAndOverlappingCopies) {
  Bytes out(4);
  // Four literals.
  EXPECT_TRUE(pglz_decompress(bytes_of({0x00, 'a', 'b', 'c', 'd'}), out));
  EXPECT_EQ(as_text(out), "abcd");
  // "ab", then 6 bytes from 2 back: the copy reads what it writes.
  out.resize(8);
  EXPECT_TRUE(pglz_decompress(bytes_of({0x04, 'a', 'b', 0x03, 0x02}), out));
  EXPECT_EQ(as_text(out), "abababab");
  // Extended length: 15 + 3 + 10.
  out.resize(29);
  EXPECT_TRUE(pglz_decompress(bytes_of({0x02, 'z', 0x0F, 0x01, 10}), out));
  EXPECT_EQ(as_text(out), std::string(29, 'z'));
  // The last copy may promise more than is wanted.
  out.resize(4);
  EXPECT_TRUE(pglz_decompress(bytes_of({0x02, 'z', 0x0F, 0x01, 10}), out));
}

TEST(Pglz, MalformedInputIsRefused) {
  Bytes out(8);
  EXPECT_FALSE(pglz_decompress({}, out)) << "nothing";
  EXPECT_FALSE(pglz_decompress(bytes_of({0x00, 'a', 'b'}), out)) << "too little";
  EXPECT_FALSE(pglz_decompress(bytes_of({0x00, 1, 2, 3, 4, 5, 6, 7, 8, 0x00, 9}), out)) << "too much";
  EXPECT_FALSE(pglz_decompress(bytes_of({0x01, 0x03, 0x01}), out)) << "copy before the first byte";
  EXPECT_FALSE(pglz_decompress(bytes_of({0x02, 'a', 0x03, 0x00}), out)) << "offset 0";
  EXPECT_FALSE(pglz_decompress(bytes_of({0x02, 'a', 0x03}), out)) << "half a copy";
  EXPECT_FALSE(pglz_decompress(bytes_of({0x02, 'a', 0x0F, 0x01}), out)) << "extended length is missing";
}

// Our decoders' view of a fixture, in the form of make_pg_fixtures.py. Restores every image on the way.
std::vector<std::string> describe_fixture(int pg_version) {
  const Bytes wal = read_fixture(fmt::format("pg{}/wal.bin", pg_version));
  std::vector<std::string> lines;
  const auto info = read_segment_info(wal);
  EXPECT_TRUE(info) << info.error().message;
  if (!info) return lines;
  EXPECT_EQ(info->pg_version, pg_version);
  const auto first = find_first_record(wal, info->start_lsn);
  EXPECT_TRUE(first);
  WalStreamDecoder decoder(*first);
  decoder.feed(ByteView(wal).subspan(*first - info->start_lsn));
  Bytes page(kBlockSize);
  while (true) {
    const auto view = decoder.next();
    EXPECT_TRUE(view) << view.error().message;
    if (!view || !*view) return lines;
    const auto record = decode_record((*view)->bytes, pg_version);
    EXPECT_TRUE(record) << to_string((*view)->start_lsn) << ": " << record.error().message;
    if (!record) return lines;
    const std::string type = record_type_name(record->rmgr, record->info, pg_version);
    std::string line = fmt::format("{} {} {} {} {} {}", to_string((*view)->start_lsn), (*view)->bytes.size(), record->xid,
                                   to_string(record->prev_lsn), rmgr_name(record->rmgr), type.substr(type.find('/') + 1));
    for (const BlockRef& block : record->blocks) {
      line += fmt::format(" {}:{}:{}", block.id, to_string(block.rel), block.blkno);
      if (block.image) {
        EXPECT_TRUE(restore_image(*block.image, page));
      }
    }
    lines.push_back(std::move(line));
  }
}

// Golden data: WAL of stock PostgreSQL 15, taken apart by its own pg_waldump.
TEST(WalRecord, ReadsStockWalAsPgWaldumpDoes) {
  const std::string text(as_text(read_fixture("pg15/wal.txt")));
  std::istringstream expected(text);
  const auto lines = describe_fixture(15);
  EXPECT_GT(lines.size(), 70u);
  for (const std::string& line : lines) {
    std::string golden;
    ASSERT_TRUE(std::getline(expected, golden)) << "pg_waldump does not see " << line;
    EXPECT_EQ(line, golden);
  }
  std::string more;
  EXPECT_FALSE(std::getline(expected, more)) << "we do not see " << more;
}

TEST(WalRecord, ReadsStockWalOfTheOtherVersions) {
  for (const int version : {14, 16, 17, 18}) {
    SCOPED_TRACE(version);
    const auto lines = describe_fixture(version);
    EXPECT_GT(lines.size(), 70u);
    for (const std::string& line : lines) EXPECT_EQ(line.find("0x"), std::string::npos) << "no name: " << line;
  }
}

TEST(WalRecord, TypesHaveTheirVersionsNames) {
  EXPECT_EQ(record_type_name(10, 0x80, 15), "HEAP/INSERT+INIT");
  EXPECT_EQ(record_type_name(1, 0x80, 15), "XACT/COMMIT");
  EXPECT_EQ(record_type_name(10, 0x70, 15), "HEAP/INPLACE");
  EXPECT_EQ(record_type_name(0, 0xC0, 15), "XLOG/0xc0");
  EXPECT_EQ(record_type_name(0, 0xE0, 15), "XLOG/0xe0");
  EXPECT_EQ(record_type_name(0, 0xE0, 17), "XLOG/CHECKPOINT_REDO");
  EXPECT_EQ(record_type_name(4, 0x10, 14), "DBASE/DROP");
  EXPECT_EQ(record_type_name(4, 0x10, 15), "DBASE/CREATE_WAL_LOG");
  EXPECT_EQ(record_type_name(4, 0x20, 14), "DBASE/0x20");
  EXPECT_EQ(record_type_name(9, 0x20, 16), "HEAP2/VACUUM");
  EXPECT_EQ(record_type_name(9, 0x20, 17), "HEAP2/PRUNE_VACUUM_SCAN");
  EXPECT_EQ(record_type_name(200, 0x10, 15), "RMGR200/0x10");
  EXPECT_STREQ(rmgr_name(200), "custom");
  EXPECT_STREQ(rmgr_name(60), "unknown");
}

}  // namespace
}  // namespace helium::pg
