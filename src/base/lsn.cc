#include "base/lsn.h"

#include <fmt/format.h>

#include <charconv>

namespace helium {

std::string to_string(Lsn lsn) {
  return fmt::format("{:X}/{:X}", static_cast<uint32_t>(lsn.bytes() >> 32), static_cast<uint32_t>(lsn.bytes()));
}

Result<Lsn> parse_lsn(std::string_view text) {
  auto bad = [&] {
    return fail(ErrorCode::kInvalid, fmt::format("'{}' is not an LSN; write it as 0/16B3740", text));
  };
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return bad();
  uint64_t halves[2] = {0, 0};
  const std::string_view parts[2] = {text.substr(0, slash), text.substr(slash + 1)};
  for (int i = 0; i < 2; ++i) {
    const std::string_view part = parts[i];
    if (part.empty() || part.size() > 8) return bad();
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), halves[i], 16);
    if (error != std::errc() || end != part.data() + part.size()) return bad();
  }
  return Lsn(halves[0] << 32 | halves[1]);
}

}  // namespace helium
