// The visibility map: bits of heap blocks, and the records that change them with and without naming the map page.
//
// A map page: header (24 bytes), then 2 bits per heap block, all-visible below all-frozen, 4 blocks per byte.
// Source: PostgreSQL 15 visibilitymap.c, heapam.c; 17.11 and 18.6 for map pages that are registered blocks.

#include <cstring>

#include "redo/heap_tuple_redo.h"
#include "redo/side_effects.h"

namespace helium::redo {

namespace {

struct VmPosition {
  uint32_t byte;  // offset in the page
  uint32_t shift;
};
VmPosition vm_position(uint32_t heap_blkno) {
  const uint32_t index = heap_blkno % kHeapBlocksPerVmPage;
  return VmPosition{pg::kPageHeaderSize + index / 4, index % 4 * 2};
}

// A heap block whose bits a record clears.
struct VmClear {
  pg::RelTag heap;
  uint32_t heap_blkno;
  uint8_t flags;
};
struct VmClears {
  std::array<VmClear, 2> items;
  size_t count = 0;
  void add(const pg::BlockRef* ref, uint8_t flags) {
    if (ref != nullptr && flags != 0) items[count++] = VmClear{ref->rel, ref->blkno, flags};
  }
  std::span<const VmClear> view() const { return std::span(items).first(count); }
};

uint8_t flags_at(const pg::DecodedRecord& record, size_t offset) {
  return offset < record.main_data.size() ? load<uint8_t>(record.main_data.data() + offset) : 0;
}

// What the record's flags say, whether or not the map is registered.
VmClears vm_clears(const pg::DecodedRecord& record) {
  VmClears clears;
  const auto all_if = [](bool condition) { return condition ? kVmAllBits : uint8_t{0}; };
  const auto frozen_if = [](bool condition) { return condition ? kVmAllFrozen : uint8_t{0}; };
  const pg::BlockRef* block0 = record.block(0);
  const uint8_t op = record.info & kHeapOpMask;
  if (record.rmgr == static_cast<uint8_t>(pg::Rmgr::kHeap)) {
    switch (op) {
      case kHeapInsert:
        clears.add(block0, all_if(flags_at(record, kInsertFlagsAt) & kInsertAllVisibleCleared));
        break;
      case kHeapDelete:
        clears.add(block0, all_if(flags_at(record, kDeleteFlagsAt) & kDeleteAllVisibleCleared));
        break;
      case kHeapUpdate:
      case kHeapHotUpdate: {
        const uint8_t flags = flags_at(record, kUpdateFlagsAt);
        const pg::BlockRef* old_block = record.block(1) != nullptr ? record.block(1) : block0;
        clears.add(old_block, all_if(flags & kUpdateOldAllVisibleCleared));
        clears.add(block0, all_if(flags & kUpdateNewAllVisibleCleared));
        break;
      }
      case kHeapLock:
        clears.add(block0, frozen_if(flags_at(record, kLockFlagsAt) & kLockAllFrozenCleared));
        break;
      default: break;
    }
  } else if (record.rmgr == static_cast<uint8_t>(pg::Rmgr::kHeap2)) {
    if (op == kHeap2MultiInsert)
      clears.add(block0, all_if(flags_at(record, kMultiInsertFlagsAt) & kInsertAllVisibleCleared));
    else if (op == kHeap2LockUpdated)
      clears.add(block0, frozen_if(flags_at(record, kLockFlagsAt) & kLockAllFrozenCleared));
  }
  return clears;
}

bool names_a_map_page(const pg::DecodedRecord& record) {
  for (const pg::BlockRef& ref : record.blocks)
    if (ref.rel.forknum == pg::Fork::kVm) return true;
  return false;
}

pg::RelTag vm_of(pg::RelTag heap) {
  heap.forknum = pg::Fork::kVm;
  return heap;
}

// Clears what the record says about heap blocks of this map page; true if a bit was set. Which relation is not
// compared: a record changes one heap, and on a copied database the map has another name.
bool clear_on_map_page(const pg::DecodedRecord& record, uint32_t map_blkno, MutableByteView page) {
  bool changed = false;
  for (const VmClear& clear : vm_clears(record).view())
    if (vm_blkno_of(clear.heap_blkno) == map_blkno) changed |= clear_vm_bits(page, clear.heap_blkno, clear.flags);
  return changed;
}

// HEAP2/VISIBLE, block 0 (the map); block 1 is the heap page.
Status set_visible(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(kVisibleSize));
  const pg::BlockRef* heap = redo.record.block(1);
  if (heap == nullptr || vm_blkno_of(heap->blkno) != redo.context.blkno) return bad("the map page is another heap block's");
  if (pg::page_is_new(redo.page)) pg::page_init(redo.page, 0);
  const uint8_t flags = redo.main<uint8_t>(kVisibleFlagsAt) & kVmAllBits;  // 16 and later add bits of their own
  if (flags == get_vm_bits(redo.page, heap->blkno)) return {};
  const VmPosition at = vm_position(heap->blkno);
  redo.page[at.byte] |= static_cast<std::byte>(flags << at.shift);
  redo.stamp();
  return {};
}

}  // namespace

