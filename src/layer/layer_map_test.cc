#include "layer/layer_map.h"

#include <gtest/gtest.h>

#include "layer/test_support.h"

namespace helium::layer {
namespace {

// Goal: a search gives exactly the layers that overlap, newest first. Method: random layers, compared with a loop.
TEST(LayerMap, FindsWhatALoopFinds) {
  std::mt19937_64 random(1);
  for (const size_t count : {0, 1, 2, 15, 16, 17, 100, 255, 256, 257, 700}) {
    LayerMap::Layers layers;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t from = random() % 1000;
      const KeyRange keys = random() % 8 == 0 ? KeyRange::all()
                                              : KeyRange{Key::rel_block(test_rel(1), from),
                                                         Key::rel_block(test_rel(1), from + 1 + random() % 100)};
      const uint64_t lsn = 1 + random() % 5000;
      const bool image = random() % 4 == 0;
      const LayerRange range{image ? LayerKind::kImage : LayerKind::kDelta, keys,
                             LsnRange(Lsn(lsn), Lsn(lsn + 1 + (image ? 0 : random() % 300)))};
      layers.push_back(std::make_shared<LayerFile>(real_disk(), BlockCache::process_wide(), "none", LayerDesc{range, 1}));
    }
    const LayerMap map(layers);
    for (int i = 0; i < 300; ++i) {
      const Key key = Key::rel_block(test_rel(1), random() % 1100);
      const KeyRange keys{key, i % 2 == 0 ? key.next() : Key::rel_block(test_rel(1), random() % 1200)};
      const Lsn at(random() % 6000);
      std::set<const LayerFile*> expected;
      for (const auto& layer : layers) {
        if (layer->range().keys.overlaps(keys) && layer->range().lsns.start() <= at) expected.insert(layer.get());
      }
      std::set<const LayerFile*> found;
      Lsn last = Lsn::max();
      LayerMap::Search search(map, keys, at);
      while (const auto* layer = search.next()) {
        EXPECT_LE((*layer)->range().lsns.end(), last);
        last = (*layer)->range().lsns.end();
        EXPECT_TRUE(found.insert(layer->get()).second);
      }
      ASSERT_TRUE(found == expected) << count << " layers, search " << i;
    }
  }
}

TEST(LayerName, NamesKeyRangeAndLsnRange) {
  const KeyRange keys{Key::checkpoint(), Key::rel_block(test_rel(1), 2)};
  EXPECT_EQ(layer_name({LayerKind::kDelta, keys, LsnRange(Lsn(0x10), Lsn(0x20))}),
            "030000000000000000000000000000000000-30" "0000067f" "00000005" "00000001" "00" "00000002"
            "__0000000000000010-0000000000000020");
  EXPECT_EQ(layer_name({LayerKind::kImage, keys, LsnRange(Lsn(0x10), Lsn(0x11))}).substr(73), "__0000000000000010");
}

}  // namespace
}  // namespace helium::layer
