// GIN's compressed posting lists: ascending heap TIDs as differences, over untrusted bytes.
//
// A list ("segment"): first TID (6 bytes, see index_tuple.h), length u16, as many bytes, and a zero if that is odd.
// A TID counts as block << 11 | offset, 43 bits; each byte holds 7 bits of a difference, low ones first, and whether
// more follow. Memory: TidNumbers of at most what a page or a record holds (8 and 11 thousand).
// Pure. Source: PostgreSQL 15 ginpostinglist.c, ginblock.h.

#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace helium::redo {

using TidNumbers = std::vector<uint64_t>;

// The whole list that begins `bytes`, with its padding. Errors: kRedo: it is cut off.
Result<ByteView> gin_list_at(ByteView bytes);
// The TIDs of such a list. Errors: kRedo: they do not ascend, or are none.
Result<TidNumbers> decode_gin_list(ByteView list);
// TIDs of 6 bytes each, one after the other. Errors: as above.
Result<TidNumbers> decode_gin_tids(ByteView tids);
// Both, each TID once.
TidNumbers merge_gin_tids(const TidNumbers& a, const TidNumbers& b);
// Errors: kRedo: empty, or longer than a page.
Result<Bytes> encode_gin_list(const TidNumbers& tids);

}  // namespace helium::redo
