#include "layer/timeline_index.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "layer/test_support.h"

namespace helium::layer {
namespace {

TimelineIndex example() {
  TimelineIndex index;
  index.timeline_id.bytes.fill(0xAB);
  index.start_lsn = Lsn(0x1000);
  index.disk_consistent_lsn = Lsn(0x3000);
  index.ancestor = TimelineIndex::Ancestor{TimelineId{}, Lsn(0x1000)};
  index.ancestor->id.bytes.fill(0xCD);
  index.sequence = 7;
  index.metadata = bytes_of("metadata");
  index.layers.push_back({{LayerKind::kDelta,
                           {Key::checkpoint(), Key::rel_block(test_rel(9), 5)},
                           LsnRange(Lsn(0x1001), Lsn(0x3001))},
                          12345});
  index.layers.push_back({{LayerKind::kImage, KeyRange::all(), LsnRange(Lsn(0x1000), Lsn(0x1001))}, 99});
  return index;
}

TEST(TimelineIndex, RoundTripEveryTruncationAndEveryFlippedBit) {
  for (const bool branch : {true, false}) {
    TimelineIndex index = example();
    if (!branch) index.ancestor.reset();
    Bytes bytes = encode_timeline_index(index);
    ASSERT_TRUE(is_ok(decode_timeline_index(bytes)));
    EXPECT_EQ(*decode_timeline_index(bytes), index);
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_EQ(decode_timeline_index(ByteView(bytes).first(size)).error().code, ErrorCode::kTruncated) << size;
    }
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      bytes[bit / 8] ^= std::byte(1u << bit % 8);
      const auto decoded = decode_timeline_index(bytes);
      ASSERT_FALSE(decoded) << "bit " << bit;
      EXPECT_TRUE(decoded.error().code == ErrorCode::kCorrupt || decoded.error().code == ErrorCode::kTruncated);
      bytes[bit / 8] ^= std::byte(1u << bit % 8);
    }
  }
}

TEST(TimelineIndex, ANewerFormatIsRefusedAsSuch) {
  Bytes bytes = encode_timeline_index(example());
  bytes[4] = std::byte{2};
  store(&bytes[bytes.size() - 4], crc32c(ByteView(bytes).first(bytes.size() - 4)));
  EXPECT_EQ(decode_timeline_index(bytes).error().code, ErrorCode::kTooNew);
}

}  // namespace
}  // namespace helium::layer
