// What several tests of this folder share: a stream of records made by our own builder, and fixtures of stock WAL.

#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "base/source_dir.h"
#include "pg/constants.h"
#include "pg/wal_build.h"
#include "pg/wal_page.h"
#include "pg/wal_stream.h"

namespace helium::pg::testing {

inline constexpr uint64_t kSystemId = 7215389054271293749;

// tests/compat/NAME; fails the test when it is missing.
inline Bytes read_fixture(const std::string& name) {
  std::ifstream file(source_path("tests/compat/" + name), std::ios::binary);
  EXPECT_TRUE(file) << "missing tests/compat/" << name;
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const ByteView bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

struct WrittenRecord {
  Lsn start;
  Lsn end;
  Bytes bytes;
};

// Appends records as PostgreSQL lays them out, and remembers what a reader must find.
class StreamWriter {
 public:
  explicit StreamWriter(Lsn start, int pg_version = 15) : start_(start), end_(start), pg_version_(pg_version) {}

  void append(size_t main_data_size, uint8_t rmgr = static_cast<uint8_t>(Rmgr::kLogicalMsg), uint8_t info = 0) {
    Bytes data(main_data_size);
    for (std::byte& b : data) b = static_cast<std::byte>(random_());
    append_record(build_record(rmgr, info, 700, prev_, data));
  }
  void append_record(const Bytes& record) {
    const Lsn record_start = wal_record_start_after(end_);
    const Bytes laid_out = lay_out_record(end_, record, kSystemId, pg_version_, &end_);
    wal_.insert(wal_.end(), laid_out.begin(), laid_out.end());
    records_.push_back({record_start, end_, record});
    prev_ = record_start;
  }
  // A switch: its record, then zeros up to the next segment.
  void append_switch() {
    append(0, static_cast<uint8_t>(Rmgr::kXlog), 0x40);
    if (wal_segment_offset(end_) == 0) return;
    const Lsn next = wal_segment_start(wal_segment_number(end_) + 1);
    wal_.resize(next - start_);
    end_ = records_.back().end = next;
  }
  // The beginning of a record whose rest is lost; then a page that says so.
  void append_torn(size_t main_data_size) {
    const Bytes record = build_record(static_cast<uint8_t>(Rmgr::kLogicalMsg), 0, 700, prev_, Bytes(main_data_size));
    Lsn torn_end;
    const Bytes laid_out = lay_out_record(end_, record, kSystemId, pg_version_, &torn_end);
    const Lsn next_page = Lsn((end_.bytes() / kWalPageSize + 1) * kWalPageSize);
    CHECK(torn_end > next_page);
    wal_.insert(wal_.end(), laid_out.begin(), laid_out.begin() + static_cast<ptrdiff_t>(next_page - end_));
    end_ = next_page;
    const size_t page_at = wal_.size();
    append(40, static_cast<uint8_t>(Rmgr::kXlog), 0xD0);
    wal_[page_at + 2] |= std::byte{kXlpFirstIsOverwriteContrecord};
  }

  Lsn start() const { return start_; }
  Lsn end() const { return end_; }
  Lsn prev() const { return prev_; }
  const Bytes& wal() const { return wal_; }
  const std::vector<WrittenRecord>& records() const { return records_; }

 private:
  Lsn start_;
  Lsn end_;
  Lsn prev_{8};
  int pg_version_;
  Bytes wal_;
  std::vector<WrittenRecord> records_;
  std::mt19937 random_{42};
};

// All records that the decoder gives for these bytes, fed in pieces of at most `piece` bytes; `ended` becomes its error.
inline std::vector<WrittenRecord> decode_all(WalStreamDecoder& decoder, ByteView wal, size_t piece,
                                             std::optional<Error>* ended = nullptr) {
  std::vector<WrittenRecord> found;
  for (size_t at = 0; at < wal.size() || at == 0; at += piece) {
    decoder.feed(wal.subspan(at, std::min(piece, wal.size() - at)));
    while (true) {
      const auto record = decoder.next();
      if (!record) {
        if (ended != nullptr) *ended = record.error();
        return found;
      }
      if (!*record) break;
      found.push_back({(*record)->start_lsn, (*record)->end_lsn, Bytes((*record)->bytes.begin(), (*record)->bytes.end())});
    }
    if (wal.empty()) break;
  }
  return found;
}

inline void expect_same(const std::vector<WrittenRecord>& found, std::span<const WrittenRecord> expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(to_string(found[i].start), to_string(expected[i].start)) << "record " << i;
    ASSERT_EQ(to_string(found[i].end), to_string(expected[i].end)) << "record " << i;
    ASSERT_EQ(found[i].bytes, expected[i].bytes) << "record " << i;
  }
}

}  // namespace helium::pg::testing
