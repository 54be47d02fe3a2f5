// Microseconds per record by type, for all types in the recorded WAL, and for a page rebuilt from an image and 128 heap
// inserts.
//
// Goal: the cost of redo itself, decoding included, as the pageserver pays it when it rebuilds a page.
// Method: records and old pages of src/redo/testdata, each replayed many times on a copy of its page; processor time of
// this thread, the least of several rounds, so that other load on the machine hardly shows.

#include <ctime>

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/check.h"
#include "pg/page.h"
#include "pg/wal_segment.h"
#include "pg/wal_stream.h"
#include "redo/oracle.h"
#include "redo/recorded_wal.h"

namespace helium::redo {
namespace {

double cpu_us() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

// Microseconds of one run of `work`, the least of some rounds.
template <typename Work>
double least_us(int times, const Work& work) {
  double least = 1e18;
  for (int round = 0; round < 7; ++round) {
    const double start = cpu_us();
    for (int i = 0; i < times; ++i) work();
    least = std::min(least, (cpu_us() - start) / times);
  }
  return least;
}

// A record and the page that it changes; without one where the record has no block.
struct Sample {
  Bytes record;
  std::optional<uint8_t> block;
  PageBytes page;
};
struct Type {
  uint64_t records = 0;
  std::vector<Sample> samples;  // of its blocks; else of its records
};
using Types = std::map<std::string, Type>;

constexpr size_t kSamples = 64;
constexpr int kVersion = 15;

void collect(const std::string& name, Types& types) {
  const Bytes wal = testing::recorded_wal(name);
  OracleOptions options;
  options.on_redo = [&](const std::string& type, const pg::BlockRef& block, const PageBytes& page, ByteView record) {
    auto& samples = types[type].samples;
    if (samples.size() < kSamples) samples.push_back({Bytes(record.begin(), record.end()), block.id, page});
  };
  Oracle oracle(options);
  CHECK(replay_wal(oracle, wal).has_value());

  const auto info = pg::read_segment_info(wal);
  CHECK(info.has_value());
  const auto start = pg::find_first_record(wal, info->start_lsn);
  CHECK(start.has_value());
  pg::WalStreamDecoder decoder(*start);
  decoder.feed(ByteView(wal).subspan(*start - info->start_lsn));
  while (const auto view = decoder.next()) {
    if (!*view) break;
    const auto record = pg::decode_record((*view)->bytes, kVersion);
    CHECK(record.has_value());
    Type& type = types[pg::record_type_name(record->rmgr, record->info, kVersion)];
    ++type.records;
    const bool has_page = !type.samples.empty() && type.samples.front().block;
    if (has_page || type.samples.size() >= kSamples) continue;
    type.samples.push_back({Bytes((*view)->bytes.begin(), (*view)->bytes.end()), std::nullopt, {}});
  }
}

// All samples of a type, one after the other: decode, copy the page, replay the block; of a record without blocks, all
// SLRU pages that it writes.
double us_per_sample(const std::vector<Sample>& samples) {
  const double all = least_us(20, [&] {
    for (const Sample& sample : samples) {
      const auto record = pg::decode_record(sample.record, kVersion);
      CHECK(record.has_value());
      PageBytes page = sample.page;
      if (sample.block) {
        const pg::BlockRef& ref = *record->block(*sample.block);
        CHECK(redo_block_in_place(*record, ref, RedoContext{Lsn::max(), kVersion, false, ref.blkno, ref.rel}, page));
        continue;
      }
      CHECK(for_each_slru_effect(*record, kVersion, [&](const SlruEffect& effect) {
        CHECK(redo_slru_page(*record, effect.segment, effect.page_in_segment, RedoContext{Lsn::max(), kVersion}, page));
      }));
    }
  });
  return all / static_cast<double>(samples.size());
}

// A heap INSERT of 24 + 16 bytes at `offset`, as it stands in WAL.
Bytes heap_insert(uint16_t offset) {
  ByteWriter wal;
  const Bytes body(16, std::byte{7});
  wal.u32(0);  // total length, below
  wal.u32(700);
  wal.u64(0);
  wal.u8(0x00);
  wal.u8(static_cast<uint8_t>(pg::Rmgr::kHeap));
  wal.u16(0);
  wal.u32(0);
  wal.u8(0);     // block 0
  wal.u8(0x20);  // has data; main fork
  wal.u16(static_cast<uint16_t>(6 + body.size()));
  for (const uint32_t v : {1663u, 5u, 16385u, 3u}) wal.u32(v);
  wal.u8(255);  // short main data
  wal.u8(3);
  wal.u16(2);  // infomask2
  wal.u16(0x0802);
  wal.u8(24);
  wal.u8(0);
  wal.raw(body);
  wal.u16(offset);
  wal.u8(0);
  wal.patch_u32(0, static_cast<uint32_t>(wal.size()));
  return wal.take();
}

double us_of_rebuild() {
  constexpr uint16_t kInserts = 128;
  PageBytes image;
  pg::page_init(image, 0);
  std::vector<Bytes> records;
  for (uint16_t i = 1; i <= kInserts; ++i) records.push_back(heap_insert(i));
  return least_us(200, [&] {
    PageBytes page = image;
    pg::DecodedRecord record;
    for (size_t i = 0; i < records.size(); ++i) {
      CHECK(pg::decode_record(records[i], 15, record));
      const pg::BlockRef& ref = record.blocks.front();
      CHECK(redo_block_in_place(record, ref, RedoContext{Lsn(0x1000 + i), 15, false, 3, ref.rel}, page).has_value());
    }
  });
}

void run() {
  Types types;
  for (const char* wal : {"workload_15", "indexes_15"}) collect(wal, types);
  fmt::print("{:<28}{:>10}{:>8}\n", "record type", "recorded", "us");
  for (const auto& [name, type] : types) {
    const bool has_page = type.samples.front().block.has_value();
    fmt::print("{:<28}{:>10}{:>8.2f}{}\n", name, type.records, us_per_sample(type.samples), has_page ? "" : "  (no block)");
  }
  fmt::print("\nan image and 128 heap inserts: {:.1f} us\n", us_of_rebuild());
}

}  // namespace
}  // namespace helium::redo

int main() { helium::redo::run(); }
