#include "pg/page.h"

#include <algorithm>

#include "base/check.h"

namespace helium::pg {
namespace {

constexpr uint32_t kLanes = 32;  // sums that run side by side; part of the algorithm
constexpr uint32_t kFnvPrime = 16777619;
constexpr uint32_t kLaneSeeds[kLanes] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756};

constexpr uint32_t mix(uint32_t sum, uint32_t word) {
  const uint32_t x = sum ^ word;
  return x * kFnvPrime ^ x >> 17;
}

}  // namespace

bool page_all_zero(ByteView page) {
  return std::ranges::all_of(page, [](std::byte b) { return b == std::byte{0}; });
}

void page_init(MutableByteView page, uint32_t special_size) {
  const uint32_t special = kBlockSize - max_align(special_size);
  CHECK(page.size() == kBlockSize);
  CHECK(special_size <= kBlockSize - kPageHeaderSize);
  std::ranges::fill(page, std::byte{0});
  set_page_lower(page, kPageHeaderSize);
  set_page_upper(page, static_cast<uint16_t>(special));
  set_page_special(page, static_cast<uint16_t>(special));
  store<uint16_t>(page.data() + kPdSizeVersionAt, kBlockSize | kPageLayoutVersion);
}

bool page_header_valid(ByteView page) {
  constexpr uint16_t kKnownFlags = kPdHasFreeLines | kPdPageFull | kPdAllVisible;
  const uint16_t lower = page_lower(page), upper = page_upper(page), special = page_special(page);
  return load<uint16_t>(page.data() + kPdSizeVersionAt) == (kBlockSize | kPageLayoutVersion) &&
         (page_flags(page) & ~kKnownFlags) == 0 && lower >= kPageHeaderSize && lower <= upper && upper <= special &&
         special <= kBlockSize && special == max_align(special);
}

uint16_t page_checksum(ByteView page, uint32_t blkno) {
  CHECK(page.size() == kBlockSize);
  uint32_t sums[kLanes];
  std::copy(std::begin(kLaneSeeds), std::end(kLaneSeeds), sums);
  for (uint32_t row = 0; row < kBlockSize / 4 / kLanes; ++row) {
    uint32_t words[kLanes];
    std::memcpy(words, page.data() + row * sizeof(words), sizeof(words));
    if (row == 0) words[kPdChecksumAt / 4] &= 0xFFFF0000u;  // the field counts as zero; pd_flags shares its word
    for (uint32_t lane = 0; lane < kLanes; ++lane) sums[lane] = mix(sums[lane], words[lane]);
  }
  uint32_t folded = 0;
  for (uint32_t sum : sums) folded ^= mix(mix(sum, 0), 0);  // two more rounds of zeros spread the last words
  folded ^= blkno;
  return static_cast<uint16_t>(folded % 65535 + 1);
}

void set_page_checksum(MutableByteView page, uint32_t blkno) {
  if (page_is_new(page)) return;
  set_page_stored_checksum(page, page_checksum(page, blkno));
}

}  // namespace helium::pg
