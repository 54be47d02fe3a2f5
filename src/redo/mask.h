// Masking: what two copies of a page may differ in although both are right, set to fixed bytes, so that a page after
// our redo and the check image of wal_consistency_checking can be compared byte by byte.
//
// Errors: kRedo: the page header is impossible. Pure.
// Source: PostgreSQL 15 bufmask.c, heapam.c heap_mask, nbtxlog.c btree_mask, gistxlog.c, hash_xlog.c, ginxlog.c,
// spgxlog.c, brin_xlog.c, sequence.c seq_mask, generic_xlog.c generic_mask.

#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "pg/rel.h"

namespace helium::redo {

// Masks in place, as the resource manager's rm_mask does, but stricter on a visibility map: there all bytes behind
// the page header stay, since PostgreSQL's mask of the hole would hide them all.
Status mask_page(uint8_t rmgr, uint8_t info, const pg::RelTag& rel, uint32_t blkno, MutableByteView page);

// Offset of the first byte that differs.
std::optional<uint32_t> compare_pages(ByteView a, ByteView b);

}  // namespace helium::redo
