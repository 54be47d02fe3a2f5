// Sizes and numbers that every supported PostgreSQL shares, as Debian builds it.
// Source: PostgreSQL 15 pg_config.h, xlog_internal.h, rmgrlist.h.

#pragma once

#include <cstdint>
#include <string>

#include "base/lsn.h"

namespace helium::pg {

inline constexpr uint32_t kBlockSize = 8192;                      // BLCKSZ
inline constexpr uint32_t kRelSegBlocks = 131072;                 // RELSEG_SIZE: blocks in a 1 GiB segment file
inline constexpr uint32_t kSlruSegPages = 32;                     // SLRU_PAGES_PER_SEGMENT
inline constexpr uint32_t kWalPageSize = 8192;                    // XLOG_BLCKSZ
inline constexpr uint32_t kWalSegmentSize = 16 * 1024 * 1024;     // wal_segment_size
inline constexpr uint32_t kWalShortPageHeader = 24;               // SizeOfXLogShortPHD
inline constexpr uint32_t kWalLongPageHeader = 40;                // SizeOfXLogLongPHD
inline constexpr uint32_t kWalRecordHeader = 24;                  // SizeOfXLogRecord

// RmgrIds; numbers stand in WAL and have been the same since version 10.
enum class Rmgr : uint8_t {
  kXlog = 0, kXact = 1, kSmgr = 2, kClog = 3, kDbase = 4, kTblspc = 5, kMultixact = 6, kRelmap = 7,
  kStandby = 8, kHeap2 = 9, kHeap = 10, kBtree = 11, kHash = 12, kGin = 13, kGist = 14, kSeq = 15,
  kSpgist = 16, kBrin = 17, kCommitTs = 18, kReplOrigin = 19, kGeneric = 20, kLogicalMsg = 21,
};
inline constexpr uint8_t kLastBuiltinRmgr = 21;
inline constexpr uint8_t kFirstCustomRmgr = 128;  // RM_MIN_CUSTOM_ID, from 15
const char* rmgr_name(uint8_t rmgr);  // "heap2"; "custom" from 128; lower case as in wal_consistency_checking

constexpr uint32_t wal_segment_offset(Lsn lsn) { return static_cast<uint32_t>(lsn.bytes() % kWalSegmentSize); }
constexpr uint64_t wal_segment_number(Lsn lsn) { return lsn.bytes() / kWalSegmentSize; }
constexpr Lsn wal_segment_start(uint64_t segno) { return Lsn(segno * kWalSegmentSize); }
constexpr uint32_t wal_page_offset(Lsn lsn) { return static_cast<uint32_t>(lsn.bytes() % kWalPageSize); }
constexpr uint32_t wal_page_header_size(Lsn lsn) {
  return wal_segment_offset(lsn) < kWalPageSize ? kWalLongPageHeader : kWalShortPageHeader;
}
// Where a record that follows a record ending at `end` starts: behind the page header if `end` is a page's start.
constexpr Lsn wal_record_start_after(Lsn end) {
  return wal_page_offset(end) == 0 ? end + wal_page_header_size(end) : end;
}
// "000000010000000000000001"
std::string wal_segment_name(uint32_t pg_timeline, uint64_t segno);

}  // namespace helium::pg
