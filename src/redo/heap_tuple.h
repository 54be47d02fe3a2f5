// Heap tuple headers on a page, and the flags that WAL carries for them.
//
//   offset  size  field         meaning
//        0     4  t_xmin
//        4     4  t_xmax
//        8     4  t_cid         command id, or xvac of a tuple moved by a VACUUM before 9.0
//       12     6  t_ctid        block number (high half, low half), offset number
//       18     2  t_infomask2
//       20     2  t_infomask
//       22     1  t_hoff
//
// HeapTuple is a view of at least 23 bytes; its owner has checked that. Pure.
// Source: PostgreSQL 15 htup_details.h, heapam_xlog.h.

#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace helium::redo {

inline constexpr uint32_t kHeapTupleHeaderSize = 23;  // SizeofHeapTupleHeader

inline constexpr uint16_t kHeapXmaxKeyshrLock = 0x0010;
inline constexpr uint16_t kHeapComboCid = 0x0020;
inline constexpr uint16_t kHeapXmaxExclLock = 0x0040;
inline constexpr uint16_t kHeapXmaxLockOnly = 0x0080;
inline constexpr uint16_t kHeapXminCommitted = 0x0100;
inline constexpr uint16_t kHeapXminInvalid = 0x0200;
inline constexpr uint16_t kHeapXminFrozen = kHeapXminCommitted | kHeapXminInvalid;
inline constexpr uint16_t kHeapXmaxCommitted = 0x0400;
inline constexpr uint16_t kHeapXmaxInvalid = 0x0800;
inline constexpr uint16_t kHeapXmaxIsMulti = 0x1000;
inline constexpr uint16_t kHeapMoved = 0xC000;
inline constexpr uint16_t kHeapXactMask = 0xFFF0;
inline constexpr uint16_t kHeapLockMask = kHeapXmaxKeyshrLock | kHeapXmaxExclLock;
inline constexpr uint16_t kHeapXmaxBits =
    kHeapXmaxCommitted | kHeapXmaxInvalid | kHeapXmaxIsMulti | kHeapLockMask | kHeapXmaxLockOnly;
// t_infomask2
inline constexpr uint16_t kHeapKeysUpdated = 0x2000;
inline constexpr uint16_t kHeapHotUpdated = 0x4000;

inline constexpr uint16_t kSpecTokenOffset = 0xFFFE;         // t_ctid of a speculative insertion
inline constexpr uint16_t kMovedPartitionsOffset = 0xFFFD;   // with block 0xFFFFFFFF: moved to another partition

// XLHL_ bits: infobits_set of delete, update and lock records.
inline constexpr uint8_t kXlhlXmaxIsMulti = 0x01;
inline constexpr uint8_t kXlhlXmaxLockOnly = 0x02;
inline constexpr uint8_t kXlhlXmaxExclLock = 0x04;
inline constexpr uint8_t kXlhlXmaxKeyshrLock = 0x08;
inline constexpr uint8_t kXlhlKeysUpdated = 0x10;

// An item pointer in six bytes.
inline void store_tid(std::byte* at, uint32_t blkno, uint16_t offset) {
  store<uint16_t>(at, static_cast<uint16_t>(blkno >> 16));
  store<uint16_t>(at + 2, static_cast<uint16_t>(blkno));
  store<uint16_t>(at + 4, offset);
}

class HeapTuple {
 public:
  explicit HeapTuple(std::byte* header) : at_(header) {}

  uint16_t infomask() const { return load<uint16_t>(at_ + 20); }
  uint16_t infomask2() const { return load<uint16_t>(at_ + 18); }
  uint8_t hoff() const { return load<uint8_t>(at_ + 22); }
  uint16_t ctid_offset() const { return load<uint16_t>(at_ + 16); }

  void set_infomask(uint16_t v) { store(at_ + 20, v); }
  void set_infomask2(uint16_t v) { store(at_ + 18, v); }
  void set_hoff(uint8_t v) { store(at_ + 22, v); }
  void set_xmin(uint32_t xid) { store(at_, xid); }
  void set_xmax(uint32_t xid) { store(at_ + 4, xid); }
  void set_cid(uint32_t v) { store(at_ + 8, v); }
  void set_ctid(uint32_t blkno, uint16_t offset) { store_tid(at_ + 12, blkno, offset); }

  void clear_infomask(uint16_t bits) { set_infomask(infomask() & static_cast<uint16_t>(~bits)); }
  void clear_infomask2(uint16_t bits) { set_infomask2(infomask2() & static_cast<uint16_t>(~bits)); }
  void set_hot_updated(bool on) {
    set_infomask2(on ? infomask2() | kHeapHotUpdated : infomask2() & static_cast<uint16_t>(~kHeapHotUpdated));
  }
  // HeapTupleHeaderSetCmin/Cmax(FirstCommandId).
  void set_first_command() {
    set_cid(0);
    clear_infomask(kHeapComboCid);
  }
  // HEAP_XMAX_IS_LOCKED_ONLY
  bool xmax_is_locked_only() const {
    return (infomask() & kHeapXmaxLockOnly) != 0 ||
           (infomask() & (kHeapXmaxIsMulti | kHeapLockMask)) == kHeapXmaxExclLock;
  }
  // fix_infomask_from_infobits
  void set_infobits(uint8_t infobits) {
    uint16_t mask = infomask() & static_cast<uint16_t>(~(kHeapXmaxIsMulti | kHeapXmaxLockOnly | kHeapLockMask));
    if (infobits & kXlhlXmaxIsMulti) mask |= kHeapXmaxIsMulti;
    if (infobits & kXlhlXmaxLockOnly) mask |= kHeapXmaxLockOnly;
    if (infobits & kXlhlXmaxExclLock) mask |= kHeapXmaxExclLock;
    if (infobits & kXlhlXmaxKeyshrLock) mask |= kHeapXmaxKeyshrLock;
    set_infomask(mask);
    clear_infomask2(kHeapKeysUpdated);
    if (infobits & kXlhlKeysUpdated) set_infomask2(infomask2() | kHeapKeysUpdated);
  }

 private:
  std::byte* at_;
};

}  // namespace helium::redo
