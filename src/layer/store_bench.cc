// Speed of the layer store: `ninja layer_bench && build/bin/layer_bench [folder]`. Prints one line per measurement.

#include <fmt/format.h>

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>

#include "layer/block_cache.h"
#include "layer/store.h"

namespace helium::layer {
namespace {

// CPU time of the measuring thread says what a call costs on a busy machine too; wall time where the disk counts.
struct CpuClock {
  static double now() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  }
};
struct Clock {
  static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
};

void must(const Status& status) {
  if (!status) {
    fmt::print(stderr, "{}\n", status.error().message);
    std::exit(1);
  }
}

Key block_key(uint64_t number) {
  return Key::rel_block({1663, 5, static_cast<uint32_t>(16384 + number % 8), pg::Fork::kMain},
                        static_cast<uint32_t>(number / 8));
}

CreateOptions root(uint8_t id) {
  CreateOptions options;
  options.timeline_id.bytes[0] = id;
  options.start_lsn = Lsn(1000);
  return options;
}

constexpr uint64_t kKeys = 100'000;
constexpr size_t kRecordSize = 200;

// Random records; returns the LSN behind the last.
Lsn write_records(TimelineStore& timeline, Lsn lsn, uint64_t count, bool freeze) {
  std::mt19937_64 random(lsn.bytes());
  Bytes record(kRecordSize);
  for (uint64_t i = 0; i < count; ++i) {
    lsn = lsn + kRecordSize;
    for (size_t at = 0; at < kRecordSize / 2; at += 8) helium::store(&record[at], random());
    const Put put{block_key(random() % kKeys), ValueKind::kRecord, i % 16 == 0, record};
    must(timeline.write(lsn, {&put, 1}));
    if (freeze && timeline.should_freeze()) must(timeline.freeze(lsn, {}));
  }
  return lsn;
}

void measure(const std::filesystem::path& dir) {
  {
    auto created = *TimelineStore::create(dir / "memory", root(1));
    double start = CpuClock::now();
    const uint64_t count = 300'000;
    const Lsn last = write_records(*created, Lsn(1000), count, false);
    const double writing = CpuClock::now() - start;
    fmt::print("open layer: {:.0f} puts/s (CPU) of {} B over {} keys, {:.1f} MB memory for {:.1f} MB of records\n",
               count / writing, kRecordSize, kKeys, created->open_bytes() / 1e6, count * kRecordSize / 1e6);
    std::mt19937_64 random(5);
    uint64_t versions = 0;
    start = CpuClock::now();
    const uint64_t reads = 300'000;
    for (uint64_t i = 0; i < reads; ++i) versions += created->get_versions(block_key(random() % kKeys), last)->size();
    fmt::print("get_versions from memory: {:.2f} us (CPU), {:.1f} versions each\n", (CpuClock::now() - start) / reads * 1e6,
               static_cast<double>(versions) / reads);
    start = Clock::now();
    must(created->freeze(last, {}));
    must(created->flush_and_wait());
    const double flushing = Clock::now() - start;
    fmt::print("flush: {:.2f} s (wall), {:.0f} MB/s of records, file {:.1f} MB\n", flushing,
               count * kRecordSize / flushing / 1e6, created->stats().layer_file_bytes / 1e6);
  }
  {
    CreateOptions options = root(2);
    options.store.freeze_bytes = 16 << 20;
    auto created = *TimelineStore::create(dir / "sustained", options);
    const double start = Clock::now();
    const uint64_t count = 1'000'000;
    const Lsn last = write_records(*created, Lsn(1000), count, true);
    fmt::print("sustained with 16 MB layers flushed behind: {:.0f} puts/s (wall), {} layers\n", count / (Clock::now() - start),
               created->stats().delta_layers + created->stats().frozen_layers);
    must(created->freeze(last, {}));
    must(created->flush_and_wait());
  }
  {
    CreateOptions options = root(3);
    options.store.freeze_bytes = 1 << 20;
    Lsn last;
    {
      auto created = *TimelineStore::create(dir / "layers", options);
      last = write_records(*created, Lsn(1000), 1'000'000, true);
      must(created->freeze(last, {}));
      must(created->flush_and_wait());
    }
    options.store.cache = std::make_shared<BlockCache>(512 << 20);
    double start = CpuClock::now();
    auto opened = *TimelineStore::open(dir / "layers", [](const TimelineId&) -> Result<std::shared_ptr<TimelineStore>> {
      return fail(ErrorCode::kNotFound, "");
    }, options.store);
    fmt::print("open with {} layers: {:.2f} ms (CPU), block cache {} bytes afterwards\n", opened->stats().delta_layers,
               (CpuClock::now() - start) * 1e3, options.store.cache->stats().bytes);
    for (const char* state : {"cold", "warm"}) {
      std::mt19937_64 random(6);
      const StoreStats before = opened->stats();
      const uint64_t misses = options.store.cache->stats().misses;
      start = CpuClock::now();
      const uint64_t reads = 3000;
      for (uint64_t i = 0; i < reads; ++i) (void)opened->get_versions(block_key(random() % kKeys), last).value();
      const double reading = CpuClock::now() - start;
      const StoreStats after = opened->stats();
      fmt::print("get_versions from files, {}: {:.1f} us (CPU); {:.1f} layers read, {:.1f} spared by the filter, {:.1f} block loads each\n",
                 state, reading / reads * 1e6, static_cast<double>(after.layers_visited - before.layers_visited) / reads,
                 static_cast<double>(after.filter_skips - before.filter_skips) / reads,
                 static_cast<double>(options.store.cache->stats().misses - misses) / reads);
    }
    std::vector<double> times;
    for (int i = 0; i < 21; ++i) {
      CreateOptions branch;
      branch.timeline_id.bytes[0] = static_cast<uint8_t>(10 + i);
      branch.ancestor = opened;
      branch.start_lsn = branch.ancestor_lsn = last;
      start = Clock::now();
      (void)TimelineStore::create(dir / ("branch" + std::to_string(i)), branch).value();
      times.push_back((Clock::now() - start) * 1e3);
    }
    std::sort(times.begin(), times.end());
    fmt::print("create a branch: median {:.2f} ms, longest {:.2f} ms (wall)\n", times[10], times[20]);
  }
}

}  // namespace
}  // namespace helium::layer

int main(int argc, char** argv) {
  std::string dir = std::string(argc > 1 ? argv[1] : "/tmp") + "/layer_bench_XXXXXX";
  if (::mkdtemp(dir.data()) == nullptr) {
    fmt::print(stderr, "cannot create a folder like {}\n", dir);
    return 1;
  }
  helium::layer::measure(dir);
  std::filesystem::remove_all(dir);
  return 0;
}
