// PostgreSQL's own compression ("pglz"), decompression only: full-page images with wal_compression = pglz, toasted
// values.
//
// A control byte announces eight items, least significant bit first. Bit 0: one literal byte. Bit 1: a copy from the
// output, two bytes LLLL = low nibble of the first (length - 3), offset = high nibble of the first << 8 | the second;
// a length of 18 is followed by one byte that adds to it. Copies may overlap what they write.
// Pure. Source: PostgreSQL 15 pg_lzcompress.c (format description there).

#pragma once

#include "base/bytes.h"

namespace helium::pg {

// Fills `output` from untrusted `input`. False when the input is malformed or does not give exactly that many bytes.
bool pglz_decompress(ByteView input, MutableByteView output);

}  // namespace helium::pg
