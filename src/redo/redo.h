// Redo: what one WAL record does to one page, natively.
//
// A page at an LSN is the newest base (an image, zeros, or a record for which redo_starts_from_nothing() is true)
// with every later record of its key applied in order. Each call takes the whole record, since references that are
// absent carry meaning, and one page.
//
// Units: pages are 8192 bytes. An LSN is the record's end (EndRecPtr), which is what goes into pd_lsn.
// Errors: kRedo: the record does not fit the page, or is malformed, or its resource manager needs a check image that
//   it does not have. The page is as it was before the call. Records and pages are untrusted: nothing is read or
//   written outside them, and every loop is bounded by the record's or the page's size.
// Threads: pure functions; any thread.
// What is native and what takes the check image: docs/redo.md.
// Source: PostgreSQL 15 xlog.c, xlogutils.c, visibilitymap.c; each resource manager's file names its own.

#pragma once

#include <cstdint>
#include <functional>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pg/rel.h"
#include "pg/wal_record.h"

namespace helium::redo {

struct RedoContext {
  Lsn record_end_lsn;
  int pg_version = 15;                            // major version that wrote the record
  bool data_checksums_or_wal_log_hints = false;   // in force at that LSN; only HEAP2/VISIBLE asks
  uint32_t blkno = 0;                             // the page's own place
  pg::RelTag rel;
};

enum class Base : uint8_t {
  kNeedsOldPage,  // apply the record to the page as it was before
  kFromZero,      // the old page does not matter; give zeros
};
// Where reconstruction of the block's page may start.
Base redo_base(const pg::DecodedRecord& record, const pg::BlockRef& ref);
// redo_base(…) == kFromZero: WILL_INIT, an image that is applied, or a check image that stands in for redo.
// True says nothing about the image being the final page: redo_block() must still run (GiST, hash).
bool redo_starts_from_nothing(const pg::DecodedRecord& record, const pg::BlockRef& ref);

// True when the reference changes nothing on its page and needs no version of its own: an FPI_FOR_HINT without image.
bool redo_has_no_effect(const pg::DecodedRecord& record, const pg::BlockRef& ref);

// Makes `page` (8192 bytes: the old page, or zeros) the page after the record. As PostgreSQL does, a page whose LSN
// is already at or past the record's end stays as it is, unless the record rebuilds it from nothing.
// `context.rel` and `context.blkno` are ref.rel and ref.blkno, but on a copied database, where they are the target's.
Status redo_block(const pg::DecodedRecord& record, const pg::BlockRef& ref, const RedoContext& context,
                  MutableByteView page);

// The same without the promise: a page that is refused is half changed. For rebuilding a page, where it is thrown away.
Status redo_block_in_place(const pg::DecodedRecord& record, const pg::BlockRef& ref, const RedoContext& context,
                           MutableByteView page);

// True if this resource manager's records are replayed natively, which is so for all but custom ones. Otherwise the
// endpoint must log check images (wal_consistency_checking) for it.
bool redo_is_native(uint8_t rmgr);

// True when the check image is the page: of custom resource managers always, of the index types that had no redo of
// their own once also where the page does not exist. Storage from that time begins a page's history at such a record.
bool redo_takes_check_image(const pg::DecodedRecord& record, const pg::BlockRef& ref, ByteView page);

// ---- Visibility map pages that a record changes without naming them -------------------------------------------

// A page of a visibility map; `rel.forknum` is kVm.
struct VmPage {
  pg::RelTag rel;
  uint32_t blkno = 0;
  friend auto operator<=>(const VmPage&, const VmPage&) = default;
};
// Calls back for each map page (at most two, never the same twice) that the record changes by side effect: heap
// records that clear bits without a reference to the map, SMGR/TRUNCATE that cuts a map page's tail. Map pages that
// are referenced are ordinary blocks and not named here. The caller stores the record as a version of that page if
// the page exists, and nothing if it does not. A malformed record names what can be read.
void for_each_vm_effect(const pg::DecodedRecord& record, int pg_version, const std::function<void(VmPage)>& callback);

// Applies what for_each_vm_effect() named; context.rel and context.blkno are the map page's. An all-zero page stays
// all zero, and the page LSN does not change, as in PostgreSQL.
Status redo_vm_side_effect(const pg::DecodedRecord& record, const RedoContext& context, MutableByteView vm_page);

inline constexpr uint8_t kVmAllVisible = 0x01;
inline constexpr uint8_t kVmAllFrozen = 0x02;
inline constexpr uint8_t kVmAllBits = 0x03;
inline constexpr uint32_t kHeapBlocksPerVmPage = (8192 - 24) * 4;  // HEAPBLOCKS_PER_PAGE = 32672

constexpr uint32_t vm_blkno_of(uint32_t heap_blkno) { return heap_blkno / kHeapBlocksPerVmPage; }
// The heap block's two bits on its map page.
uint8_t get_vm_bits(ByteView vm_page, uint32_t heap_blkno);
// Clears `flags` of the heap block's bits; true if one was set. The page's LSN stays.
bool clear_vm_bits(MutableByteView vm_page, uint32_t heap_blkno, uint8_t flags);
// Number of map pages that remain when the heap is cut to `heap_nblocks`; whether the last one has a tail to clear.
struct VmTruncation {
  uint32_t nblocks = 0;
  bool clears_tail = false;  // of page nblocks - 1
};
VmTruncation vm_truncation(uint32_t heap_nblocks);

// ---- SLRU pages: clog, multixact offsets and members, commit timestamps ---------------------------------------

struct SlruEffect {
  pg::SlruSegment segment;
  uint32_t page_in_segment = 0;  // 0 to 31
  bool will_init = false;        // the page starts from zeros whatever it was
};
// Calls back once for every SLRU page that the record writes, bounded by the record's size. A page behind the
// segment's end comes into being with the first effect on it, from zeros (ZERO_OFF_PAGE keeps what CREATE_ID wrote
// there before, so it is no base of its own). Commit timestamps are named whether or not the timeline tracks
// them: the caller drops kCommitTs while track_commit_timestamp is off.
// Segments that TRUNCATE records remove: redo/side_effects.h. Errors: kRedo, the record is malformed.
Status for_each_slru_effect(const pg::DecodedRecord& record, int pg_version,
                            const std::function<void(const SlruEffect&)>& callback);

// Applies the record to one of the pages named above; `page` is 8192 bytes, the old page or zeros.
Status redo_slru_page(const pg::DecodedRecord& record, const pg::SlruSegment& segment, uint32_t page_in_segment,
                      const RedoContext& context, MutableByteView page);

}  // namespace helium::redo
