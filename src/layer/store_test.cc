#include "layer/store.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "layer/fault_disk.h"
#include "layer/layer_writer.h"
#include "layer/test_support.h"
#include "layer/timeline_index.h"

namespace helium::layer {
namespace {

Result<std::shared_ptr<TimelineStore>> no_ancestor(const TimelineId&) {
  return fail(ErrorCode::kNotFound, "no ancestor expected");
}

TimelineId id_of(uint8_t number) {
  TimelineId id;
  id.bytes[0] = number;
  return id;
}

CreateOptions root_options(Lsn start_lsn = Lsn(100)) {
  CreateOptions options;
  options.timeline_id = id_of(1);
  options.start_lsn = start_lsn;
  options.metadata = bytes_of("created");
  return options;
}

CreateOptions branch_options(uint8_t id, std::shared_ptr<TimelineStore> ancestor, Lsn lsn) {
  CreateOptions options;
  options.timeline_id = id_of(id);
  options.start_lsn = options.ancestor_lsn = lsn;
  options.ancestor = std::move(ancestor);
  return options;
}

Put record(const Key& key, ByteView bytes, bool will_init = false) { return {key, ValueKind::kRecord, will_init, bytes}; }
Put data(const Key& key, ByteView bytes) { return {key, ValueKind::kData, true, bytes}; }
Put tombstone(const Key& key) { return {key, ValueKind::kTombstone, true, {}}; }

Status write_one(TimelineStore& store, Lsn lsn, const Put& put) { return store.write(lsn, {&put, 1}); }

std::string text_of(const Version& version) { return std::string(as_text(version.bytes)); }

// Goal: versions come back newest first and end at the first that stands by itself; reads at an LSN are inclusive.
// Method: one page with two records, an image and two more, asked at every LSN; in memory, and again from the file.
TEST(Store, AKeyIsReadBackAsOfEveryLsnFromMemoryAndFromTheFile) {
  const TemporaryFolder folder;
  auto store = *TimelineStore::create(folder.path() / "t", root_options());
  const Key key = Key::rel_block(test_rel(16384), 7);
  const Bytes image(8192, std::byte{7});
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(110), record(key, as_bytes("a"), true))));
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(120), record(key, as_bytes("b")))));
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(130), {key, ValueKind::kImage, true, image})));
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(140), record(key, as_bytes("c")))));
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(150), record(key, as_bytes("d")))));

  for (const bool on_disk : {false, true}) {
    SCOPED_TRACE(on_disk ? "on disk" : "in memory");
    if (on_disk) {
      ASSERT_TRUE(is_ok(store->freeze(Lsn(160), bytes_of("m"))));
      ASSERT_TRUE(is_ok(store->flush_and_wait()));
      EXPECT_EQ(store->stats().delta_layers, 1u);
    }
    EXPECT_TRUE(store->get_versions(key, Lsn(109))->empty());
    EXPECT_EQ(store->get_versions(key, Lsn(110))->size(), 1u);
    const auto two = *store->get_versions(key, Lsn(129));
    ASSERT_EQ(two.size(), 2u);
    EXPECT_EQ(text_of(two[0]), "b");
    EXPECT_EQ(two[1].lsn, Lsn(110));
    const auto three = *store->get_versions(key, Lsn::max());
    ASSERT_EQ(three.size(), 3u);
    EXPECT_EQ(text_of(three[0]), "d");
    EXPECT_EQ(text_of(three[1]), "c");
    EXPECT_EQ(three[2].kind, ValueKind::kImage);
    EXPECT_EQ(three[2].bytes.to_bytes(), image);
    EXPECT_EQ(store->list_versions(key, Lsn(110), Lsn(140))->size(), 3u);
    EXPECT_TRUE(store->get_versions(Key::rel_block(test_rel(16384), 8), Lsn::max())->empty());
  }
}

TEST(Store, ASecondPutAtOneLsnReplacesTheFirst) {
  const TemporaryFolder folder;
  auto store = *TimelineStore::create(folder.path() / "t", root_options());
  const Key key = Key::checkpoint();
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(110), data(key, as_bytes("first")))));
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(110), data(key, as_bytes("second")))));
  const auto versions = *store->list_versions(key, Lsn(), Lsn::max());
  ASSERT_EQ(versions.size(), 1u);
  EXPECT_EQ(text_of(versions[0]), "second");
}

