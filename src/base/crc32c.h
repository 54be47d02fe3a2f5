// CRC-32C (Castagnoli), as PostgreSQL's pg_crc32c: initial value and final xor of all ones.
// Pure, safe from any thread. Uses SSE4.2 where the compiler targets it.

#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace helium {

// A running sum: Crc32c().add(a).add(b).value() equals crc32c of a followed by b.
class Crc32c {
 public:
  Crc32c& add(ByteView bytes);
  Crc32c& add(const void* data, size_t size) { return add({static_cast<const std::byte*>(data), size}); }
  uint32_t value() const { return state_ ^ 0xFFFFFFFFu; }

 private:
  uint32_t state_ = 0xFFFFFFFFu;
};

inline uint32_t crc32c(ByteView bytes) { return Crc32c().add(bytes).value(); }

}  // namespace helium
