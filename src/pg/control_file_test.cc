#include "pg/control_file.h"

#include <fmt/format.h>

#include "base/crc32c.h"
#include "pg/testing.h"

namespace helium::pg {
namespace {

using testing::read_fixture;

Bytes fixture(int version) { return read_fixture(fmt::format("pg{}/pg_control.bin", version)); }

TEST(ControlFile, ReadsStockFilesOfEveryVersion) {
  for (const int version : {14, 15, 16, 17, 18}) {
    SCOPED_TRACE(version);
    const auto file = ControlFile::parse(fixture(version), version);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_GT(file->system_identifier(), uint64_t{1} << 60);
    EXPECT_GT(file->catalog_version(), 202100000u);
    EXPECT_EQ(file->data_checksums(), version >= 18) << "initdb's default";
    EXPECT_FALSE(file->wal_log_hints());
    EXPECT_TRUE(file->track_commit_timestamp());
    EXPECT_EQ(file->wal_level(), 2) << "logical";
    EXPECT_EQ(file->max_connections(), 100);
    EXPECT_EQ(file->max_worker_processes(), 8);
    EXPECT_EQ(file->max_wal_senders(), 10);
    EXPECT_EQ(file->max_prepared_xacts(), 5);
    EXPECT_EQ(file->max_locks_per_xact(), 64);
    const Checkpoint checkpoint = file->checkpoint();
    EXPECT_EQ(checkpoint.redo, file->checkpoint_lsn()) << "a shutdown checkpoint";
    EXPECT_EQ(checkpoint.this_tli, 1u);
    EXPECT_EQ(checkpoint.prev_tli, 1u);
    EXPECT_TRUE(checkpoint.full_page_writes);
    EXPECT_EQ(checkpoint.wal_level, version >= 17 ? 2 : 1) << "stored from 17 on";
    EXPECT_GT(checkpoint.next_full_xid, 730u);
    EXPECT_LT(checkpoint.next_full_xid, 1000u);
    EXPECT_GE(checkpoint.next_oid, 16384u);
    EXPECT_EQ(checkpoint.next_multi, 1u);
    EXPECT_EQ(checkpoint.oldest_multi, 1u);
    EXPECT_EQ(checkpoint.oldest_multi_db, 1u);
    EXPECT_GT(checkpoint.oldest_xid, 700u);
    EXPECT_LT(checkpoint.oldest_xid, 800u);
    EXPECT_EQ(checkpoint.oldest_xid_db, 1u);
    EXPECT_GT(checkpoint.time, 1700000000);
    EXPECT_GT(checkpoint.newest_commit_ts_xid, 700u);
    EXPECT_EQ(checkpoint.oldest_active_xid, 0u);

    Bytes whole = fixture(version);
    whole.resize(8192);
    EXPECT_EQ(file->encode(), whole) << "what is not touched stays as it is";
  }
}

TEST(ControlFile, FilesOfOtherVersionsAreRefused) {
  EXPECT_EQ(ControlFile::parse(fixture(15), 17).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(ControlFile::parse(fixture(18), 17).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(ControlFile::parse(fixture(14), 15).error().code, ErrorCode::kInvalid) << "only catalog versions differ";
  for (const int version : {13, 19}) {
    EXPECT_EQ(ControlFile::parse(fixture(15), version).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(decode_checkpoint(Bytes(88), version).error().code, ErrorCode::kInvalid);
  }
}

TEST(ControlFile, EveryTruncationAndEveryFlippedBitIsNoticed) {
  for (const int version : {15, 18}) {
    const Bytes file = fixture(version);
    const size_t used = version == 18 ? 296 : 292;
    for (size_t size = 0; size < used; ++size) {
      EXPECT_EQ(ControlFile::parse(ByteView(file).first(size), version).error().code, ErrorCode::kTruncated) << size;
    }
    EXPECT_TRUE(ControlFile::parse(ByteView(file).first(used), version));
    for (size_t bit = 0; bit < 8 * used; ++bit) {
      Bytes damaged = file;
      damaged[bit / 8] ^= std::byte{1} << (bit % 8);
      EXPECT_FALSE(ControlFile::parse(damaged, version)) << "bit " << bit;
    }
  }
  EXPECT_FALSE(ControlFile::parse(Bytes(8193), 15));
}

TEST(ControlFile, OtherBlockAndSegmentSizesAreRefused) {
  for (const size_t at : {216, 220, 224, 228}) {
    Bytes file = fixture(15);
    store<uint32_t>(file.data() + at, load<uint32_t>(file.data() + at) * 2);
    store(file.data() + 288, crc32c(ByteView(file).first(288)));
    EXPECT_EQ(ControlFile::parse(file, 15).error().code, ErrorCode::kInvalid) << at;
  }
}

TEST(ControlFile, ChangesAreReadBack) {
  for (const int version : {14, 15, 16, 17, 18}) {
    SCOPED_TRACE(version);
    auto file = ControlFile::parse(fixture(version), version);
    ASSERT_TRUE(file);
    Checkpoint checkpoint = file->checkpoint();
    checkpoint.redo = Lsn(0x5000028);
    checkpoint.next_full_xid = uint64_t{2} << 32 | 5;
    checkpoint.next_multi_offset = 99;
    file->set_system_identifier(123456789);
    file->set_shutdown_checkpoint(Lsn(0x5000028), checkpoint, 1763808000);
    std::array<std::byte, 32> nonce;
    nonce.fill(std::byte{0xAB});
    file->set_mock_authentication_nonce(nonce);
    const Bytes bytes = file->encode();
    ASSERT_EQ(bytes.size(), 8192u);
    const auto again = ControlFile::parse(bytes, version);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->system_identifier(), 123456789u);
    EXPECT_EQ(again->checkpoint_lsn(), Lsn(0x5000028));
    EXPECT_TRUE(again->is_shut_down());
    EXPECT_TRUE(std::ranges::equal(again->mock_authentication_nonce(), nonce));
    EXPECT_EQ(again->checkpoint(), checkpoint);
    EXPECT_EQ(load<uint32_t>(bytes.data() + 16), 1u) << "state: shut down";
    EXPECT_EQ(load<int64_t>(bytes.data() + 24), 1763808000);
    EXPECT_EQ(again->max_connections(), 100);
    EXPECT_EQ(again->data_checksums(), version >= 18);
    const size_t nonce_at = version == 18 ? 257 : 256;
    EXPECT_EQ(bytes[nonce_at - 1], fixture(version)[nonce_at - 1]);
    EXPECT_EQ(bytes[nonce_at], std::byte{0xAB});
    EXPECT_EQ(bytes[nonce_at + 31], std::byte{0xAB});
  }
}

TEST(ControlFile, ParameterChangesAreApplied) {
  auto file = ControlFile::parse(fixture(15), 15);
  ASSERT_TRUE(file);
  ByteWriter record;
  for (const uint32_t value : {200, 9, 11, 7, 128, 1}) record.u32(value);
  record.u8(1);
  record.u8(0);
  EXPECT_EQ(file->apply_parameter_change(record.view().first(25)).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(file->max_connections(), 100) << "a record that is cut off changes nothing";
  record.zeros(2);
  ASSERT_TRUE(file->apply_parameter_change(record.view()));
  EXPECT_EQ(file->max_connections(), 200);
  EXPECT_EQ(file->max_worker_processes(), 9);
  EXPECT_EQ(file->max_wal_senders(), 11);
  EXPECT_EQ(file->max_prepared_xacts(), 7);
  EXPECT_EQ(file->max_locks_per_xact(), 128);
  EXPECT_EQ(file->wal_level(), 1);
  EXPECT_TRUE(file->wal_log_hints());
  EXPECT_FALSE(file->track_commit_timestamp());
}

TEST(Checkpoint, RoundTripAndTruncation) {
  Checkpoint checkpoint{.redo = Lsn(1), .this_tli = 2, .prev_tli = 3, .full_page_writes = false, .next_full_xid = 4,
                        .next_oid = 5, .next_multi = 6, .next_multi_offset = 7, .oldest_xid = 8, .oldest_xid_db = 9,
                        .oldest_multi = 10, .oldest_multi_db = 11, .time = -12, .oldest_commit_ts_xid = 13,
                        .newest_commit_ts_xid = 14, .oldest_active_xid = 15};
  for (const int version : {15, 17}) {
    if (version == 17) checkpoint.wal_level = 2;
    const Bytes bytes = encode_checkpoint(checkpoint, version);
    ASSERT_EQ(bytes.size(), checkpoint_size(version));
    EXPECT_EQ(*decode_checkpoint(bytes, version), checkpoint);
    EXPECT_EQ(decode_checkpoint(ByteView(bytes).first(87), version).error().code, ErrorCode::kTruncated);
  }
}

}  // namespace
}  // namespace helium::pg