TEST(Store, WrongOrderAndHalfValuesAreRefused) {
  const TemporaryFolder folder;
  auto store = *TimelineStore::create(folder.path() / "t", root_options());
  const Key key = Key::checkpoint();
  const auto code = [](const Status& status) { return status ? ErrorCode{} : status.error().code; };
  EXPECT_EQ(code(write_one(*store, Lsn(100), data(key, {}))), ErrorCode::kInvalid);  // start_lsn itself
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(110), data(key, {}))));
  EXPECT_EQ(code(write_one(*store, Lsn(109), data(key, {}))), ErrorCode::kInvalid);
  EXPECT_EQ(code(store->freeze(Lsn(109), {})), ErrorCode::kInvalid);
  ASSERT_TRUE(is_ok(store->freeze(Lsn(120), {})));
  EXPECT_EQ(code(write_one(*store, Lsn(120), data(key, {}))), ErrorCode::kInvalid);
  EXPECT_EQ(code(write_one(*store, Lsn(130), {key, ValueKind::kImage, false, {}})), ErrorCode::kInvalid);
  EXPECT_EQ(code(write_one(*store, Lsn(130), {key, static_cast<ValueKind>(9), true, {}})), ErrorCode::kInvalid);
  EXPECT_EQ(TimelineStore::create(folder.path() / "t", root_options()).error().code, ErrorCode::kExists);
  EXPECT_EQ(TimelineStore::open(folder.path() / "none", no_ancestor).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(TimelineStore::create(folder.path() / "u", branch_options(2, store, Lsn())).error().code, ErrorCode::kInvalid);
}

TEST(Store, AValueOfSeveralKeysIsStoredOnce) {
  const TemporaryFolder folder;
  auto store = *TimelineStore::create(folder.path() / "t", root_options());
  std::mt19937_64 random(1);
  Bytes value(100'000);
  for (std::byte& byte : value) byte = static_cast<std::byte>(random());
  std::vector<Put> puts;
  for (uint32_t i = 0; i < 40; ++i) puts.push_back(record(Key::rel_block(test_rel(1), i), value, true));
  ASSERT_TRUE(is_ok(store->write(Lsn(110), puts)));
  puts.resize(3);
  Bytes other(5'000, std::byte{1});
  for (Put& put : puts) put.bytes = other;
  ASSERT_TRUE(is_ok(store->write(Lsn(120), puts)));
  EXPECT_LT(store->open_bytes(), 200'000u);
  ASSERT_TRUE(is_ok(store->freeze(Lsn(120), {})));
  ASSERT_TRUE(is_ok(store->flush_and_wait()));
  EXPECT_LT(store->stats().layer_file_bytes, 200'000u);
  for (uint32_t i = 0; i < 40; ++i) {
    EXPECT_TRUE((*store->get_latest(Key::rel_block(test_rel(1), i), Lsn(119)))->bytes.to_bytes() == value);
  }
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_TRUE((*store->get_latest(Key::rel_block(test_rel(1), i), Lsn(120)))->bytes.to_bytes() == other);
  }
}

TEST(Store, AReopenedStoreStandsAtItsDiskConsistentLsn) {
  const TemporaryFolder folder;
  const Key key = Key::checkpoint();
  {
    auto store = *TimelineStore::create(folder.path() / "t", root_options());
    EXPECT_EQ(store->disk_consistent_lsn(), Lsn(100));
    EXPECT_EQ(store->metadata(), bytes_of("created"));
    ASSERT_TRUE(is_ok(write_one(*store, Lsn(110), data(key, as_bytes("kept")))));
    ASSERT_TRUE(is_ok(store->freeze(Lsn(115), bytes_of("at 115"))));
    ASSERT_TRUE(is_ok(store->flush_and_wait()));
    ASSERT_TRUE(is_ok(store->freeze(Lsn(118), bytes_of("at 118"))));  // nothing written: the index only
    ASSERT_TRUE(is_ok(store->flush_and_wait()));
    EXPECT_EQ(store->stats().delta_layers, 1u);
    ASSERT_TRUE(is_ok(write_one(*store, Lsn(120), data(key, as_bytes("lost")))));
  }
  auto store = *TimelineStore::open(folder.path() / "t", no_ancestor);
  EXPECT_EQ(store->disk_consistent_lsn(), Lsn(118));
  EXPECT_EQ(store->metadata(), bytes_of("at 118"));
  EXPECT_EQ(text_of(**store->get_latest(key, Lsn::max())), "kept");
  ASSERT_TRUE(is_ok(store->set_metadata(bytes_of("mine"))));
  EXPECT_FALSE(write_one(*store, Lsn(118), data(key, {})).has_value());
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(119), data(key, as_bytes("again")))));
  EXPECT_EQ(text_of(**store->get_latest(key, Lsn::max())), "again");
  EXPECT_EQ(read_store_summary(folder.path() / "t")->metadata, bytes_of("mine"));
}

