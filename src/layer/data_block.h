// Data blocks of a layer file: versions sorted by (key, LSN), about 32 kB before compression.
// Full specification with a worked hex dump: docs/formats/layer_file.md.
//
// On disk a block is sealed: 16 bytes of header, then the payload.
//   offset  size  field
//        0     4  stored_size   payload bytes
//        4     4  raw_size      bytes after decompression
//        8     1  codec         BlockCodec
//        9     3  zero
//       12     4  crc32c        over the block's file offset (u64), bytes [0, 12) and the payload
// Raw, it is
//   u32 count; count entries one behind the other; u32 offsets[count] of the entries, from the start of the raw block
// and an entry is
//        0    18  key
//       18     8  lsn
//       26     1  kind          ValueKind
//       27     1  flags         kEntryWillInit | kEntryReference
//       28     4  value_size
//       32     …  the value, or, with kEntryReference, where an equal value lies in an earlier entry of this file:
//                 u64 block_offset, u32 block_size (sealed), u32 value_offset in the raw block.
//                 block_offset is this block's own and block_size 0 when it lies in this very block.
//
// Pure functions and views; safe from any thread.

#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "layer/key.h"
#include "layer/value.h"

namespace helium::layer {

inline constexpr size_t kBlockHeaderSize = 16;
inline constexpr size_t kBlockTargetSize = 32 << 10;  // a block is closed at this raw size
inline constexpr size_t kEntryHeaderSize = 32;
inline constexpr size_t kReferenceSize = 16;
inline constexpr size_t kValueSizeMax = size_t{1} << 30;            // PostgreSQL's longest record is shorter
inline constexpr size_t kRawBlockSizeMax = kValueSizeMax + (1 << 20);
inline constexpr uint8_t kEntryWillInit = 1;
inline constexpr uint8_t kEntryReference = 2;

// Stored in files: give new codecs new numbers.
enum class BlockCodec : uint8_t { kNone = 0, kLz4 = 1 };

// A place of a sealed block in its file.
struct BlockRef {
  uint64_t offset = 0;
  uint32_t size = 0;  // with its header
  friend bool operator==(const BlockRef&, const BlockRef&) = default;
};

struct ValueRef {
  BlockRef block;
  uint32_t value_offset = 0;
};

// What a version is sorted by.
struct Position {
  Key key;
  Lsn lsn;
  friend auto operator<=>(const Position&, const Position&) = default;
};

struct EntryView {
  Position position;
  ValueKind kind = ValueKind::kData;
  bool will_init = true;
  uint32_t value_size = 0;
  std::optional<ValueRef> reference;
  ByteView value;            // empty with a reference
  uint32_t value_offset = 0;  // of `value` in the raw block
};

Bytes seal_block(ByteView raw, uint64_t file_offset);

// The raw bytes of a sealed block. Errors: kTruncated: fewer bytes than its header promises; kCorrupt.
Result<Bytes> unseal_block(ByteView sealed, uint64_t file_offset);

class DataBlockBuilder {
 public:
  // Positions ascend strictly. Returns where the value lies in the raw block.
  uint32_t add(const Position& position, ValueKind kind, bool will_init, ByteView value);
  void add_reference(const Position& position, ValueKind kind, bool will_init, uint32_t value_size, const ValueRef& to);

  bool empty() const { return offsets_.empty(); }
  size_t raw_size() const { return sizeof(uint32_t) + entries_.size() + offsets_.size() * sizeof(uint32_t); }
  Bytes finish();  // the raw block; the builder is empty again

 private:
  void header(const Position& position, ValueKind kind, uint8_t flags, uint32_t value_size);
  ByteWriter entries_;
  std::vector<uint32_t> offsets_;
};

// A view of a raw block that validate() has accepted.
class DataBlock {
 public:
  // Checks everything that the other functions rely on. Errors: kCorrupt.
  static Status validate(ByteView raw, uint64_t file_offset);

  explicit DataBlock(ByteView raw) : raw_(raw), count_(load<uint32_t>(raw.data())) {}

  size_t count() const { return count_; }
  EntryView entry(size_t i) const;
  // Index of the first entry above (upper) or not below (lower) `wanted`; count() if there is none.
  size_t upper_bound(const Position& wanted) const;
  size_t lower_bound(const Position& wanted) const;
  // The value that a reference names. Errors: kCorrupt: no such value here.
  Result<ByteView> value_at(uint32_t value_offset, uint32_t value_size) const;

 private:
  uint32_t entry_offset(size_t i) const {
    return load<uint32_t>(raw_.data() + raw_.size() - (count_ - i) * sizeof(uint32_t));
  }
  Position position(size_t i) const;
  ByteView raw_;
  size_t count_;
};

}  // namespace helium::layer
