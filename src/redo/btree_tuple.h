// Btree pages and index tuples, as views over checked bytes.
//
// Special area of a page (16 bytes): prev u32, next u32, level u32, flags u16, cycle id u16.
// Index tuple: t_tid (block high u16, low u16, offset u16), t_info u16 (size in 13 bits), key. A posting list tuple
// has kIndexAltTid in t_info and kIsPosting in t_tid's offset; then t_tid's block number is where its heap TIDs
// begin, and the offset's low 12 bits are how many there are (6 bytes each).
// Pure. Source: PostgreSQL 15 nbtree.h, itup.h.

#pragma once

#include <cstdint>

#include "redo/page_edit.h"

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

inline constexpr uint32_t kIndexTupleHeader = 8;
inline constexpr uint16_t kIndexSizeMask = 0x1FFF;
inline constexpr uint16_t kIndexAltTid = 0x2000;
inline constexpr uint16_t kBtreeOffsetMask = 0x0FFF;
inline constexpr uint16_t kBtreeIsPosting = 0x2000;
inline constexpr uint32_t kTidSize = 6;

inline uint32_t index_tuple_size(ByteView tuple) { return load<uint16_t>(tuple.data() + 6) & kIndexSizeMask; }
inline uint32_t tid_blkno(const std::byte* tid) {
  return static_cast<uint32_t>(load<uint16_t>(tid)) << 16 | load<uint16_t>(tid + 2);
}
inline void set_tid_blkno(std::byte* tid, uint32_t blkno) {
  store(tid, static_cast<uint16_t>(blkno >> 16));
  store(tid + 2, static_cast<uint16_t>(blkno));
}
inline bool is_posting(ByteView tuple) {
  return (load<uint16_t>(tuple.data() + 6) & kIndexAltTid) != 0 &&
         (load<uint16_t>(tuple.data() + 4) & kBtreeIsPosting) != 0;
}

// The index tuple that begins `bytes`, cut to its own size. Errors: kRedo.
inline Result<ByteView> index_tuple_at(ByteView bytes) {
  if (bytes.size() < kIndexTupleHeader) return bad("index tuple of {} bytes", bytes.size());
  const uint32_t size = index_tuple_size(bytes);
  if (size < kIndexTupleHeader || size > bytes.size())
    return bad("index tuple of {} bytes with {} at hand", size, bytes.size());
  return bytes.first(size);
}
// Item `number` of the page as an index tuple (its own size, at most the item's length).
inline Result<ByteView> get_index_tuple(MutableByteView page, uint16_t number) {
  HELIUM_ASSIGN(const MutableByteView item, get_item(page, number));
  return index_tuple_at(item);
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
