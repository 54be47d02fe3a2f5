#include "base/sha256.h"

#include <algorithm>
#include <bit>

namespace helium {
namespace {

constexpr size_t kBlock = 64;
constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

}  // namespace

void Sha256::add_block(const std::byte* block) {
  uint32_t w[64];
  for (int i = 0; i < 16; ++i) w[i] = __builtin_bswap32(load<uint32_t>(block + 4 * i));
  for (int i = 16; i < 64; ++i) {
    const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  uint32_t v[8];
  std::copy(std::begin(state_), std::end(state_), v);
  auto& [a, b, c, d, e, f, g, h] = v;
  for (int i = 0; i < 64; ++i) {
    const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
    const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  for (int i = 0; i < 8; ++i) state_[i] += v[i];
}

Sha256& Sha256::add(ByteView bytes) {
  size_t held = size_ % kBlock;
  size_ += bytes.size();
  while (!bytes.empty()) {
    if (held == 0 && bytes.size() >= kBlock) {
      add_block(bytes.data());
      bytes = bytes.subspan(kBlock);
      continue;
    }
    const size_t part = std::min(kBlock - held, bytes.size());
    std::memcpy(rest_ + held, bytes.data(), part);
    bytes = bytes.subspan(part);
    held += part;
    if (held < kBlock) break;
    add_block(rest_);
    held = 0;
  }
  return *this;
}

Sha256::Digest Sha256::finish() {
  const uint64_t bits = __builtin_bswap64(size_ * 8);
  std::byte padding[kBlock + 8] = {std::byte{0x80}};
  // Up to 8 bytes before a block's end, then the length.
  const size_t zeros = (kBlock + 56 - size_ % kBlock - 1) % kBlock + 1;
  add({padding, zeros});
  add(std::as_bytes(std::span(&bits, 1)));
  Digest digest;
  for (size_t i = 0; i < 8; ++i) store(digest.data() + 4 * i, __builtin_bswap32(state_[i]));
  return digest;
}

HmacSha256::HmacSha256(ByteView key) {
  Sha256::Digest short_key;
  if (key.size() > kBlock) {
    short_key = Sha256().add(key).finish();
    key = short_key;
  }
  std::byte inner[kBlock], outer[kBlock];
  for (size_t i = 0; i < kBlock; ++i) {
    const std::byte byte = i < key.size() ? key[i] : std::byte{0};
    inner[i] = byte ^ std::byte{0x36};
    outer[i] = byte ^ std::byte{0x5c};
  }
  inner_.add(inner);
  outer_.add(outer);
}

Sha256::Digest HmacSha256::finish() { return outer_.add(inner_.finish()).finish(); }

bool equal_secrets(ByteView x, ByteView y) {
  if (x.size() != y.size()) return false;
  std::byte difference{0};
  for (size_t i = 0; i < x.size(); ++i) difference |= x[i] ^ y[i];
  return difference == std::byte{0};
}

}  // namespace helium