TEST(Store, BranchesOfBranchesFallThroughAndTombstonesHide) {
  const TemporaryFolder folder;
  const Key a = Key::rel_size(test_rel(1));
  const Key b = Key::rel_size(test_rel(2));
  auto main = *TimelineStore::create(folder.path() / "main", root_options());
  ASSERT_TRUE(is_ok(write_one(*main, Lsn(110), data(a, as_bytes("a110")))));
  ASSERT_TRUE(is_ok(write_one(*main, Lsn(120), data(b, as_bytes("b120")))));
  ASSERT_TRUE(is_ok(write_one(*main, Lsn(140), data(a, as_bytes("a140")))));
  auto child = *TimelineStore::create(folder.path() / "child", branch_options(2, main, Lsn(130)));
  ASSERT_TRUE(is_ok(write_one(*child, Lsn(135), tombstone(b))));
  auto grandchild = *TimelineStore::create(folder.path() / "grandchild", branch_options(3, child, Lsn(150)));
  ASSERT_TRUE(is_ok(write_one(*grandchild, Lsn(160), data(b, as_bytes("b160")))));
  auto early = *TimelineStore::create(folder.path() / "early", branch_options(4, child, Lsn(132)));

  EXPECT_EQ(text_of(**child->get_latest(a, Lsn::max())), "a110");
  EXPECT_EQ(text_of(**grandchild->get_latest(a, Lsn::max())), "a110");
  EXPECT_EQ((*grandchild->get_latest(b, Lsn(159)))->kind, ValueKind::kTombstone);
  EXPECT_EQ(text_of(**grandchild->get_latest(b, Lsn(160))), "b160");
  EXPECT_EQ(text_of(**early->get_latest(b, Lsn::max())), "b120");
  EXPECT_EQ(text_of(**main->get_latest(a, Lsn::max())), "a140");

  const auto keys_at = [](const TimelineStore& store, Lsn at) {
    std::vector<std::string> found;
    EXPECT_TRUE(is_ok(store.scan_latest(KeyRange::rel_sizes(1663, 5), at, [&](const Key&, const Version& version) {
      found.push_back(text_of(version));
      return true;
    })));
    return found;
  };
  EXPECT_EQ(keys_at(*child, Lsn(134)), (std::vector<std::string>{"a110", "b120"}));
  EXPECT_EQ(keys_at(*child, Lsn(135)), (std::vector<std::string>{"a110"}));
  EXPECT_EQ(keys_at(*grandchild, Lsn(160)), (std::vector<std::string>{"a110", "b160"}));
  EXPECT_EQ(keys_at(*main, Lsn(140)), (std::vector<std::string>{"a140", "b120"}));

  // The ancestor writes on: later than the branch point, so nothing changes for the child.
  ASSERT_TRUE(is_ok(write_one(*main, Lsn(200), tombstone(a))));
  EXPECT_EQ(keys_at(*grandchild, Lsn::max()), (std::vector<std::string>{"a110", "b160"}));
}

