#include "base/crc32c.h"

#include <array>

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

namespace helium {

Crc32c& Crc32c::add(ByteView bytes) {
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  size_t size = bytes.size();
#ifdef __SSE4_2__
  uint64_t wide = state_;
  while (size >= 8) {
    wide = _mm_crc32_u64(wide, load<uint64_t>(p));
    p += 8;
    size -= 8;
  }
  auto narrow = static_cast<uint32_t>(wide);
  while (size > 0) {
    narrow = _mm_crc32_u8(narrow, *p++);
    --size;
  }
  state_ = narrow;
#else
  static constexpr auto kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? (c >> 1) ^ 0x82F63B78u : c >> 1;
      table[i] = c;
    }
    return table;
  }();
  for (; size > 0; --size) state_ = kTable[(state_ ^ *p++) & 0xFF] ^ (state_ >> 8);
#endif
  return *this;
}

}  // namespace helium
