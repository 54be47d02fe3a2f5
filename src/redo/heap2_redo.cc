// Redo of RM_HEAP2_ID: prune, vacuum, freeze, visible, multi-insert, lock of an updated row.
// Source: PostgreSQL 15 heapam.c, pruneheap.c; 18.6 heapam_xlog.c. What differs between versions is in heap_prune.h.

#include "redo/heap_prune.h"
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

// Line pointers of a pruned page become redirects, dead or unused.
Status change_items(MutableByteView page, const HeapPrune& prune) {
  ByteReader redirects(prune.redirects);
  while (redirects.remaining() >= 4) {
    const uint16_t from = redirects.u16();
    const uint16_t to = redirects.u16();
    HELIUM_TRY(set_item(page, from, to, ItemFlags::kRedirect));
  }
  ByteReader dead(prune.dead);
  while (dead.remaining() >= 2) HELIUM_TRY(set_item(page, dead.u16(), 0, ItemFlags::kDead));
  ByteReader unused(prune.unused);
  while (unused.remaining() >= 2) HELIUM_TRY(set_item(page, unused.u16(), 0, ItemFlags::kUnused));
  if (prune.moves_tuples) return repair_fragmentation(page, prune.cuts_unused);
  truncate_line_pointers(page);
  return {};
}

Status freeze_tuple(MutableByteView page, uint16_t offset, const FreezePlan& plan) {
  constexpr uint32_t kFrozenXid = 2;
  HELIUM_ASSIGN(const MutableByteView bytes, get_heap_tuple(page, offset));
  HeapTuple tuple(bytes.data());
  tuple.set_xmax(plan.xmax);
  if (plan.flags & kFreezeXvac) tuple.set_cid(kFrozenXid);
  if (plan.flags & kInvalidXvac) tuple.set_cid(0);
  tuple.set_infomask(plan.infomask);
  tuple.set_infomask2(plan.infomask2);
  return {};
}

Status redo_prune(const BlockRedo& redo) {
  HELIUM_TRY(check_page_pointers(redo.page));
  HELIUM_ASSIGN(const HeapPrune prune, parse_heap_prune(redo));
  if (prune.changes_items) HELIUM_TRY(change_items(redo.page, prune));
  ByteReader offsets(prune.offsets);
  for (uint32_t i = 0; i < prune.nplans; ++i) {
    const FreezePlan plan = read_freeze_plan(prune, i, redo.context.pg_version);
    for (uint32_t n = 0; n < plan.ntuples; ++n) {
      const uint16_t offset = plan.offset != 0 ? plan.offset : offsets.u16();
      HELIUM_TRY(freeze_tuple(redo.page, offset, plan));
    }
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

}  // namespace

Status redo_heap2(const BlockRedo& redo) {
  const uint8_t op = redo.record.info & kHeapOpMask;
  if (redo.ref.id > 0 && op != kHeap2Visible) return bad("block {} has no meaning", redo.ref.id);
  switch (op) {
    case kHeap2Prune:
    case kHeap2Vacuum:
    case kHeap2FreezePage: return redo_prune(redo);
    case kHeap2Visible: return redo_visible(redo);
    case kHeap2MultiInsert: return redo_multi_insert(redo);
    case kHeap2LockUpdated: return redo_lock_updated(redo);
    default: return bad("a block in a record that has none");
  }
}

}  // namespace helium::redo