// Goal: keys with long chains of records get an image while flushing, readers see it, and what fails stays a record.
TEST(Store, LongChainsGetAnImageWhileFlushing) {
  const TemporaryFolder folder;
  CreateOptions options = root_options();
  options.store.image_chain_length = 10;
  auto store = *TimelineStore::create(folder.path() / "t", options);
  const Key hot = Key::rel_block(test_rel(1), 0);
  const Key refused = Key::rel_block(test_rel(1), 1);
  const Key cool = Key::rel_block(test_rel(1), 2);
  const TimelineStore* reader = store.get();
  store->set_image_maker([&](const Key& key, Lsn lsn) -> Result<Bytes> {
    if (key == refused) return fail(ErrorCode::kRedo, "does not fit");
    HELIUM_ASSIGN(const auto versions, reader->get_versions(key, lsn));  // reading from within is fine
    return Bytes(8192, static_cast<std::byte>(versions.size()));
  });
  uint64_t lsn = 110;
  const auto write_rounds = [&](int rounds) {
    for (int i = 0; i < rounds; ++i, ++lsn) {
      const Put puts[] = {record(hot, as_bytes("h")), record(refused, as_bytes("r"))};
      ASSERT_TRUE(is_ok(store->write(Lsn(lsn), puts)));
    }
    ASSERT_TRUE(is_ok(write_one(*store, Lsn(lsn), record(cool, as_bytes("c")))));
    ASSERT_TRUE(is_ok(store->freeze(Lsn(lsn), {})));
    ASSERT_TRUE(is_ok(store->flush_and_wait()));
    ++lsn;
  };
  write_rounds(6);  // 6 records: not yet
  EXPECT_EQ(store->get_versions(hot, Lsn::max())->size(), 6u);
  write_rounds(6);  // 12 over two layers: an image at the last
  const auto versions = *store->get_versions(hot, Lsn::max());
  ASSERT_EQ(versions.size(), 1u);
  EXPECT_EQ(versions[0].kind, ValueKind::kImage);
  EXPECT_EQ(versions[0].lsn, Lsn(lsn - 2));
  EXPECT_EQ(versions[0].bytes.data()[0], std::byte{12});
  EXPECT_EQ(store->get_versions(hot, Lsn(lsn - 3))->size(), 11u);  // before it, the records are all there
  EXPECT_EQ(store->get_versions(refused, Lsn::max())->size(), 12u);
  EXPECT_EQ(store->get_versions(cool, Lsn::max())->size(), 2u);
  EXPECT_EQ(store->stats().hot_images, 1u);
}

TEST(Store, AnImportIsOneImageLayerAndMissingKeysAreAbsent) {
  const TemporaryFolder folder;
  const Key page = Key::rel_block(test_rel(1), 0);
  {
    auto store = *TimelineStore::create(folder.path() / "t", root_options());
    auto import = *store->begin_import();
    ASSERT_TRUE(is_ok(import->add(page, ValueKind::kImage, Bytes(8192, std::byte{5}))));
    ASSERT_TRUE(is_ok(import->add(Key::checkpoint(), ValueKind::kData, as_bytes("old"))));
    ASSERT_TRUE(is_ok(import->add(Key::checkpoint(), ValueKind::kData, as_bytes("ckpt"))));
    EXPECT_EQ(import->add(page, ValueKind::kRecord, {}).error().code, ErrorCode::kInvalid);
    ASSERT_TRUE(is_ok(import->finish(bytes_of("imported"))));
    EXPECT_EQ(store->begin_import().error().code, ErrorCode::kInvalid);
    ASSERT_TRUE(is_ok(write_one(*store, Lsn(110), record(page, as_bytes("r")))));
    ASSERT_TRUE(is_ok(store->freeze(Lsn(110), bytes_of("110"))));
    ASSERT_TRUE(is_ok(store->flush_and_wait()));
  }
  auto store = *TimelineStore::open(folder.path() / "t", no_ancestor);
  EXPECT_EQ(store->stats().image_layers, 1u);
  const auto versions = *store->get_versions(page, Lsn(110));
  ASSERT_EQ(versions.size(), 2u);
  EXPECT_EQ(versions[1].bytes.data()[0], std::byte{5});
  EXPECT_EQ(text_of(**store->get_latest(Key::checkpoint(), Lsn(100))), "ckpt");
  EXPECT_FALSE((*store->get_latest(Key::checkpoint(), Lsn(99))).has_value());
  EXPECT_TRUE(store->get_versions(Key::control_file(), Lsn(200))->empty());
}

