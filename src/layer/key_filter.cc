#include "layer/key_filter.h"

#include <algorithm>

#include "base/crc32c.h"

namespace helium::layer {
namespace {

constexpr int kBitsSet = 6;

uint64_t line_of(uint64_t key_hash, uint32_t pages) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(key_hash) * (uint64_t{pages} * kFilterLines)) >> 64);
}

uint32_t checksum(ByteView page, uint32_t page_no) {
  return Crc32c().add(&page_no, sizeof(page_no)).add(page.first(kFilterPageSize - 4)).value();
}

}  // namespace

Bytes build_filter(std::span<const uint64_t> key_hashes) {
  const uint64_t bits = std::max<uint64_t>(key_hashes.size(), 1) * kFilterBitsPerKey;
  const uint64_t bits_per_page = kFilterLines * kFilterLineSize * 8;
  const auto pages = static_cast<uint32_t>((bits + bits_per_page - 1) / bits_per_page);
  Bytes filter(size_t{pages} * kFilterPageSize);
  for (const uint64_t hash : key_hashes) {
    const uint64_t line = line_of(hash, pages);
    std::byte* bytes = &filter[line / kFilterLines * kFilterPageSize + line % kFilterLines * kFilterLineSize];
    uint64_t groups = hash * 0x9E3779B97F4A7C15u;
    for (int i = 0; i < kBitsSet; ++i, groups >>= 9) bytes[(groups & 511) / 8] |= std::byte(1u << (groups & 7));
  }
  for (uint32_t page_no = 0; page_no < pages; ++page_no) {
    std::byte* page = &filter[size_t{page_no} * kFilterPageSize];
    store(page + kFilterPageSize - 4, checksum({page, kFilterPageSize}, page_no));
  }
  return filter;
}

uint32_t filter_page_of(uint64_t key_hash, uint32_t pages) {
  return static_cast<uint32_t>(line_of(key_hash, pages) / kFilterLines);
}

bool filter_may_contain(ByteView page, uint64_t key_hash, uint32_t pages) {
  const std::byte* bytes = &page[line_of(key_hash, pages) % kFilterLines * kFilterLineSize];
  uint64_t groups = key_hash * 0x9E3779B97F4A7C15u;
  for (int i = 0; i < kBitsSet; ++i, groups >>= 9) {
    if ((bytes[(groups & 511) / 8] & std::byte(1u << (groups & 7))) == std::byte{0}) return false;
  }
  return true;
}

Status validate_filter_page(ByteView page, uint32_t page_no) {
  if (page.size() != kFilterPageSize || load<uint32_t>(&page[kFilterPageSize - 4]) != checksum(page, page_no)) {
    return fail(ErrorCode::kCorrupt, "key filter: checksum mismatch");
  }
  return {};
}

}  // namespace helium::layer
