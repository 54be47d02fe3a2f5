// What the redo of RM_HEAP_ID and RM_HEAP2_ID share: finding and inserting tuples. Errors: kRedo.
// Source: PostgreSQL 15 heapam.c.

#pragma once

#include <array>
#include <cstring>

#include "redo/heap_records.h"
#include "redo/heap_tuple.h"
#include "redo/rmgr_redo.h"

namespace helium::redo {

// A normal tuple with a whole header.
inline Result<MutableByteView> get_heap_tuple(MutableByteView page, uint16_t offnum) {
  HELIUM_ASSIGN(const pg::ItemId id, get_item_id(page, offnum));
  if (id.flags != pg::ItemFlags::kNormal) return bad("line pointer {} is not a tuple's", offnum);
  HELIUM_ASSIGN(const MutableByteView bytes, get_item(page, offnum));
  if (bytes.size() < kHeapTupleHeaderSize) return bad("tuple {} of {} bytes", offnum, bytes.size());
  return bytes;
}

// PageInit if the record says that its tuple is the first of the page; WILL_INIT must say the same.
inline Status init_heap_page_if_told(const BlockRedo& redo) {
  const bool init = (redo.record.info & kHeapInitPage) != 0;
  if (init != redo.ref.will_init) return bad("INIT_PAGE and WILL_INIT disagree");
  if (init) pg::page_init(redo.page, 0);
  return {};
}

struct TupleHeaderInWal {
  uint16_t infomask2 = 0;
  uint16_t infomask = 0;
  uint8_t hoff = 0;
};

// A new tuple of the record's transaction; `body` is what follows the 23 header bytes.
inline Status insert_heap_tuple(const BlockRedo& redo, uint16_t offnum, TupleHeaderInWal header, ByteView body,
                                uint32_t xmax = 0) {
  const size_t size = kHeapTupleHeaderSize + body.size();
  if (size > kMaxHeapTupleSize) return bad("tuple of {} bytes", size);
  std::array<std::byte, kMaxHeapTupleSize> bytes;
  std::memset(bytes.data(), 0, kHeapTupleHeaderSize);
  if (!body.empty()) std::memcpy(bytes.data() + kHeapTupleHeaderSize, body.data(), body.size());
  HeapTuple tuple(bytes.data());
  tuple.set_infomask2(header.infomask2);
  tuple.set_infomask(header.infomask);
  tuple.set_hoff(header.hoff);
  tuple.set_xmin(redo.record.xid);
  tuple.set_xmax(xmax);
  tuple.set_first_command();
  tuple.set_ctid(redo.context.blkno, offnum);
  return add_item(redo.page, std::span(bytes).first(size), offnum, AddMode::kHeap);
}

inline void clear_all_visible(MutableByteView page) {
  pg::set_page_flags(page, pg::page_flags(page) & static_cast<uint16_t>(~pg::kPdAllVisible));
}
inline void set_all_visible(MutableByteView page) { pg::set_page_flags(page, pg::page_flags(page) | pg::kPdAllVisible); }

// PageSetPrunable: pd_prune_xid becomes the older one.
inline void set_prunable(MutableByteView page, uint32_t xid) {
  const uint32_t present = pg::page_prune_xid(page);
  if (present == 0 || static_cast<int32_t>(xid - present) < 0) pg::set_page_prune_xid(page, xid);
}

}  // namespace helium::redo
