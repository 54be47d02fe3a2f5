// Redo of RM_HEAP_ID: insert, delete, update, lock, confirm, inplace.
// Source: PostgreSQL 15 heapam.c; the records are the same in 14 to 18 (later ones may add map pages as blocks).

#include <cstring>

#include "redo/heap_tuple_redo.h"

namespace helium::redo {

using pg::page_flags;

namespace {

Status redo_insert(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(kInsertSize));
  HELIUM_TRY(init_heap_page_if_told(redo));
  const auto offnum = redo.main<uint16_t>(0);
  const auto flags = redo.main<uint8_t>(kInsertFlagsAt);
  const ByteView data = redo.ref.data;
  if (data.size() < kTupleHeaderInWal) return bad("tuple data of {} bytes", data.size());
  const auto header = TupleHeaderInWal{load<uint16_t>(data.data()), load<uint16_t>(data.data() + 2),
                                       load<uint8_t>(data.data() + 4)};
  HELIUM_TRY(insert_heap_tuple(redo, offnum, header, data.subspan(kTupleHeaderInWal)));
  if (flags & kInsertAllVisibleCleared) clear_all_visible(redo.page);
  redo.stamp();
  return {};
}

Status redo_delete(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(kDeleteSize));
  const auto xmax = redo.main<uint32_t>(0);
  const auto offnum = redo.main<uint16_t>(4);
  const auto infobits = redo.main<uint8_t>(6);
  const auto flags = redo.main<uint8_t>(kDeleteFlagsAt);
  HELIUM_ASSIGN(const MutableByteView bytes, get_heap_tuple(redo.page, offnum));
  HeapTuple tuple(bytes.data());

  tuple.clear_infomask(kHeapXmaxBits | kHeapMoved);
  tuple.clear_infomask2(kHeapKeysUpdated);
  tuple.set_hot_updated(false);
  tuple.set_infobits(infobits);
  if (flags & kDeleteIsSuper)
    tuple.set_xmin(0);
  else
    tuple.set_xmax(xmax);
  tuple.set_first_command();
  set_prunable(redo.page, redo.record.xid);
  if (flags & kDeleteAllVisibleCleared) clear_all_visible(redo.page);
  if (flags & kDeleteIsPartitionMove)
    tuple.set_ctid(UINT32_MAX, kMovedPartitionsOffset);
  else
    tuple.set_ctid(redo.context.blkno, offnum);
  redo.stamp();
  return {};
}

struct UpdateRecord {
  uint32_t old_xmax;
  uint16_t old_offnum;
  uint8_t old_infobits;
  uint8_t flags;
  uint32_t new_xmax;
  uint16_t new_offnum;
  bool hot;
};

// The old version of the row: xmax, and t_ctid to the new one at `new_blkno`.
Status update_old_tuple(const BlockRedo& redo, const UpdateRecord& update, uint32_t new_blkno) {
  HELIUM_ASSIGN(const MutableByteView bytes, get_heap_tuple(redo.page, update.old_offnum));
  HeapTuple tuple(bytes.data());
  tuple.clear_infomask(kHeapXmaxBits | kHeapMoved);
  tuple.clear_infomask2(kHeapKeysUpdated);
  tuple.set_hot_updated(update.hot);
  tuple.set_infobits(update.old_infobits);
  tuple.set_xmax(update.old_xmax);
  tuple.set_first_command();
  tuple.set_ctid(new_blkno, update.new_offnum);
  set_prunable(redo.page, redo.record.xid);
  if (update.flags & kUpdateOldAllVisibleCleared) clear_all_visible(redo.page);
  return {};
}

// The new version, put together from block data and, on the same page, the old version's first and last bytes.
Status insert_new_tuple(const BlockRedo& redo, const UpdateRecord& update, bool same_page) {
  ByteReader data(redo.ref.data);
  uint32_t prefix = 0;
  uint32_t suffix = 0;
  if (update.flags & kUpdatePrefixFromOld) prefix = data.u16();
  if (update.flags & kUpdateSuffixFromOld) suffix = data.u16();
  if ((prefix > 0 || suffix > 0) && !same_page) return bad("prefix or suffix of a tuple on another page");
  TupleHeaderInWal header{};
  header.infomask2 = data.u16();
  header.infomask = data.u16();
  header.hoff = data.u8();
  const ByteView rest = data.raw(data.remaining());
  if (data.failed()) return bad("tuple data of {} bytes", redo.ref.data.size());

  std::array<std::byte, kMaxHeapTupleSize> body;
  if (rest.size() + prefix + suffix + kHeapTupleHeaderSize > kMaxHeapTupleSize)
    return bad("tuple of {} bytes", rest.size() + prefix + suffix + kHeapTupleHeaderSize);
  size_t size = 0;
  const auto append = [&](ByteView bytes) {
    if (!bytes.empty()) std::memcpy(body.data() + size, bytes.data(), bytes.size());
    size += bytes.size();
  };
  if (prefix == 0 && suffix == 0) {
    append(rest);
  } else {
    HELIUM_ASSIGN(const MutableByteView old_tuple, get_heap_tuple(redo.page, update.old_offnum));
    const uint32_t old_hoff = HeapTuple(old_tuple.data()).hoff();
    if (old_hoff + prefix > old_tuple.size() || suffix > old_tuple.size())
      return bad("prefix {} and suffix {} of a tuple of {} bytes", prefix, suffix, old_tuple.size());
    size_t bitmap = 0;  // null bitmap and padding go before the prefix
    if (prefix > 0) {
      if (header.hoff < kHeapTupleHeaderSize || header.hoff - kHeapTupleHeaderSize > rest.size())
        return bad("t_hoff {} with {} bytes", header.hoff, rest.size());
      bitmap = header.hoff - kHeapTupleHeaderSize;
    }
    append(rest.first(bitmap));
    append(ByteView(old_tuple).subspan(old_hoff, prefix));
    append(rest.subspan(bitmap));
    append(ByteView(old_tuple).last(suffix));
  }
  HELIUM_TRY(insert_heap_tuple(redo, update.new_offnum, header, std::span(body).first(size), update.new_xmax));
  if (update.flags & kUpdateNewAllVisibleCleared) clear_all_visible(redo.page);
  return {};
}

