// Index pages of a layer file: a B-tree over the data blocks, built in one go from sorted input.
// Full specification with a worked hex dump: docs/formats/layer_file.md.
//
//   offset  size  field
//        0     4  crc32c    over bytes [4, kIndexPageSize)
//        4     4  page_no   from 0; leaves first, in order, then each higher level; the root is the last page
//        8     2  count     entries, at least 1
//       10     1  level     0: leaf
//       11     5  zero
//       16     …  entries; zeros up to the end
// A leaf entry is the position (key 18, lsn 8) of a data block's first version, block_offset u64, block_size u32;
// a higher one the first position of a child and its page_no u32.
//
// Pure functions and views; safe from any thread.

#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "layer/data_block.h"
#include "layer/layer_header.h"

namespace helium::layer {

inline constexpr size_t kIndexPageHeaderSize = 16;
inline constexpr size_t kPositionSize = kKeySize + 8;
inline constexpr size_t kLeafEntrySize = kPositionSize + 8 + 4;
inline constexpr size_t kInnerEntrySize = kPositionSize + 4;
inline constexpr size_t kLeafEntriesMax = (kIndexPageSize - kIndexPageHeaderSize) / kLeafEntrySize;
inline constexpr size_t kInnerEntriesMax = (kIndexPageSize - kIndexPageHeaderSize) / kInnerEntrySize;
static_assert(kLeafEntriesMax == 215 && kInnerEntriesMax == 272, "on disk since format version 1");

struct LeafEntry {
  Position first;
  BlockRef block;
};

struct BuiltIndex {
  Bytes pages;
  uint32_t page_count = 0;
  uint32_t levels = 0;
};
BuiltIndex build_index(std::span<const LeafEntry> leaves);  // ascending, not empty

// A view of a page that validate() has accepted.
class IndexPage {
 public:
  // Errors: kCorrupt: checksum or structure, or another page's number. Whoever descends checks the level.
  static Status validate(ByteView page, uint32_t page_no);

  explicit IndexPage(ByteView page) : page_(page) {}

  uint8_t level() const { return static_cast<uint8_t>(page_[10]); }
  bool is_leaf() const { return level() == 0; }
  size_t count() const { return load<uint16_t>(&page_[8]); }
  Position position(size_t i) const;
  BlockRef block(size_t i) const;       // leaf
  uint32_t child_page(size_t i) const;  // higher levels
  // Entries whose position is <= wanted: the last of them is where to look. 0: everything lies behind `wanted`.
  size_t count_up_to(const Position& wanted) const;

 private:
  const std::byte* entry(size_t i) const {
    return page_.data() + kIndexPageHeaderSize + i * (is_leaf() ? kLeafEntrySize : kInnerEntrySize);
  }
  ByteView page_;
};

}  // namespace helium::layer