// Goal: a full disk loses nothing: the layer stays readable in memory, writes go on up to the bound, freeze() waits
// there, and everything continues once there is room.
TEST(Store, AFullDiskDelaysFlushesAndLosesNothing) {
  const TemporaryFolder folder;
  const auto disk = std::make_shared<FaultDisk>(1);
  CreateOptions options = root_options();
  options.store.disk = disk;
  options.store.max_frozen_layers = 2;
  auto store = *TimelineStore::create(folder.path() / "t", options);
  disk->set_full(true);
  const Key key = Key::checkpoint();
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(110), data(key, as_bytes("one")))));
  ASSERT_TRUE(is_ok(store->freeze(Lsn(110), {})));
  const Status flushed = store->flush_and_wait();
  ASSERT_FALSE(flushed);
  EXPECT_EQ(flushed.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(store->disk_consistent_lsn(), Lsn(100));
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(120), data(key, as_bytes("two")))));
  ASSERT_TRUE(is_ok(store->freeze(Lsn(120), {})));
  EXPECT_TRUE(store->freeze_would_wait());
  ASSERT_TRUE(is_ok(write_one(*store, Lsn(130), data(key, as_bytes("three")))));
  EXPECT_EQ(text_of(**store->get_latest(key, Lsn(110))), "one");
  EXPECT_EQ(text_of(**store->get_latest(key, Lsn(125))), "two");

  std::thread waiting([&] { EXPECT_TRUE(is_ok(store->freeze(Lsn(130), {}))); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(store->stats().frozen_layers, 2u);
  disk->set_full(false);
  waiting.join();
  ASSERT_TRUE(is_ok(store->flush_and_wait()));
  EXPECT_EQ(store->disk_consistent_lsn(), Lsn(130));
  EXPECT_EQ(store->stats().frozen_layers, 0u);
  EXPECT_EQ(store->stats().delta_layers, 3u);
  EXPECT_GE(store->stats().flush_errors, 1u);
  EXPECT_EQ(text_of(**store->get_latest(key, Lsn(110))), "one");
  EXPECT_EQ(text_of(**store->get_latest(key, Lsn(125))), "two");
}

TEST(Store, StopEndsAFreezeThatWaits) {
  const TemporaryFolder folder;
  const auto disk = std::make_shared<FaultDisk>(1);
  CreateOptions options = root_options();
  options.store.disk = disk;
  options.store.max_frozen_layers = 1;
  auto store = *TimelineStore::create(folder.path() / "t", options);
  disk->set_full(true);
  ASSERT_TRUE(is_ok(store->freeze(Lsn(110), {})));
  std::thread waiting([&] { EXPECT_EQ(store->freeze(Lsn(120), {}).error().code, ErrorCode::kCanceled); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  store->stop();
  waiting.join();
}

TEST(Store, ADamagedLayerHurtsOnlyTheReadsThatNeedIt) {
  const TemporaryFolder folder;
  const Key damaged = Key::rel_block(test_rel(1), 0);
  const Key healthy = Key::rel_block(test_rel(2), 0);
  {
    auto store = *TimelineStore::create(folder.path() / "t", root_options());
    ASSERT_TRUE(is_ok(write_one(*store, Lsn(110), record(damaged, Bytes(9000, std::byte{1}), true))));
    ASSERT_TRUE(is_ok(store->freeze(Lsn(110), {})));
    ASSERT_TRUE(is_ok(write_one(*store, Lsn(120), record(healthy, Bytes(9000, std::byte{2}), true))));
    ASSERT_TRUE(is_ok(store->freeze(Lsn(120), {})));
    ASSERT_TRUE(is_ok(store->flush_and_wait()));
  }
  std::filesystem::path victim;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "t" / "layers")) {
    if (entry.path().string().ends_with("65-000000000000006f")) victim = entry.path();
  }
  ASSERT_FALSE(victim.empty());
  std::fstream(victim, std::ios::in | std::ios::out | std::ios::binary).seekp(160) << "XXXX";
  {
    auto store = *TimelineStore::open(folder.path() / "t", no_ancestor);
    const auto read = store->get_versions(damaged, Lsn(200));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(read.error().message.find(victim.filename().string()), std::string::npos) << read.error().message;
    EXPECT_NE(read.error().message.find("at 128"), std::string::npos) << read.error().message;
    EXPECT_EQ(store->get_versions(healthy, Lsn(200))->size(), 1u);
    EXPECT_TRUE(store->get_versions(damaged, Lsn(109))->empty());
  }
  std::filesystem::remove(victim);
  auto store = *TimelineStore::open(folder.path() / "t", no_ancestor);
  EXPECT_EQ(store->get_versions(damaged, Lsn(200)).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(store->get_versions(healthy, Lsn(200))->size(), 1u);
}

// Goal: an image layer in the middle of a delta layer's LSN range (as compaction will make them) gives each version
// once, ends chains, and hides what it does not hold. Method: layers and index written by hand.
TEST(Store, AnImageLayerInsideADeltaLayersRangeEndsChainsAndHides) {
  const TemporaryFolder folder;
  const auto dir = folder.path() / "t";
  { auto store = *TimelineStore::create(dir, root_options(Lsn(5))); }
  const Key kept = Key::rel_block(test_rel(1), 0);
  const Key dropped = Key::rel_block(test_rel(1), 1);
  TimelineIndex index = *decode_timeline_index(*real_disk()->read_all(dir / "index"));
  index.disk_consistent_lsn = Lsn(100);
  const auto add_layer = [&](const LayerRange& range, const std::vector<std::pair<Position, ValueKind>>& versions) {
    auto writer = *LayerWriter::create(real_disk(), dir / "layers" / layer_name(range), range);
    for (const auto& [position, kind] : versions) {
      const bool will_init = kind == ValueKind::kImage || position.lsn == Lsn(10);
      ASSERT_TRUE(is_ok(writer->add(position, kind, will_init, as_bytes("value"))));
    }
    index.layers.push_back({range, writer->finish()->file_size});
  };
  constexpr auto kRecord = ValueKind::kRecord;
  add_layer({LayerKind::kDelta, {kept, dropped.next()}, LsnRange(Lsn(6), Lsn(101))},
            {{{kept, Lsn(10)}, kRecord}, {{kept, Lsn(20)}, kRecord}, {{kept, Lsn(30)}, kRecord}, {{kept, Lsn(40)}, kRecord},
             {{dropped, Lsn(10)}, kRecord}, {{dropped, Lsn(20)}, kRecord}});
  add_layer({LayerKind::kImage, KeyRange::all(), LsnRange(Lsn(30), Lsn(31))}, {{{kept, Lsn(30)}, ValueKind::kImage}});
  ASSERT_TRUE(is_ok(real_disk()->replace_file(dir / "index", encode_timeline_index(index))));

  auto store = *TimelineStore::open(dir, no_ancestor);
  const auto lsns = [&](const Key& key, Lsn at) {
    std::vector<uint64_t> found;
    const auto versions = *store->get_versions(key, at);
    for (const Version& version : versions) found.push_back(version.lsn.bytes());
    return found;
  };
  EXPECT_EQ(lsns(kept, Lsn(50)), (std::vector<uint64_t>{40, 30}));
  EXPECT_EQ((*store->get_versions(kept, Lsn(50)))[1].kind, ValueKind::kImage);
  EXPECT_EQ(lsns(kept, Lsn(30)), (std::vector<uint64_t>{30}));
  EXPECT_EQ(lsns(kept, Lsn(29)), (std::vector<uint64_t>{20, 10}));
  EXPECT_EQ(lsns(dropped, Lsn(29)), (std::vector<uint64_t>{20, 10}));
  EXPECT_EQ(lsns(dropped, Lsn(30)), (std::vector<uint64_t>{}));
  EXPECT_FALSE((*store->get_latest(dropped, Lsn(50))).has_value());
  EXPECT_EQ(store->list_versions(kept, Lsn(), Lsn(50))->size(), 4u);
  const auto scanned = [&](Lsn at) {
    size_t keys = 0;
    EXPECT_TRUE(is_ok(store->scan_latest(KeyRange::all(), at, [&](const Key&, const Version&) { return ++keys > 0; })));
    return keys;
  };
  EXPECT_EQ(scanned(Lsn(29)), 2u);
  EXPECT_EQ(scanned(Lsn(50)), 1u);
}

TEST(Store, FilesThatTheIndexDoesNotNameAreRemovedAtOpen) {
  const TemporaryFolder folder;
  { auto store = *TimelineStore::create(folder.path() / "t", root_options()); }
  const auto stray = folder.path() / "t" / "layers" / "left-by-a-crash";
  std::ofstream(stray) << "half a layer";
  auto store = *TimelineStore::open(folder.path() / "t", no_ancestor);
  EXPECT_FALSE(std::filesystem::exists(stray));
}

}  // namespace
}  // namespace helium::layer
