// Goal: after a power cut at any disk operation the store opens again, stands at a disk_consistent_lsn that is not
// below what it had announced, with that moment's metadata, and holds exactly the history up to there.
// Method: one script (create, import, writes, freezes, flushes, metadata, a branch) is run with the power cut before
// each of its disk operations in turn; what was not synced is partly lost; then it is opened on the real disk and
// compared with the model.

#include <gtest/gtest.h>

#include "layer/fault_disk.h"
#include "layer/layer_file.h"
#include "layer/test_support.h"
#include "layer/timeline_index.h"

namespace helium::layer {
namespace {

constexpr Lsn kStart{1000};

std::vector<Key> script_keys() {
  std::vector<Key> keys;
  for (uint32_t i = 0; i < 8; ++i) keys.push_back(Key::rel_block(test_rel(1), i));
  return keys;
}

Bytes metadata_at(Lsn lsn) { return bytes_of("metadata of " + to_string(lsn)); }

struct Announced {
  bool created = false;
  bool imported = false;
  bool branched = false;
  Lsn disk_consistent_lsn;
};

// What the script puts at an LSN; the same in every run.
Bytes value_at(Lsn lsn) { return Bytes(3000 + lsn.bytes() % 700, static_cast<std::byte>(lsn.bytes() * 7)); }

// Runs until the disk is cut; says what a caller was told.
Announced run_script(const std::filesystem::path& dir, const std::shared_ptr<FaultDisk>& disk) {
  Announced announced;
  CreateOptions options;
  options.timeline_id.bytes[0] = 1;
  options.start_lsn = kStart;
  options.metadata = bytes_of("created");
  options.store.disk = disk;
  auto created = TimelineStore::create(dir / "main", options);
  if (!created) return announced;
  announced.created = true;
  announced.disk_consistent_lsn = kStart;
  const std::shared_ptr<TimelineStore> store = *created;

  auto import = *store->begin_import();
  for (const Key& key : script_keys()) {
    EXPECT_TRUE(is_ok(import->add(key, ValueKind::kImage, Bytes(8192, std::byte{9}))));
  }
  announced.imported = import->finish(metadata_at(kStart)).has_value();
  if (!announced.imported) return announced;

  const std::vector<Key> keys = script_keys();
  Lsn lsn = kStart;
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 6; ++i) {
      lsn = lsn + 10;
      const Bytes value = value_at(lsn);
      const Put puts[] = {{keys[(lsn.bytes() / 10) % keys.size()], ValueKind::kRecord, false, value},
                          {keys[(lsn.bytes() / 30) % keys.size()], ValueKind::kRecord, false, value}};
      EXPECT_TRUE(is_ok(store->write(lsn, puts)));
    }
    if (!store->freeze(lsn, metadata_at(lsn))) break;
    Status flushed = store->flush_and_wait();
    while (!flushed && !disk->is_cut()) flushed = store->flush_and_wait();  // a passing failure: it is tried again
    EXPECT_EQ(flushed.has_value(), store->disk_consistent_lsn() == lsn);
    announced.disk_consistent_lsn = store->disk_consistent_lsn();
    if (!flushed) break;
    if (round == 2) {
      CreateOptions branch;
      branch.timeline_id.bytes[0] = 2;
      branch.ancestor = store;
      branch.start_lsn = branch.ancestor_lsn = kStart + 70;
      branch.store.disk = disk;
      announced.branched = TimelineStore::create(dir / "branch", branch).has_value();
    }
  }
  return announced;
}

Model model_up_to(Lsn end, bool imported) {
  Model model(nullptr, kStart);
  const std::vector<Key> keys = script_keys();
  for (const Key& key : keys) {
    if (imported) model.put(kStart, key, {ValueKind::kImage, true, Bytes(8192, std::byte{9})});
  }
  for (Lsn lsn = kStart + 10; lsn <= end; lsn = lsn + 10) {
    const Content content{ValueKind::kRecord, false, value_at(lsn)};
    model.put(lsn, keys[(lsn.bytes() / 10) % keys.size()], content);
    model.put(lsn, keys[(lsn.bytes() / 30) % keys.size()], content);
  }
  return model;
}

Result<std::shared_ptr<TimelineStore>> no_ancestor(const TimelineId&) {
  return fail(ErrorCode::kNotFound, "no ancestor expected");
}

