// Redo of RM_GENERIC_ID: byte ranges written into the page, then an empty hole. bloom, pgvector and other extensions.
// Block data, until its end: offset u16, length u16, as many bytes.
// Source: PostgreSQL 15 generic_xlog.c; the same in 14 to 18.

#include <algorithm>

#include "redo/rmgr_redo.h"

namespace helium::redo {

Status redo_generic(const BlockRedo& redo) {
  ByteReader delta(redo.ref.data);
  while (delta.remaining() > 0) {
    const uint32_t offset = delta.u16();
    const uint32_t length = delta.u16();
    const ByteView bytes = delta.raw(length);
    if (delta.failed()) return bad("a change of {} bytes at {} is cut off", length, offset);
    if (offset + length > pg::kBlockSize) return bad("a change of {} bytes at {}", length, offset);
    std::ranges::copy(bytes, redo.page.begin() + offset);
  }
  // The delta says nothing of what lies in the hole.
  const uint32_t lower = pg::page_lower(redo.page);
  const uint32_t upper = pg::page_upper(redo.page);
  if (lower < pg::kPageHeaderSize || lower > upper || upper > pg::kBlockSize)
    return bad("page pointers lower {} upper {}", lower, upper);
  std::ranges::fill(redo.page.subspan(lower, upper - lower), std::byte{0});
  redo.stamp();
  return {};
}

}  // namespace helium::redo
