// Goal: a store answers as a std::map does, whatever is open, frozen, on disk, inherited or reopened.
// Method: random puts, freezes, flushes, branches and restarts; after a restart the lost writes are written again, as
// ingest does. Then random keys, LSNs and ranges of every timeline are compared.

#include <gtest/gtest.h>

#include <memory>

#include "layer/test_support.h"

namespace helium::layer {
namespace {

struct LoggedPut {
  Key key;
  Content content;
};

struct Timeline {
  TimelineId id;
  std::filesystem::path dir;
  Timeline* ancestor = nullptr;
  Lsn start_lsn;
  Lsn last_lsn;
  std::shared_ptr<TimelineStore> store;
  std::unique_ptr<Model> model;
  std::vector<std::pair<Lsn, std::vector<LoggedPut>>> wal;  // every write, in order
};

class World {
 public:
  explicit World(uint64_t seed) : random_(seed), cache_(std::make_shared<BlockCache>(1 << 20)) {
    for (uint32_t i = 0; i < 12; ++i) {
      keys_.push_back(Key::rel_block(test_rel(1 + i / 4), i % 4));
      keys_.push_back(Key::rel_size(test_rel(1 + i)));
    }
    keys_.push_back(Key::wal_position());
    keys_.push_back(Key::slru_block({pg::SlruKind::kClog, 0}, 3));
    add_timeline(nullptr, Lsn(1000));
    if (pick(2) == 0) import();
  }

  void step() {
    Timeline& timeline = *timelines_[pick(timelines_.size())];
    const uint64_t choice = pick(100);
    if (choice < 70) {
      write(timeline);
    } else if (choice < 84) {
      ASSERT_TRUE(is_ok(timeline.store->freeze(timeline.last_lsn, bytes_of(to_string(timeline.last_lsn)))));
    } else if (choice < 90) {
      ASSERT_TRUE(is_ok(timeline.store->flush_and_wait()));
    } else if (choice < 93 && timelines_.size() < 6) {
      add_timeline(&timeline, Lsn(timeline.start_lsn.bytes() + pick(timeline.last_lsn - timeline.start_lsn + 1)));
    } else if (choice < 95) {
      restart();
    } else {
      check(timeline);
    }
  }

  void check_all() {
    for (const auto& timeline : timelines_) {
      for (int i = 0; i < 10; ++i) check(*timeline);
    }
  }

 private:
  uint64_t pick(uint64_t below) { return random_() % below; }

  StoreOptions options() {
    StoreOptions options;
    options.cache = cache_;
    options.max_frozen_layers = 3;
    return options;
  }

  void add_timeline(Timeline* ancestor, Lsn lsn) {
    auto timeline = std::make_unique<Timeline>();
    timeline->id.bytes[0] = static_cast<uint8_t>(timelines_.size() + 1);
    timeline->dir = folder_.path() / std::to_string(timelines_.size());
    timeline->ancestor = ancestor;
    timeline->start_lsn = timeline->last_lsn = lsn;
    timeline->model = std::make_unique<Model>(ancestor ? ancestor->model.get() : nullptr, lsn);
    CreateOptions create;
    create.timeline_id = timeline->id;
    create.start_lsn = lsn;
    if (ancestor != nullptr) {
      create.ancestor = ancestor->store;
      create.ancestor_lsn = lsn;
    }
    create.store = options();
    auto store = TimelineStore::create(timeline->dir, create);
    ASSERT_TRUE(is_ok(store));
    timeline->store = *store;
    timelines_.push_back(std::move(timeline));
  }

  void import() {
    Timeline& root = *timelines_[0];
    auto import = *root.store->begin_import();
    for (const Key& key : keys_) {
      if (pick(2) == 0) continue;
      const Content content{ValueKind::kImage, true, Bytes(8192, static_cast<std::byte>(pick(256)))};
      ASSERT_TRUE(is_ok(import->add(key, content.kind, content.bytes)));
      root.model->put(root.start_lsn, key, content);
    }
    ASSERT_TRUE(is_ok(import->finish(bytes_of("imported"))));
  }