void check_after_crash(const std::filesystem::path& dir, const Announced& announced) {
  StoreOptions options;
  options.disk = std::make_shared<FaultDisk>(0);  // syncs nothing: this part is about content
  auto opened = TimelineStore::open(dir / "main", no_ancestor, options);
  if (!announced.created && !opened) {
    EXPECT_EQ(opened.error().code, ErrorCode::kNotFound) << opened.error().message;
    return;
  }
  ASSERT_TRUE(is_ok(opened));
  const std::shared_ptr<TimelineStore> store = *opened;
  EXPECT_GE(store->disk_consistent_lsn(), announced.disk_consistent_lsn);
  const bool imported = store->stats().image_layers > 0;
  EXPECT_TRUE(imported || !announced.imported);
  EXPECT_EQ(store->metadata(), imported ? metadata_at(store->disk_consistent_lsn()) : bytes_of("created"));

  const Model model = model_up_to(store->disk_consistent_lsn(), imported);
  for (const Key& key : script_keys()) {
    for (Lsn lsn = kStart; lsn <= kStart + 300; lsn = lsn + 10) expect_same(*store, model, key, lsn);
  }
  expect_same_scan(*store, model, KeyRange::all(), Lsn::max());

  const TimelineIndex index = *decode_timeline_index(*real_disk()->read_all(dir / "main" / "index"));
  for (const LayerDesc& desc : index.layers) {
    const LayerFile file(real_disk(), BlockCache::process_wide(), dir / "main" / "layers", desc);
    EXPECT_TRUE(is_ok(file.verify()));
  }
  EXPECT_EQ(real_disk()->list_folder(dir / "main" / "layers")->size(), index.layers.size());

  auto branch = TimelineStore::open(
      dir / "branch", [&](const TimelineId&) -> Result<std::shared_ptr<TimelineStore>> { return store; }, options);
  if (announced.branched || branch) {
    ASSERT_TRUE(is_ok(branch));
    for (const Key& key : script_keys()) {
      EXPECT_TRUE(contents(*(*branch)->get_versions(key, Lsn::max())) == model.chain(key, kStart + 70));
    }
  }

  // And it goes on from there.
  const Put put{Key::checkpoint(), ValueKind::kData, true, as_bytes("on")};
  const Lsn next = store->disk_consistent_lsn() + 1;
  ASSERT_TRUE(is_ok(store->write(next, {&put, 1})));
  ASSERT_TRUE(is_ok(store->freeze(next, {})));
  ASSERT_TRUE(is_ok(store->flush_and_wait()));
}

TEST(StoreCrash, APowerCutAtAnyDiskOperationLosesNothingAnnounced) {
  uint64_t operations = 0;
  {
    const TemporaryFolder folder;
    const auto disk = std::make_shared<FaultDisk>(0);
    const Announced announced = run_script(folder.path(), disk);
    operations = disk->operations();
    ASSERT_TRUE(announced.branched);
    ASSERT_EQ(announced.disk_consistent_lsn, kStart + 240);
  }
  ASSERT_GT(operations, 40u);
  for (uint64_t cut = 0; cut <= operations; ++cut) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", power cut before disk operation " << cut);
      const TemporaryFolder folder;
      const auto disk = std::make_shared<FaultDisk>(seed);
      disk->cut_before(cut);
      const Announced announced = run_script(folder.path(), disk);
      disk->crash();
      check_after_crash(folder.path(), announced);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Goal: a flush that fails at any operation and is tried again damages nothing that the index may already name.
// Method: the same, with one passing failure during the flushes, and the power cut a few operations later.
TEST(StoreCrash, APowerCutWhileAFailedFlushIsTriedAgainLosesNothingAnnounced) {
  uint64_t operations = 0;
  {
    const TemporaryFolder folder;
    const auto disk = std::make_shared<FaultDisk>(0);
    ASSERT_TRUE(run_script(folder.path(), disk).branched);
    operations = disk->operations();
  }
  for (uint64_t failure = 0; failure < operations; ++failure) {
    for (uint64_t cut = failure + 1; cut < failure + 9; ++cut) {
      SCOPED_TRACE(::testing::Message() << "disk operation " << failure << " fails, power cut before " << cut);
      const TemporaryFolder folder;
      const auto disk = std::make_shared<FaultDisk>(cut);
      disk->fail_once(failure);
      disk->cut_before(cut);
      const Announced announced = run_script(folder.path(), disk);
      disk->crash();
      check_after_crash(folder.path(), announced);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace helium::layer
