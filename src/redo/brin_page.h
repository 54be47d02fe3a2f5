// BRIN pages: their special area, and which blocks of records are revmap pages.
//
// Special area, 8 bytes: …, flags u16, page type u16. A revmap page is an array of TIDs between header and special area,
// outside of what pd_lower and pd_upper say is used.
// Pure. Source: PostgreSQL 15 brin_page.h, brin_xlog.h; the same in 14 to 18.

#pragma once

#include <cstddef>
#include <cstdint>

#include "pg/page.h"
#include "pg/wal_record.h"

namespace helium::redo {

inline constexpr uint32_t kBrinSpecialSize = 8;
inline constexpr size_t kBrinPageTypeAt = 6;
inline constexpr uint16_t kBrinMetaPage = 0xF091;
inline constexpr uint16_t kBrinRevmapPage = 0xF092;
inline constexpr uint16_t kBrinRegularPage = 0xF093;

// Operations: info & 0x70.
inline constexpr uint8_t kBrinOpMask = 0x70;
inline constexpr uint8_t kBrinInitPage = 0x80;  // the new summary is the first on its page
inline constexpr uint8_t kBrinCreateIndex = 0x00;
inline constexpr uint8_t kBrinInsert = 0x10;
inline constexpr uint8_t kBrinUpdate = 0x20;
inline constexpr uint8_t kBrinSamepageUpdate = 0x30;
inline constexpr uint8_t kBrinRevmapExtend = 0x40;
inline constexpr uint8_t kBrinDesummarize = 0x50;

inline void init_brin_page(MutableByteView page, uint16_t type) {
  pg::page_init(page, kBrinSpecialSize);
  store(page.data() + pg::kBlockSize - kBrinSpecialSize + kBrinPageTypeAt, type);
}

inline bool is_brin_revmap_page(ByteView page) {
  return pg::page_special(page) == pg::kBlockSize - kBrinSpecialSize &&
         load<uint16_t>(page.data() + pg::kBlockSize - kBrinSpecialSize + kBrinPageTypeAt) == kBrinRevmapPage;
}

// Is the block a revmap page of which the record changes an entry?
inline bool is_brin_revmap_block(const pg::DecodedRecord& record, const pg::BlockRef& ref) {
  if (record.rmgr != static_cast<uint8_t>(pg::Rmgr::kBrin)) return false;
  const uint8_t op = record.info & kBrinOpMask;
  return ((op == kBrinInsert || op == kBrinUpdate) && ref.id == 1) || (op == kBrinDesummarize && ref.id == 0);
}

}  // namespace helium::redo