  Content random_content() {
    const auto fill = [&](size_t size) { return Bytes(size, static_cast<std::byte>(pick(256))); };
    switch (pick(8)) {
      case 0: return {ValueKind::kTombstone, true, {}};
      case 1: return {ValueKind::kZeroPage, true, {}};
      case 2: return {ValueKind::kImage, true, fill(8192)};
      case 3: return {ValueKind::kData, true, fill(pick(30))};
      case 4: return {ValueKind::kRecord, true, fill(pick(3000))};
      default: return {ValueKind::kRecord, false, fill(1 + pick(200))};
    }
  }

  void write(Timeline& timeline) {
    timeline.last_lsn = timeline.last_lsn + 1 + pick(20);
    std::vector<LoggedPut> puts;
    const size_t count = 1 + pick(pick(10) == 0 ? 30 : 4);
    for (size_t i = 0; i < count; ++i) {
      Content content = random_content();
      if (i > 0 && pick(3) == 0) content = puts.back().content;  // a record of several keys
      puts.push_back({keys_[pick(keys_.size())], std::move(content)});
    }
    for (const LoggedPut& put : puts) timeline.model->put(timeline.last_lsn, put.key, put.content);
    write_to_store(timeline, timeline.last_lsn, puts);
    timeline.wal.emplace_back(timeline.last_lsn, std::move(puts));
  }

  // Puts of equal content share their bytes, as the keys of one record do.
  void write_to_store(Timeline& timeline, Lsn lsn, const std::vector<LoggedPut>& logged) {
    std::vector<Put> puts;
    for (const LoggedPut& put : logged) {
      ByteView bytes = put.content.bytes;
      for (const Put& other : puts) {
        if (std::ranges::equal(other.bytes, bytes)) bytes = other.bytes;
      }
      puts.push_back({put.key, put.content.kind, put.content.will_init, bytes});
    }
    ASSERT_TRUE(is_ok(timeline.store->write(lsn, puts)));
  }

  void restart() {
    for (auto it = timelines_.rbegin(); it != timelines_.rend(); ++it) (*it)->store.reset();
    if (pick(2) == 0) cache_ = std::make_shared<BlockCache>(pick(2) << 20);
    for (const auto& timeline : timelines_) {
      auto store = TimelineStore::open(
          timeline->dir,
          [&](const TimelineId& id) -> Result<std::shared_ptr<TimelineStore>> {
            CHECK(timeline->ancestor != nullptr && timeline->ancestor->id == id);
            return timeline->ancestor->store;
          },
          options());
      ASSERT_TRUE(is_ok(store));
      timeline->store = *store;
      for (const auto& [lsn, puts] : timeline->wal) {
        if (timeline->store->disk_consistent_lsn() < lsn) write_to_store(*timeline, lsn, puts);
      }
    }
  }

  void check(Timeline& timeline) {
    const auto random_lsn = [&] { return Lsn(990 + pick(timeline.last_lsn.bytes() - 990 + 10)); };
    for (int i = 0; i < 10; ++i) expect_same(*timeline.store, *timeline.model, keys_[pick(keys_.size())], random_lsn());
    const Key& key = keys_[pick(keys_.size())];
    const Lsn after = random_lsn();
    const Lsn at = random_lsn();
    const auto listed = timeline.store->list_versions(key, after, at);
    ASSERT_TRUE(is_ok(listed));
    EXPECT_TRUE(contents(*listed) == timeline.model->all(key, after, at));
    expect_same_scan(*timeline.store, *timeline.model, KeyRange::all(), random_lsn());
    expect_same_scan(*timeline.store, *timeline.model, KeyRange::rel_sizes(1663, 5), random_lsn());
    Key from = keys_[pick(keys_.size())];
    Key to = keys_[pick(keys_.size())];
    if (to < from) std::swap(from, to);
    expect_same_scan(*timeline.store, *timeline.model, {from, to}, random_lsn());
  }

  std::mt19937_64 random_;
  const TemporaryFolder folder_;
  std::shared_ptr<BlockCache> cache_;
  std::vector<Key> keys_;
  std::vector<std::unique_ptr<Timeline>> timelines_;
};

TEST(StoreRandom, AnswersAsAMapDoes) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    World world(seed);
    for (int i = 0; i < 300; ++i) {
      world.step();
      if (::testing::Test::HasFailure()) {
        ADD_FAILURE() << "at step " << i;
        return;
      }
    }
    world.check_all();
  }
}

}  // namespace
}  // namespace helium::layer
