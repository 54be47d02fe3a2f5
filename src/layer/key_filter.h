// Key filter of a layer file: a Bloom filter over its keys, so that reads skip layers that lack the key.
// Full specification: docs/formats/layer_file.md.
//
// Paged, so that a lookup reads one page; a key's bits lie in one 64-byte line, so that it touches one cache line.
//   page: kFilterLines lines of 64 bytes, 60 zero bytes, u32 crc32c over page_no (u32) and bytes [0, 8188)
// A key with hash h (Key::hash) belongs to line (h * total lines) >> 64; its six bits there are the 9-bit groups of
// h * 0x9E3779B97F4A7C15 from bit 0 on. 10 bits a key; about 1.5 % of absent keys pass.
//
// Pure functions; safe from any thread.

#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/result.h"
#include "layer/layer_header.h"

namespace helium::layer {

inline constexpr size_t kFilterLineSize = 64;
inline constexpr size_t kFilterLines = 127;
inline constexpr size_t kFilterBitsPerKey = 10;
static_assert(kFilterLines * kFilterLineSize + 60 + 4 == kFilterPageSize);

Bytes build_filter(std::span<const uint64_t> key_hashes);  // whole pages, at least one

uint32_t filter_page_of(uint64_t key_hash, uint32_t pages);
// `page` is the one that filter_page_of names, accepted by validate_filter_page.
bool filter_may_contain(ByteView page, uint64_t key_hash, uint32_t pages);
Status validate_filter_page(ByteView page, uint32_t page_no);  // kCorrupt

}  // namespace helium::layer
