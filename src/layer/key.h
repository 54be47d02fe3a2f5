// Key: the name of one versioned thing in a timeline: a block, a size, a relation map, a counter.
//
// Layout: 18 bytes, compared as bytes (which is the order of the fields, since each is big-endian):
//
//   offset  size  field
//        0     1  kind   KeyKind
//        1     4  a      spcnode             | SLRU kind | high half of a number
//        5     4  b      dbnode              | segno     | low half of a number
//        9     4  c      relnode
//       13     1  d      forknum             | slot
//       14     4  e      blkno               | page      | first block of a range
//
// The small things (sizes, directories, maps) have kinds of their own, ahead of all blocks, so that a scan of the
// sizes of a database touches no block keys. Keys are stored in layer files: kinds keep their numbers for ever.
// Plain values; safe from any thread. Byte table with example: docs/formats/layer_file.md.

#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#include "base/bytes.h"
#include "pg/rel.h"

namespace helium::layer {

inline constexpr size_t kKeySize = 18;

enum class KeyKind : uint8_t {
  kWalPosition = 0x01,
  kControlFile = 0x02,
  kCheckpoint = 0x03,
  kTwophase = 0x04,
  kAuxFile = 0x05,
  kReplOrigin = 0x06,
  kDbDir = 0x10,
  kRelmap = 0x11,
  kRelSize = 0x12,
  kRelZeroRange = 0x13,
  kSlruSize = 0x20,
  kSlruBlock = 0x21,
  kRelBlock = 0x30,
};

struct KeyRange;

class Key {
 public:
  constexpr Key() = default;  // the smallest key; no constructor below makes it
  static Key from_bytes(ByteView bytes);  // exactly kKeySize bytes
  static Key max();                       // above every key that a constructor makes

  static Key wal_position();
  static Key control_file();
  static Key checkpoint();
  static Key twophase(uint64_t xid);  // 64 bits: version 17 names these files by full xid
  static Key aux_file(uint64_t name_hash, uint8_t slot = 0);  // slot: tells colliding names apart
  static Key repl_origin(uint16_t id);
  static Key db_dir(uint32_t spcnode, uint32_t dbnode);
  static Key relmap(uint32_t spcnode, uint32_t dbnode);  // the shared map: 1664, 0
  static Key rel_size(const pg::RelTag& rel);
  static Key rel_zero_range(const pg::RelTag& rel, uint32_t first_blkno = 0);
  static Key slru_size(const pg::SlruSegment& segment);
  static Key slru_block(const pg::SlruSegment& segment, uint32_t page);
  static Key rel_block(const pg::RelTag& rel, uint32_t blkno);

  KeyKind kind() const { return static_cast<KeyKind>(bytes_[0]); }
  ByteView view() const { return std::as_bytes(std::span(bytes_)); }
  // The parts back; meaningful only for the kinds named.
  pg::RelTag rel() const;               // kRelSize, kRelZeroRange, kRelBlock; a forknum above 3 is given as it is
  pg::SlruSegment slru_segment() const;  // kSlruSize, kSlruBlock
  uint32_t spcnode() const { return field(1); }  // kDbDir, kRelmap, kRel…
  uint32_t dbnode() const { return field(5); }   // likewise
  uint32_t blkno() const { return field(14); }   // kRelBlock, kSlruBlock (page), kRelZeroRange (first block)
  uint64_t number() const { return uint64_t{field(1)} << 32 | field(5); }  // kTwophase (xid), kAuxFile (hash), kReplOrigin
  uint8_t slot() const { return bytes_[13]; }    // kAuxFile

  // The smallest key above this one. Precondition: *this is not 18 times 0xFF.
  Key next() const;
  uint64_t hash() const;  // stored in filters: never changes

  friend bool operator==(const Key& x, const Key& y) { return std::memcmp(x.bytes_.data(), y.bytes_.data(), kKeySize) == 0; }
  friend std::strong_ordering operator<=>(const Key& x, const Key& y) {
    return std::memcmp(x.bytes_.data(), y.bytes_.data(), kKeySize) <=> 0;
  }

 private:
  Key(KeyKind kind, uint32_t a, uint32_t b, uint32_t c, uint8_t d, uint32_t e);
  uint32_t field(size_t offset) const { return __builtin_bswap32(load<uint32_t>(bytes_.data() + offset)); }

  std::array<uint8_t, kKeySize> bytes_{};
};

// "rel_block 1663/5/16384 blk 7", "rel_size 1663/5/16384_vm", "slru_block pg_xact/0000 page 3", "checkpoint".
std::string to_string(const Key& key);
inline std::string format_as(const Key& key) { return to_string(key); }

// Half-open: [start, end). Empty when end <= start.
struct KeyRange {
  Key start;
  Key end;

  static KeyRange all();
  static KeyRange all_of(KeyKind kind);                              // all db_dirs, all two-phase files, …
  static KeyRange rel_sizes(uint32_t spcnode, uint32_t dbnode);      // all forks of all relations of a database
  static KeyRange rel_sizes(uint32_t spcnode, uint32_t dbnode, uint32_t relnode);  // all forks of one relation
  static KeyRange rel_blocks(const pg::RelTag& rel);                 // one fork
  static KeyRange rel_blocks(const pg::RelTag& rel, uint32_t from_blkno, uint32_t to_blkno);  // half-open
  static KeyRange rel_blocks(uint32_t spcnode, uint32_t dbnode);     // all blocks of a database
  static KeyRange rel_zero_ranges(const pg::RelTag& rel);            // one fork
  static KeyRange slru_sizes(pg::SlruKind kind);                     // all segments of a kind
  static KeyRange slru_blocks(const pg::SlruSegment& segment);

  bool contains(const Key& key) const { return start <= key && key < end; }
  bool overlaps(const KeyRange& other) const { return start < other.end && other.start < end; }
  friend bool operator==(const KeyRange&, const KeyRange&) = default;
};

}  // namespace helium::layer

template <>
struct std::hash<helium::layer::Key> {
  size_t operator()(const helium::layer::Key& key) const noexcept { return key.hash(); }
};
