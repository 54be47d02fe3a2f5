#include "store/object_store.h"

#include <fmt/format.h>

#include <algorithm>

namespace helium {
namespace {

constexpr size_t kKeyMax = 512;

bool is_key_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '=' || c == '-';
}

bool is_part(std::string_view part) {
  return !part.empty() && part.front() != '.' && std::ranges::all_of(part, is_key_character);
}

}  // namespace

Status check_object_key(std::string_view key) {
  bool good = key.size() <= kKeyMax;
  for (std::string_view rest = key; good;) {
    const size_t slash = rest.find('/');
    good = is_part(rest.substr(0, slash));
    if (slash == std::string_view::npos) break;
    rest = rest.substr(slash + 1);
  }
  if (!good) return fail(ErrorCode::kInvalid, fmt::format("'{}' is no object key", key.substr(0, kKeyMax)));
  return {};
}

}  // namespace helium
