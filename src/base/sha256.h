// SHA-256 and HMAC-SHA256, for bytes that come in pieces.
//
// Allocates nothing and throws nothing: the preload library uses it inside PostgreSQL. Plain values; not thread safe.
// Source: FIPS 180-4, RFC 2104.

#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace helium {

class Sha256 {
 public:
  static constexpr size_t kSize = 32;
  using Digest = std::array<std::byte, kSize>;

  Sha256& add(ByteView bytes);
  Digest finish();  // once

 private:
  void add_block(const std::byte* block);

  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t size_ = 0;
  std::byte rest_[64];
};

class HmacSha256 {
 public:
  explicit HmacSha256(ByteView key);
  HmacSha256& add(ByteView bytes) {
    inner_.add(bytes);
    return *this;
  }
  Sha256::Digest finish();  // once

 private:
  Sha256 inner_;
  Sha256 outer_;
};

// In a time that does not depend on where they differ.
bool equal_secrets(ByteView x, ByteView y);

}  // namespace helium
