// Posting list tuples: forming them, taking TIDs out, swapping a TID in. Bytes come out as nbtree writes them.
//
// Tuples are at most kIndexSizeMask bytes; results own their bytes on the stack. Errors: kRedo. Pure.
// Source: PostgreSQL 15 nbtdedup.c _bt_form_posting, _bt_update_posting, _bt_swap_posting.

#pragma once

#include <array>

#include "redo/btree_tuple.h"

namespace helium::redo {

// An index tuple with its own bytes.
class IndexTupleBuffer {
 public:
  ByteView view() const { return std::span(bytes_).first(size_); }
  std::byte* data() { return bytes_.data(); }
  // Zeroed bytes of this size. Errors: kRedo when no index tuple can be that long.
  Status resize(uint32_t size);
  static Result<IndexTupleBuffer> copy_of(ByteView tuple);

 private:
  std::array<std::byte, pg::kBlockSize> bytes_;
  uint32_t size_ = 0;
};

// A tuple with base's key (its first key_size bytes) and these heap TIDs: a plain tuple if there is one only.
Result<IndexTupleBuffer> form_posting(ByteView base, uint32_t key_size, ByteView tids);
// `posting` without the TIDs whose indexes (u16, ascending, unaligned) are listed; at least one stays.
Result<IndexTupleBuffer> remove_from_posting(ByteView posting, ByteView deleted);
// Puts new_item's TID into the posting list at `index`; the list's last TID goes into new_item instead.
// Returns the new posting list tuple, as long as the old one.
Result<IndexTupleBuffer> swap_posting(IndexTupleBuffer& new_item, ByteView posting, uint32_t index);

}  // namespace helium::redo
