// Goal: what an earlier version wrote stays readable for ever.
// Method: tests/compat/layer_v1 is a timeline's folder written by format version 1 (an import, two delta layers with
// all kinds of values, values shared within a block and across blocks, metadata). It is copied, opened and compared
// with the same history in memory. HELIUM_WRITE_GOLDEN=DIR writes such a folder anew.

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/source_dir.h"
#include "layer/layer_file.h"
#include "layer/test_support.h"
#include "layer/timeline_index.h"

namespace helium::layer {
namespace {

constexpr Lsn kStart{0x16B5A50};

struct GoldenPut {
  Key key;
  ValueKind kind;
  bool will_init;
  Bytes bytes;
};

Bytes pattern(size_t size, uint32_t seed) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) {
    seed = seed * 1664525 + 1013904223;
    bytes[i] = static_cast<std::byte>(i % 5 == 0 ? seed >> 24 : 0);
  }
  return bytes;
}

std::vector<std::pair<Key, Bytes>> golden_images() {
  std::vector<std::pair<Key, Bytes>> images = {{Key::checkpoint(), pattern(88, 1)},
                                               {Key::control_file(), pattern(296, 2)},
                                               {Key::db_dir(1663, 5), {}},
                                               {Key::relmap(1664, 0), pattern(512, 3)}};
  for (uint32_t i = 0; i < 3; ++i) images.emplace_back(Key::rel_block(test_rel(1259), i), pattern(8192, 10 + i));
  return images;
}

// The puts of one LSN; equal bytes of neighbours are the same record.
std::vector<GoldenPut> golden_puts(uint64_t i) {
  const auto seed = static_cast<uint32_t>(100 + i);
  const Key block = Key::rel_block(test_rel(1259), i % 5);
  switch (i % 7) {
    case 0: return {{Key::wal_position(), ValueKind::kData, true, pattern(32, seed)}};
    case 1: return {{block, ValueKind::kImage, true, pattern(8192, seed)}};
    case 2: return {{Key::rel_size(test_rel(16384 + i % 3)), ValueKind::kTombstone, true, {}}};
    case 3: return {{block, ValueKind::kZeroPage, true, {}}};
    case 4: return {{Key::rel_size(test_rel(16384 + i % 3)), ValueKind::kData, true, pattern(4, seed)}};
    default: {  // one record of three keys, near and far from each other
      const Bytes bytes = pattern(200 + 40 * i, seed);
      return {{block, ValueKind::kRecord, false, bytes},
              {Key::rel_block(test_rel(1259), (i + 1) % 5), ValueKind::kRecord, i % 2 == 0, bytes},
              {Key::slru_block({pg::SlruKind::kClog, 0}, 0), ValueKind::kRecord, false, bytes}};
    }
  }
}

constexpr uint64_t kGoldenWrites = 60;
Lsn golden_lsn(uint64_t i) { return kStart + 100 * i; }

void write_golden(const std::filesystem::path& dir) {
  CreateOptions options;
  options.timeline_id.bytes.fill(0xDE);
  options.start_lsn = kStart;
  auto store = *TimelineStore::create(dir, options);
  auto import = *store->begin_import();
  for (const auto& [key, bytes] : golden_images()) {
    ASSERT_TRUE(is_ok(import->add(key, bytes.size() == 8192 ? ValueKind::kImage : ValueKind::kData, bytes)));
  }
  ASSERT_TRUE(is_ok(import->finish(bytes_of("imported"))));
  for (uint64_t i = 1; i <= kGoldenWrites; ++i) {
    const std::vector<GoldenPut> golden = golden_puts(i);
    std::vector<Put> puts;
    for (const GoldenPut& put : golden) {
      puts.push_back({put.key, put.kind, put.will_init, put.bytes == golden[0].bytes ? golden[0].bytes : put.bytes});
    }
    ASSERT_TRUE(is_ok(store->write(golden_lsn(i), puts)));
    if (i % (kGoldenWrites / 2) == 0) {
      ASSERT_TRUE(is_ok(store->freeze(golden_lsn(i), bytes_of("after " + std::to_string(i)))));
    }
  }
  ASSERT_TRUE(is_ok(store->flush_and_wait()));
}

void check_golden(const std::filesystem::path& dir) {
  Model model(nullptr, kStart);
  for (const auto& [key, bytes] : golden_images()) {
    model.put(kStart, key, {bytes.size() == 8192 ? ValueKind::kImage : ValueKind::kData, true, bytes});
  }
  for (uint64_t i = 1; i <= kGoldenWrites; ++i) {
    for (const GoldenPut& put : golden_puts(i)) model.put(golden_lsn(i), put.key, {put.kind, put.will_init, put.bytes});
  }
  auto opened = TimelineStore::open(dir, [](const TimelineId&) -> Result<std::shared_ptr<TimelineStore>> {
    return fail(ErrorCode::kNotFound, "no ancestor expected");
  });
  ASSERT_TRUE(is_ok(opened));
  const TimelineStore& store = **opened;
  EXPECT_EQ(store.start_lsn(), kStart);
  EXPECT_EQ(store.disk_consistent_lsn(), golden_lsn(kGoldenWrites));
  EXPECT_EQ(store.metadata(), bytes_of("after 60"));
  EXPECT_EQ(store.stats().image_layers, 1u);
  EXPECT_EQ(store.stats().delta_layers, 2u);
  for (const Key& key : model.keys()) {
    for (uint64_t i = 0; i <= kGoldenWrites; ++i) expect_same(store, model, key, golden_lsn(i));
  }
  expect_same_scan(store, model, KeyRange::all(), Lsn::max());
  const TimelineIndex index = *decode_timeline_index(*real_disk()->read_all(dir / "index"));
  for (const LayerDesc& desc : index.layers) {
    EXPECT_TRUE(is_ok(LayerFile(real_disk(), BlockCache::process_wide(), dir / "layers", desc).verify()));
  }
}

TEST(Compat, FormatVersion1IsReadable) {
  const TemporaryFolder folder;
  std::filesystem::copy(source_path("tests/compat/layer_v1"), folder.path() / "t",
                        std::filesystem::copy_options::recursive);
  check_golden(folder.path() / "t");
}

TEST(Compat, TheGoldenHistoryCanBeWrittenAnew) {
  const TemporaryFolder folder;
  const char* wanted = std::getenv("HELIUM_WRITE_GOLDEN");
  const std::filesystem::path dir = wanted != nullptr ? std::filesystem::path(wanted) : folder.path() / "t";
  write_golden(dir);
  check_golden(dir);
}

}  // namespace
}  // namespace helium::layer