// Block 0 is the new version's page; the old one's is block 1, or block 0 too when there is no block 1.
Status redo_update(const BlockRedo& redo, bool hot) {
  HELIUM_TRY(redo.need_main(kUpdateSize));
  const UpdateRecord update{redo.main<uint32_t>(0), redo.main<uint16_t>(4), redo.main<uint8_t>(6),
                            redo.main<uint8_t>(kUpdateFlagsAt), redo.main<uint32_t>(8), redo.main<uint16_t>(12), hot};
  const pg::BlockRef* new_block = redo.record.block(0);
  const pg::BlockRef* old_block = redo.record.block(1);
  if (new_block == nullptr) return bad("no block 0");
  const bool same_page = old_block == nullptr;
  if (!same_page && (hot || old_block->blkno == new_block->blkno)) return bad("the same page as blocks 0 and 1");

  if (redo.ref.id == 1) {
    HELIUM_TRY(update_old_tuple(redo, update, new_block->blkno));
  } else {
    if (same_page)
      HELIUM_TRY(update_old_tuple(redo, update, redo.context.blkno));
    else
      HELIUM_TRY(init_heap_page_if_told(redo));
    HELIUM_TRY(insert_new_tuple(redo, update, same_page));
  }
  redo.stamp();
  return {};
}

Status redo_confirm(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(2));
  const auto offnum = redo.main<uint16_t>(0);
  HELIUM_ASSIGN(const MutableByteView bytes, get_heap_tuple(redo.page, offnum));
  HeapTuple(bytes.data()).set_ctid(redo.context.blkno, offnum);
  redo.stamp();
  return {};
}

Status redo_lock(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(kLockSize));
  const auto xmax = redo.main<uint32_t>(0);
  const auto offnum = redo.main<uint16_t>(4);
  const auto infobits = redo.main<uint8_t>(6);
  HELIUM_ASSIGN(const MutableByteView bytes, get_heap_tuple(redo.page, offnum));
  HeapTuple tuple(bytes.data());
  tuple.clear_infomask(kHeapXmaxBits | kHeapMoved);
  tuple.clear_infomask2(kHeapKeysUpdated);
  tuple.set_infobits(infobits);
  if (tuple.xmax_is_locked_only()) {
    tuple.set_hot_updated(false);
    tuple.set_ctid(redo.context.blkno, offnum);
  }
  tuple.set_xmax(xmax);
  tuple.set_first_command();
  redo.stamp();
  return {};
}

Status redo_inplace(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(2));
  const auto offnum = redo.main<uint16_t>(0);
  HELIUM_ASSIGN(const MutableByteView bytes, get_heap_tuple(redo.page, offnum));
  const uint32_t hoff = HeapTuple(bytes.data()).hoff();
  if (hoff + redo.ref.data.size() != bytes.size())
    return bad("new data of {} bytes for a tuple of {} with t_hoff {}", redo.ref.data.size(), bytes.size(), hoff);
  if (!redo.ref.data.empty()) std::memcpy(bytes.data() + hoff, redo.ref.data.data(), redo.ref.data.size());
  redo.stamp();
  return {};
}

}  // namespace

Status redo_heap(const BlockRedo& redo) {
  const uint8_t op = redo.record.info & kHeapOpMask;
  const bool update = op == kHeapUpdate || op == kHeapHotUpdate;
  if (redo.ref.id > (update ? 1 : 0)) return bad("block {} has no meaning", redo.ref.id);
  switch (op) {
    case kHeapInsert: return redo_insert(redo);
    case kHeapDelete: return redo_delete(redo);
    case kHeapUpdate: return redo_update(redo, /*hot=*/false);
    case kHeapHotUpdate: return redo_update(redo, /*hot=*/true);
    case kHeapConfirm: return redo_confirm(redo);
    case kHeapLock: return redo_lock(redo);
    case kHeapInplace: return redo_inplace(redo);
    default: return bad("a block in a record that has none");
  }
}

}  // namespace helium::redo
