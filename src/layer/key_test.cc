#include "layer/key.h"

#include <gtest/gtest.h>

#include "layer/block_cache.h"
#include "layer/test_support.h"

namespace helium::layer {
namespace {

const pg::RelTag kRel{1663, 5, 16384, pg::Fork::kVm};

TEST(Key, PartsComeBack) {
  const Key block = Key::rel_block(kRel, 77);
  EXPECT_EQ(block.kind(), KeyKind::kRelBlock);
  EXPECT_EQ(block.rel(), kRel);
  EXPECT_EQ(block.blkno(), 77u);
  EXPECT_EQ(to_string(block), "rel_block 1663/5/16384_vm blk 77");
  const Key slru = Key::slru_block({pg::SlruKind::kMultixactOffsets, 0x1A}, 31);
  EXPECT_EQ(slru.slru_segment(), (pg::SlruSegment{pg::SlruKind::kMultixactOffsets, 0x1A}));
  EXPECT_EQ(slru.blkno(), 31u);
  EXPECT_EQ(to_string(slru), "slru_block pg_multixact/offsets/001A page 31");
  EXPECT_EQ(Key::twophase(0x123456789AB).number(), 0x123456789ABu);
  EXPECT_EQ(Key::aux_file(0xFEDCBA9876543210, 3).number(), 0xFEDCBA9876543210u);
  EXPECT_EQ(Key::aux_file(1, 3).slot(), 3);
  EXPECT_EQ(Key::repl_origin(65534).number(), 65534u);
  EXPECT_EQ(to_string(Key::repl_origin(3)), "repl_origin 3");
  EXPECT_EQ(Key::from_bytes(block.view()), block);
}

TEST(Key, OrderIsThatOfTheParts) {
  EXPECT_LT(Key::rel_block(kRel, 255), Key::rel_block(kRel, 256));
  EXPECT_LT(Key::rel_block({1663, 5, 255}, 9), Key::rel_block({1663, 5, 256}, 0));
  EXPECT_LT(Key::rel_size({9999, 9, 9, pg::Fork::kInit}), Key::rel_block({0, 0, 0}, 0));
  EXPECT_LT(Key::rel_block({UINT32_MAX, UINT32_MAX, UINT32_MAX, pg::Fork::kInit}, UINT32_MAX), Key::max());
  EXPECT_LT(Key(), Key::wal_position());
  EXPECT_EQ(Key::rel_block(kRel, 1).next() > Key::rel_block(kRel, 1), true);
  EXPECT_LE(Key::rel_block(kRel, 1).next(), Key::rel_block(kRel, 2));
  EXPECT_EQ(Key::rel_block(kRel, UINT32_MAX).next(), Key::rel_block({1663, 5, 16384, pg::Fork::kInit}, 0));
}

TEST(Key, RangesHoldJustTheirOwn) {
  EXPECT_TRUE(KeyRange::rel_sizes(1663, 5).contains(Key::rel_size({1663, 5, UINT32_MAX, pg::Fork::kInit})));
  EXPECT_TRUE(KeyRange::rel_sizes(1663, 5).contains(Key::rel_size({1663, 5, 0})));
  EXPECT_FALSE(KeyRange::rel_sizes(1663, 5).contains(Key::rel_size({1663, 6, 0})));
  EXPECT_FALSE(KeyRange::rel_sizes(1663, 5).contains(Key::rel_size({1663, 4, UINT32_MAX, pg::Fork::kInit})));
  EXPECT_FALSE(KeyRange::rel_sizes(1663, 5).contains(Key::rel_zero_range({1663, 5, 1})));
  EXPECT_FALSE(KeyRange::rel_sizes(1663, 5).contains(Key::rel_block({1663, 5, 1}, 0)));
  EXPECT_TRUE(KeyRange::rel_sizes(1663, UINT32_MAX).contains(Key::rel_size({1663, UINT32_MAX, 7})));
  EXPECT_FALSE(KeyRange::rel_sizes(1663, UINT32_MAX).contains(Key::rel_size({1664, 0, 0})));
  EXPECT_TRUE(KeyRange::rel_sizes(1663, 5, 7).contains(Key::rel_size({1663, 5, 7, pg::Fork::kInit})));
  EXPECT_FALSE(KeyRange::rel_sizes(1663, 5, 7).contains(Key::rel_size({1663, 5, 8})));
  EXPECT_TRUE(KeyRange::rel_blocks(kRel).contains(Key::rel_block(kRel, UINT32_MAX)));
  EXPECT_FALSE(KeyRange::rel_blocks(kRel).contains(Key::rel_block({1663, 5, 16384, pg::Fork::kInit}, 0)));
  EXPECT_FALSE(KeyRange::rel_blocks(kRel, 3, 5).contains(Key::rel_block(kRel, 5)));
  EXPECT_TRUE(KeyRange::all_of(KeyKind::kTwophase).contains(Key::twophase(UINT64_MAX)));
  EXPECT_FALSE(KeyRange::all_of(KeyKind::kTwophase).contains(Key::aux_file(0)));
  EXPECT_TRUE(KeyRange::all_of(KeyKind::kReplOrigin).contains(Key::repl_origin(65535)));
  EXPECT_FALSE(KeyRange::all_of(KeyKind::kReplOrigin).contains(Key::db_dir(0, 0)));
  EXPECT_TRUE(KeyRange::slru_sizes(pg::SlruKind::kClog).contains(Key::slru_size({pg::SlruKind::kClog, UINT32_MAX})));
  EXPECT_FALSE(KeyRange::slru_sizes(pg::SlruKind::kClog).contains(Key::slru_size({pg::SlruKind::kMultixactMembers, 0})));
  EXPECT_TRUE(KeyRange::slru_blocks({pg::SlruKind::kClog, 2}).contains(Key::slru_block({pg::SlruKind::kClog, 2}, 31)));
  EXPECT_FALSE(KeyRange::slru_blocks({pg::SlruKind::kClog, 2}).contains(Key::slru_block({pg::SlruKind::kClog, 3}, 0)));
  EXPECT_TRUE(KeyRange::rel_zero_ranges(kRel).contains(Key::rel_zero_range(kRel, 12)));
  EXPECT_TRUE(KeyRange::all().contains(Key::wal_position()));
}

// The hash decides where filter bits lie: a golden value.
TEST(Key, TheHashNeverChanges) {
  EXPECT_EQ(Key::rel_block(kRel, 77).hash(), 0x10B035B0E19B0FA1u);
}

TEST(BlockCache, IsBoundedAndDropsTheLeastRecentlyUsed) {
  BlockCache cache(1 << 20);
  const auto block = [](size_t size) { return std::make_shared<const Bytes>(size); };
  cache.insert(1, 0, block(1000));
  for (uint64_t i = 1; i < 2000; ++i) {
    cache.insert(1, i * 100, block(1000));
    EXPECT_TRUE(cache.find(1, 0)) << i;  // kept by use
    EXPECT_LE(cache.stats().bytes, 1u << 20);
  }
  EXPECT_FALSE(cache.find(1, 100));
  EXPECT_FALSE(cache.find(2, 0));
  cache.insert(3, 0, block(2 << 20));
  EXPECT_FALSE(cache.find(3, 0));  // too large to keep
  EXPECT_GT(cache.stats().bytes, 1u << 19);
}

}  // namespace
}  // namespace helium::layer
