// Index tuples as btree, hash, GIN and GiST share them, over untrusted bytes.
//
// t_tid (block high u16, block low u16, offset u16), t_info u16 (the size in 13 bits), key.
// Pure. Source: PostgreSQL 15 itup.h, itemptr.h.

#pragma once

#include <cstdint>

#include "redo/page_edit.h"

namespace helium::redo {

inline constexpr uint32_t kIndexTupleHeader = 8;
inline constexpr uint16_t kIndexSizeMask = 0x1FFF;
inline constexpr uint32_t kTidSize = 6;
inline constexpr uint32_t kNoBlock = 0xFFFFFFFF;  // InvalidBlockNumber

inline uint32_t index_tuple_size(ByteView tuple) { return load<uint16_t>(tuple.data() + 6) & kIndexSizeMask; }
inline uint32_t tid_blkno(const std::byte* tid) {
  return static_cast<uint32_t>(load<uint16_t>(tid)) << 16 | load<uint16_t>(tid + 2);
}
inline void set_tid_blkno(std::byte* tid, uint32_t blkno) {
  store(tid, static_cast<uint16_t>(blkno >> 16));
  store(tid + 2, static_cast<uint16_t>(blkno));
}
inline void set_tid(std::byte* tid, uint32_t blkno, uint16_t offset) {
  set_tid_blkno(tid, blkno);
  store(tid + 4, offset);
}

// The index tuple that begins `bytes`, cut to its own size. Errors: kRedo.
inline Result<ByteView> index_tuple_at(ByteView bytes) {
  if (bytes.size() < kIndexTupleHeader) return bad("index tuple of {} bytes", bytes.size());
  const uint32_t size = index_tuple_size(bytes);
  if (size < kIndexTupleHeader || size > bytes.size())
    return bad("index tuple of {} bytes with {} at hand", size, bytes.size());
  return bytes.first(size);
}
// The same, and `bytes` moves on behind it.
inline Result<ByteView> take_index_tuple(ByteView& bytes) {
  HELIUM_ASSIGN(const ByteView tuple, index_tuple_at(bytes));
  bytes = bytes.subspan(tuple.size());
  return tuple;
}
// Item `number` of the page as an index tuple (its own size, at most the item's length).
inline Result<ByteView> get_index_tuple(MutableByteView page, uint16_t number) {
  HELIUM_ASSIGN(const MutableByteView item, get_item(page, number));
  return index_tuple_at(item);
}

}  // namespace helium::redo