uint8_t get_vm_bits(ByteView vm_page, uint32_t heap_blkno) {
  const VmPosition at = vm_position(heap_blkno);
  return static_cast<uint8_t>(vm_page[at.byte]) >> at.shift & kVmAllBits;
}

bool clear_vm_bits(MutableByteView vm_page, uint32_t heap_blkno, uint8_t flags) {
  const VmPosition at = vm_position(heap_blkno);
  const auto mask = static_cast<std::byte>((flags & kVmAllBits) << at.shift);
  const bool was_set = (vm_page[at.byte] & mask) != std::byte{0};
  vm_page[at.byte] &= ~mask;
  return was_set;
}

VmTruncation vm_truncation(uint32_t heap_nblocks) {
  const bool whole_pages = heap_nblocks % kHeapBlocksPerVmPage == 0;
  return VmTruncation{vm_blkno_of(heap_nblocks) + (whole_pages ? 0 : 1), !whole_pages};
}

void for_each_vm_effect(const pg::DecodedRecord& record, int pg_version, const std::function<void(VmPage)>& callback) {
  (void)pg_version;  // decided by the references that are there: minor versions differ
  if (record.rmgr == static_cast<uint8_t>(pg::Rmgr::kSmgr)) {
    if (record.op() != kSmgrTruncate) return;
    const Result<SmgrTruncate> truncate = parse_smgr_truncate(record);
    if (!truncate || !truncate->vm) return;
    const VmTruncation vm = vm_truncation(truncate->nblocks);
    if (vm.clears_tail) callback(VmPage{vm_of(truncate->rel), vm.nblocks - 1});
    return;
  }
  if (names_a_map_page(record)) return;
  const VmClears clears = vm_clears(record);
  std::optional<VmPage> last;
  for (const VmClear& clear : clears.view()) {
    const VmPage page{vm_of(clear.heap), vm_blkno_of(clear.heap_blkno)};
    if (last == page) continue;
    callback(page);
    last = page;
  }
}

Status redo_vm_side_effect(const pg::DecodedRecord& record, const RedoContext& context, MutableByteView vm_page) {
  if (vm_page.size() != pg::kBlockSize) return bad("redo: a page of {} bytes", vm_page.size());
  if (pg::page_is_new(vm_page)) return {};
  if (record.rmgr != static_cast<uint8_t>(pg::Rmgr::kSmgr)) {
    clear_on_map_page(record, context.blkno, vm_page);
    return {};
  }
  const Result<SmgrTruncate> truncate = parse_smgr_truncate(record);
  if (!truncate) return fail(with_redo_context(truncate.error(), record, context));
  const VmTruncation vm = vm_truncation(truncate->nblocks);
  if (!vm.clears_tail || vm.nblocks - 1 != context.blkno) return {};
  const VmPosition at = vm_position(truncate->nblocks);
  vm_page[at.byte] &= static_cast<std::byte>((1u << at.shift) - 1);
  std::memset(vm_page.data() + at.byte + 1, 0, pg::kBlockSize - at.byte - 1);
  return {};
}

Status redo_vm_block(const BlockRedo& redo) {
  const bool heap2 = redo.record.rmgr == static_cast<uint8_t>(pg::Rmgr::kHeap2);
  if (heap2 && (redo.record.info & kHeapOpMask) == kHeap2Visible) {
    if (redo.ref.id != 0) return bad("block {} is a map page", redo.ref.id);
    return set_visible(redo);
  }
  if (vm_clears(redo.record).count == 0) return bad("a map page in a record that clears no bits");
  if (pg::page_is_new(redo.page)) return {};
  if (clear_on_map_page(redo.record, redo.context.blkno, redo.page)) redo.stamp();
  return {};
}

}  // namespace helium::redo
