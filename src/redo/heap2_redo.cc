// Redo of RM_HEAP2_ID: prune, vacuum, freeze, visible, multi-insert, lock of an updated row.
// Source: PostgreSQL 15 heapam.c, pruneheap.c. 14 writes the same records; 16 and later others (docs/redo.md).

#include "redo/heap_tuple_redo.h"

namespace helium::redo {

using pg::ItemFlags;
using pg::ItemId;

namespace {

// Sets item `number` to (offset, flags) without storage.
Status set_item(MutableByteView page, uint16_t number, uint16_t offset, ItemFlags flags) {
  HELIUM_TRY(get_item_id(page, number));
  pg::set_page_item_id(page, number, ItemId{offset, flags, 0});
  return {};
}

// xl_heap_prune: latestRemovedXid u32, nredirected u16, ndead u16. Block data, all u16: pairs (from, to), dead
// offsets, and what remains is unused offsets.
Status redo_prune(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(8));
  HELIUM_TRY(check_page_pointers(redo.page));
  const uint32_t nredirected = redo.main<uint16_t>(4);
  const uint32_t ndead = redo.main<uint16_t>(6);
  ByteReader data(redo.ref.data);
  if (redo.ref.data.size() < (2 * nredirected + ndead) * 2)
    return bad("{} redirects and {} dead items in {} bytes", nredirected, ndead, redo.ref.data.size());
  for (uint32_t i = 0; i < nredirected; ++i) {
    const uint16_t from = data.u16();
    const uint16_t to = data.u16();
    HELIUM_TRY(set_item(redo.page, from, to, ItemFlags::kRedirect));
  }
  for (uint32_t i = 0; i < ndead; ++i) HELIUM_TRY(set_item(redo.page, data.u16(), 0, ItemFlags::kDead));
  while (data.remaining() >= 2) HELIUM_TRY(set_item(redo.page, data.u16(), 0, ItemFlags::kUnused));
  HELIUM_TRY(repair_fragmentation(redo.page));
  redo.stamp();
  return {};
}

// xl_heap_vacuum: nunused u16. Block data: the offsets.
Status redo_vacuum(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(2));
  HELIUM_TRY(check_page_pointers(redo.page));
  const uint32_t nunused = redo.main<uint16_t>(0);
  if (redo.ref.data.size() < 2 * nunused) return bad("{} offsets in {} bytes", nunused, redo.ref.data.size());
  for (uint32_t i = 0; i < nunused; ++i)
    HELIUM_TRY(set_item(redo.page, load<uint16_t>(redo.ref.data.data() + 2 * i), 0, ItemFlags::kUnused));
  truncate_line_pointers(redo.page);
  redo.stamp();
  return {};
}

// xl_heap_freeze_page: cutoff_xid u32, ntuples u16. Block data: xl_heap_freeze_tuple[], 12 bytes each:
// xmax u32, offset u16, t_infomask2 u16, t_infomask u16, frzflags u8, padding.
Status redo_freeze_page(const BlockRedo& redo) {
  constexpr uint8_t kFreezeXvac = 0x02;
  constexpr uint8_t kInvalidXvac = 0x04;
  constexpr uint32_t kFrozenXid = 2;
  constexpr size_t kPlanSize = 12;
  HELIUM_TRY(redo.need_main(6));
  const uint32_t ntuples = redo.main<uint16_t>(4);
  if (redo.ref.data.size() < ntuples * kPlanSize) return bad("{} plans in {} bytes", ntuples, redo.ref.data.size());
  for (uint32_t i = 0; i < ntuples; ++i) {
    const std::byte* plan = redo.ref.data.data() + i * kPlanSize;
    HELIUM_ASSIGN(const MutableByteView bytes, get_heap_tuple(redo.page, load<uint16_t>(plan + 4)));
    HeapTuple tuple(bytes.data());
    const auto frzflags = load<uint8_t>(plan + 10);
    tuple.set_xmax(load<uint32_t>(plan));
    if (frzflags & kFreezeXvac) tuple.set_cid(kFrozenXid);
    if (frzflags & kInvalidXvac) tuple.set_cid(0);
    tuple.set_infomask(load<uint16_t>(plan + 8));
    tuple.set_infomask2(load<uint16_t>(plan + 6));
  }
  redo.stamp();
  return {};
}

