#include "base/ids.h"

#include <fmt/format.h>
#include <sys/random.h>

#include "base/check.h"

namespace helium {

std::string hex(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

std::array<uint8_t, 16> random_id_bytes() {
  std::array<uint8_t, 16> bytes;
  CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

uint64_t random_u64() {
  uint64_t value;
  CHECK(getrandom(&value, sizeof(value), 0) == static_cast<ssize_t>(sizeof(value)));
  return value;
}

Result<std::array<uint8_t, 16>> parse_id_bytes(std::string_view what, std::string_view text) {
  std::array<uint8_t, 16> bytes{};
  auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  bool good = text.size() == 32;
  for (size_t i = 0; good && i < 16; ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    good = high >= 0 && low >= 0;
    if (good) bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  if (!good) return fail(ErrorCode::kInvalid, fmt::format("'{}' is not a {}: it must be 32 hex digits", text, what));
  return bytes;
}

}  // namespace helium
