// Goal: readers see whole and complete answers while the store is written, frozen and flushed (run under TSan too).
// Method: one writer gives every key records that name their predecessor; readers pick any written LSN and follow the
// chain; a flusher checks that disk_consistent_lsn only grows. What a key's chain must be follows from the LSN alone.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "layer/test_support.h"

namespace helium::layer {
namespace {

constexpr uint64_t kKeys = 100;
constexpr uint64_t kBaseEvery = 20;  // every so many records of a key one stands by itself
constexpr uint64_t kRecords = 40'000;
constexpr uint64_t kStart = 1000;

Key key_of(uint64_t record) { return Key::rel_block(test_rel(static_cast<uint32_t>(record % 7)), record % kKeys); }

// Record number n has LSN kStart + n, n >= 1.
Bytes value_of(uint64_t record) {
  ByteWriter out;
  out.u64(record);
  out.zeros(record % 150);
  return out.take();
}

// Key (n % 7, n % 100) returns every 700 records.
constexpr uint64_t kPeriod = 700;

bool is_base(uint64_t record) { return record <= kPeriod || (record / kPeriod) % kBaseEvery == 0; }

void check_chain(const TimelineStore& store, uint64_t newest, uint64_t at) {
  const auto versions = store.get_versions(key_of(newest), Lsn(kStart + at));
  ASSERT_TRUE(is_ok(versions));
  uint64_t record = newest;
  for (const Version& version : *versions) {
    ASSERT_EQ(version.lsn, Lsn(kStart + record));
    ASSERT_TRUE(version.bytes.to_bytes() == value_of(record));
    const bool base = is_base(record);
    ASSERT_EQ(version.will_init, base);
    if (base) return;
    record -= kPeriod;
  }
  FAIL() << "chain of record " << newest << " ends without its base";
}

TEST(StoreConcurrent, ReadersFollowWholeChainsWhileLayersMove) {
  const TemporaryFolder folder;
  CreateOptions options;
  options.timeline_id.bytes[0] = 1;
  options.start_lsn = Lsn(kStart);
  options.store.freeze_bytes = 400'000;
  options.store.max_frozen_layers = 2;
  options.store.cache = std::make_shared<BlockCache>(1 << 20);
  const std::shared_ptr<TimelineStore> store = *TimelineStore::create(folder.path() / "t", options);

  std::atomic<uint64_t> written{0};
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint64_t record = 1; record <= kRecords; ++record) {
      const Bytes value = value_of(record);
      const Put put{key_of(record), ValueKind::kRecord, is_base(record), value};
      ASSERT_TRUE(is_ok(store->write(Lsn(kStart + record), {&put, 1})));
      written.store(record, std::memory_order_release);
      if (!store->should_freeze()) continue;
      ASSERT_TRUE(is_ok(store->freeze(Lsn(kStart + record), bytes_of("m"))));
    }
    done = true;
  });
  std::vector<std::thread> readers;
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    readers.emplace_back([&, seed] {
      std::mt19937_64 random(seed);
      while (!done && !::testing::Test::HasFailure()) {
        const uint64_t newest = written.load(std::memory_order_acquire);
        if (newest < kPeriod) continue;
        const uint64_t record = newest - random() % (random() % 2 == 0 ? newest : kPeriod);
        const uint64_t at = std::min(newest, record + random() % kPeriod);
        if (record > 0) check_chain(*store, record, at);
        if (random() % 500 == 0) {
          size_t keys = 0;
          ASSERT_TRUE(is_ok(store->scan_latest(KeyRange::rel_blocks(1663, 5), Lsn(kStart + newest),
                                               [&](const Key&, const Version&) { return ++keys > 0; })));
          ASSERT_EQ(keys, std::min(newest, kPeriod));
        }
      }
    });
  }
  std::thread flusher([&] {
    Lsn last;
    while (!done) {
      ASSERT_TRUE(is_ok(store->flush_and_wait()));
      const Lsn now = store->disk_consistent_lsn();
      ASSERT_LE(last, now);
      last = now;
      (void)store->stats();
      (void)store->metadata();
    }
  });
  writer.join();
  for (std::thread& reader : readers) reader.join();
  flusher.join();
  ASSERT_TRUE(is_ok(store->freeze(Lsn(kStart + kRecords), {})));
  ASSERT_TRUE(is_ok(store->flush_and_wait()));
  EXPECT_GT(store->stats().delta_layers, 5u);
  for (uint64_t record = kRecords - kPeriod + 1; record <= kRecords; ++record) check_chain(*store, record, kRecords);
}

}  // namespace
}  // namespace helium::layer
