// Heap records (RM_HEAP_ID, RM_HEAP2_ID): operations, flags, and the layouts that redo and the visibility map share.
//
// Offsets are into the record's main data, as C compilers lay the structs out on x86-64 and arm64.
// Source: PostgreSQL 15 heapam_xlog.h.

#pragma once

#include <cstdint>

namespace helium::redo {

// RM_HEAP_ID: info & 0x70; 0x80 = the first tuple of a page that redo initialises.
inline constexpr uint8_t kHeapOpMask = 0x70;
inline constexpr uint8_t kHeapInsert = 0x00;
inline constexpr uint8_t kHeapDelete = 0x10;
inline constexpr uint8_t kHeapUpdate = 0x20;
inline constexpr uint8_t kHeapTruncate = 0x30;
inline constexpr uint8_t kHeapHotUpdate = 0x40;
inline constexpr uint8_t kHeapConfirm = 0x50;
inline constexpr uint8_t kHeapLock = 0x60;
inline constexpr uint8_t kHeapInplace = 0x70;
inline constexpr uint8_t kHeapInitPage = 0x80;
// RM_HEAP2_ID. 17 and later give 0x10 to 0x30 to one common prune and freeze format.
inline constexpr uint8_t kHeap2Rewrite = 0x00;
inline constexpr uint8_t kHeap2Prune = 0x10;
inline constexpr uint8_t kHeap2Vacuum = 0x20;
inline constexpr uint8_t kHeap2FreezePage = 0x30;
inline constexpr uint8_t kHeap2Visible = 0x40;
inline constexpr uint8_t kHeap2MultiInsert = 0x50;
inline constexpr uint8_t kHeap2LockUpdated = 0x60;
inline constexpr uint8_t kHeap2NewCid = 0x70;

// xl_heap_insert: offnum u16, flags u8.
inline constexpr size_t kInsertSize = 3;
inline constexpr size_t kInsertFlagsAt = 2;
inline constexpr uint8_t kInsertAllVisibleCleared = 0x01;
inline constexpr uint8_t kInsertAllFrozenSet = 0x20;
// xl_heap_header, at the head of a tuple in block data: t_infomask2 u16, t_infomask u16, t_hoff u8.
inline constexpr size_t kTupleHeaderInWal = 5;
// xl_heap_multi_insert: flags u8, ntuples u16 at 2, offsets u16[] unless the page is initialised.
inline constexpr size_t kMultiInsertSize = 4;
inline constexpr size_t kMultiInsertFlagsAt = 0;
// xl_multi_insert_tuple, 2-aligned in block data: datalen u16, t_infomask2, t_infomask, t_hoff u8.
inline constexpr size_t kMultiInsertTupleSize = 7;
// xl_heap_delete: xmax u32, offnum u16, infobits_set u8, flags u8.
inline constexpr size_t kDeleteSize = 8;
inline constexpr size_t kDeleteFlagsAt = 7;
inline constexpr uint8_t kDeleteAllVisibleCleared = 0x01;
inline constexpr uint8_t kDeleteIsSuper = 0x08;
inline constexpr uint8_t kDeleteIsPartitionMove = 0x10;
// xl_heap_update: old_xmax u32, old_offnum u16, old_infobits_set u8, flags u8, new_xmax u32, new_offnum u16.
inline constexpr size_t kUpdateSize = 14;
inline constexpr size_t kUpdateFlagsAt = 7;
inline constexpr uint8_t kUpdateOldAllVisibleCleared = 0x01;
inline constexpr uint8_t kUpdateNewAllVisibleCleared = 0x02;
inline constexpr uint8_t kUpdatePrefixFromOld = 0x20;
inline constexpr uint8_t kUpdateSuffixFromOld = 0x40;
// xl_heap_lock, xl_heap_lock_updated: xmax u32, offnum u16, infobits_set u8, flags u8.
inline constexpr size_t kLockSize = 8;
inline constexpr size_t kLockFlagsAt = 7;
inline constexpr uint8_t kLockAllFrozenCleared = 0x01;
// xl_heap_visible: cutoff_xid u32, flags u8.
inline constexpr size_t kVisibleSize = 5;
inline constexpr size_t kVisibleFlagsAt = 4;

}  // namespace helium::redo
