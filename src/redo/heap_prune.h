// Pruning, vacuuming and freezing of a heap page: what RM_HEAP2_ID's records 0x10, 0x20 and 0x30 say, in one shape for
// every version that wrote them.
//
//   version  0x10              0x20                0x30                   freeze plans
//   14, 15   PRUNE             VACUUM              FREEZE_PAGE            one for each tuple
//   16       PRUNE             VACUUM              FREEZE_PAGE            one for many tuples, offsets behind the plans
//   17, 18   PRUNE_ON_ACCESS   PRUNE_VACUUM_SCAN   PRUNE_VACUUM_CLEANUP   as 16; one layout for all three
//
// 14 keeps the unused line pointers at the end of a page that it packs anew, later ones cut them.
// All views point into the record's bytes. Errors: kRedo: the record is shorter or longer than its parts. Pure.
// Source: PostgreSQL 15 heapam_xlog.h (14 is the same); 18.6 heapam_xlog.h, heapdesc.c (17 is the same).

#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "redo/rmgr_redo.h"

namespace helium::redo {

struct HeapPrune {
  ByteView redirects;          // pairs of u16: from, to
  ByteView dead;               // u16 each
  ByteView unused;             // u16 each
  bool moves_tuples = false;   // the page is packed anew
  bool cuts_unused = true;     // unused line pointers at the end go (14: only when no tuples move)
  bool changes_items = false;  // false: it only freezes
  uint32_t nplans = 0;
  ByteView plans;              // kFreezePlanSize each
  ByteView offsets;            // u16 each: the plans' tuples, in the plans' order; empty before 16
};
inline constexpr size_t kFreezePlanSize = 12;

// One plan: what becomes of a tuple's header.
struct FreezePlan {
  uint32_t xmax = 0;
  uint16_t infomask2 = 0;
  uint16_t infomask = 0;
  uint8_t flags = 0;           // kFreezeXvac, kInvalidXvac
  uint16_t offset = 0;         // 14, 15: the tuple
  uint16_t ntuples = 1;        // 16 and later: so many of HeapPrune::offsets
};
inline constexpr uint8_t kFreezeXvac = 0x02;
inline constexpr uint8_t kInvalidXvac = 0x04;

Result<HeapPrune> parse_heap_prune(const BlockRedo& redo);
// Plan `index`, which is below nplans.
FreezePlan read_freeze_plan(const HeapPrune& prune, uint32_t index, int pg_version);

}  // namespace helium::redo
