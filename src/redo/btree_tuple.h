// Btree pages and index tuples, as views over checked bytes.
//
// Special area of a page (16 bytes): prev u32, next u32, level u32, flags u16, cycle id u16.
// A posting list tuple has kIndexAltTid in t_info and kIsPosting in t_tid's offset; then t_tid's block number is where its heap TIDs
// begin, and the offset's low 12 bits are how many there are (6 bytes each).
// Pure. Source: PostgreSQL 15 nbtree.h, itup.h.

#pragma once

#include <cstdint>

#include "redo/index_tuple.h"

namespace helium::redo {

inline constexpr uint32_t kBtreeOpaqueSize = 16;
inline constexpr uint16_t kBtpLeaf = 0x0001;
inline constexpr uint16_t kBtpRoot = 0x0002;
inline constexpr uint16_t kBtpDeleted = 0x0004;
inline constexpr uint16_t kBtpMeta = 0x0008;
inline constexpr uint16_t kBtpHalfDead = 0x0010;
inline constexpr uint16_t kBtpSplitEnd = 0x0020;
inline constexpr uint16_t kBtpHasGarbage = 0x0040;
inline constexpr uint16_t kBtpIncompleteSplit = 0x0080;
inline constexpr uint16_t kBtpHasFullXid = 0x0100;
inline constexpr uint32_t kBtreeNone = 0;  // P_NONE: no sibling
inline constexpr uint16_t kBtreeHighKey = 1;

// The special area of a page that btree_opaque() accepted.
class BtreeOpaque {
 public:
  explicit BtreeOpaque(std::byte* at) : at_(at) {}
  uint32_t prev() const { return load<uint32_t>(at_); }
  uint32_t next() const { return load<uint32_t>(at_ + 4); }
  uint16_t flags() const { return load<uint16_t>(at_ + 12); }
  void set_prev(uint32_t v) { store(at_, v); }
  void set_next(uint32_t v) { store(at_ + 4, v); }
  void set_level(uint32_t v) { store(at_ + 8, v); }
  void set_flags(uint16_t v) { store(at_ + 12, v); }
  void clear_flags(uint16_t bits) { set_flags(flags() & static_cast<uint16_t>(~bits)); }
  void set_cycle_id(uint16_t v) { store(at_ + 14, v); }
  bool is_rightmost() const { return next() == kBtreeNone; }
  uint16_t first_data_key() const { return is_rightmost() ? 1 : 2; }

 private:
  std::byte* at_;
};

inline Result<BtreeOpaque> btree_opaque(MutableByteView page) {
  HELIUM_TRY(check_page_pointers(page));
  if (pg::page_special(page) != pg::kBlockSize - kBtreeOpaqueSize)
    return bad("special area at {}", pg::page_special(page));
  return BtreeOpaque(page.data() + pg::page_special(page));
}
// _bt_pageinit: an empty page.
inline BtreeOpaque init_btree_page(MutableByteView page) {
  pg::page_init(page, kBtreeOpaqueSize);
  return BtreeOpaque(page.data() + pg::kBlockSize - kBtreeOpaqueSize);
}

inline constexpr uint16_t kIndexAltTid = 0x2000;
inline constexpr uint16_t kBtreeOffsetMask = 0x0FFF;
inline constexpr uint16_t kBtreeIsPosting = 0x2000;

inline bool is_posting(ByteView tuple) {
  return (load<uint16_t>(tuple.data() + 6) & kIndexAltTid) != 0 &&
         (load<uint16_t>(tuple.data() + 4) & kBtreeIsPosting) != 0;
}

// The heap TIDs of a tuple that is no pivot: its posting list, or its own TID.
struct TidList {
  ByteView tids;         // 6 bytes each
  uint32_t key_size = 0; // bytes of the tuple before its posting list; the whole tuple if it has none
  uint32_t count() const { return static_cast<uint32_t>(tids.size() / kTidSize); }
};
inline Result<TidList> tid_list_of(ByteView tuple) {
  if (!is_posting(tuple)) return TidList{tuple.first(kTidSize), static_cast<uint32_t>(tuple.size())};
  const uint32_t count = load<uint16_t>(tuple.data() + 4) & kBtreeOffsetMask;
  const uint32_t start = tid_blkno(tuple.data());
  if (start < kIndexTupleHeader || start > tuple.size() || count * kTidSize > tuple.size() - start)
    return bad("posting list of {} at {} in a tuple of {} bytes", count, start, tuple.size());
  return TidList{tuple.subspan(start, count * kTidSize), start};
}

}  // namespace helium::redo