// Block 1: the heap page. (Block 0, the map, is redo_vm_block()'s.) No LSN, unless hints are protected.
Status redo_visible(const BlockRedo& redo) {
  if (redo.ref.id != 1) return bad("block {} has no meaning", redo.ref.id);
  HELIUM_TRY(check_page_pointers(redo.page));
  set_all_visible(redo.page);
  if (redo.context.data_checksums_or_wal_log_hints) redo.stamp();
  return {};
}

Status redo_multi_insert(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(kMultiInsertSize));
  HELIUM_TRY(init_heap_page_if_told(redo));
  const auto flags = redo.main<uint8_t>(kMultiInsertFlagsAt);
  const uint32_t ntuples = redo.main<uint16_t>(2);
  const bool init = redo.ref.will_init;
  if (!init) HELIUM_TRY(redo.need_main(kMultiInsertSize + 2 * ntuples));
  const ByteView data = redo.ref.data;
  size_t at = 0;
  for (uint32_t i = 0; i < ntuples; ++i) {
    const auto offnum = init ? static_cast<uint16_t>(i + 1) : redo.main<uint16_t>(kMultiInsertSize + 2 * i);
    at += at & 1;  // SHORTALIGN; block data begins on an even address
    if (at + kMultiInsertTupleSize > data.size()) return bad("tuple {} of {} is cut off", i + 1, ntuples);
    const std::byte* head = data.data() + at;
    const uint32_t size = load<uint16_t>(head);
    const TupleHeaderInWal header{load<uint16_t>(head + 2), load<uint16_t>(head + 4), load<uint8_t>(head + 6)};
    at += kMultiInsertTupleSize;
    if (size > data.size() - at) return bad("tuple {} of {} is cut off", i + 1, ntuples);
    HELIUM_TRY(insert_heap_tuple(redo, offnum, header, data.subspan(at, size)));
    at += size;
  }
  if (at != data.size()) return bad("{} tuples leave {} bytes over", ntuples, data.size() - at);
  if (flags & kInsertAllVisibleCleared) clear_all_visible(redo.page);
  if (flags & kInsertAllFrozenSet) set_all_visible(redo.page);
  redo.stamp();
  return {};
}

Status redo_lock_updated(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(kLockSize));
  HELIUM_ASSIGN(const MutableByteView bytes, get_heap_tuple(redo.page, redo.main<uint16_t>(4)));
  HeapTuple tuple(bytes.data());
  tuple.clear_infomask(kHeapXmaxBits | kHeapMoved);
  tuple.clear_infomask2(kHeapKeysUpdated);
  tuple.set_infobits(redo.main<uint8_t>(6));
  tuple.set_xmax(redo.main<uint32_t>(0));
  redo.stamp();
  return {};
}

// 16 changed prune and freeze records, 17 merged them.
Status need_layout_of_15(const BlockRedo& redo) {
  if (redo.context.pg_version > 15) return bad("its layout in PostgreSQL {} is not implemented", redo.context.pg_version);
  return {};
}

}  // namespace

Status redo_heap2(const BlockRedo& redo) {
  const uint8_t op = redo.record.info & kHeapOpMask;
  if (redo.ref.id > 0 && op != kHeap2Visible) return bad("block {} has no meaning", redo.ref.id);
  switch (op) {
    case kHeap2Prune:
      HELIUM_TRY(need_layout_of_15(redo));
      return redo_prune(redo);
    case kHeap2Vacuum:
      HELIUM_TRY(need_layout_of_15(redo));
      return redo_vacuum(redo);
    case kHeap2FreezePage:
      HELIUM_TRY(need_layout_of_15(redo));
      return redo_freeze_page(redo);
    case kHeap2Visible: return redo_visible(redo);
    case kHeap2MultiInsert: return redo_multi_insert(redo);
    case kHeap2LockUpdated: return redo_lock_updated(redo);
    default: return bad("a block in a record that has none");
  }
}

}  // namespace helium::redo
