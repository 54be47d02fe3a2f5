#include "cli/names.h"

#include <fmt/format.h>

#include <algorithm>

namespace helium::cli {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

Status check_name(std::string_view what, std::string_view name) {
  if (name.empty()) return fail(ErrorCode::kInvalid, fmt::format("the {} name is empty: give it a name", what));
  if (name.size() > kNameLengthMax) {
    return fail(ErrorCode::kInvalid,
                fmt::format("the {} name has {} characters: use at most {}", what, name.size(), kNameLengthMax));
  }
  const auto allowed = [](char c) { return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '.'; };
  if (const auto bad = std::ranges::find_if_not(name, allowed); bad != name.end()) {
    const auto byte = static_cast<unsigned char>(*bad);
    const std::string shown = byte >= 0x20 && byte < 0x7f ? fmt::format("'{}'", *bad) : fmt::format("byte 0x{:02x}", byte);
    return fail(ErrorCode::kInvalid,
                fmt::format("bad {} name '{}': {} is not allowed, use letters, digits, '_', '-' and '.'", what, name, shown));
  }
  if (!is_letter(name[0]) && !is_digit(name[0]) && name[0] != '_') {
    return fail(ErrorCode::kInvalid,
                fmt::format("bad {} name '{}': begin with a letter, a digit or '_'", what, name));
  }
  return {};
}

Result<std::pair<std::string, std::string>> parse_setting(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return fail(ErrorCode::kInvalid, fmt::format("'{}' is not a setting: write -c name=value", text));
  }
  const std::string_view name = trim(text.substr(0, equals));
  const auto allowed = [](char c) { return is_letter(c) || is_digit(c) || c == '_' || c == '.'; };
  if (name.empty() || !std::ranges::all_of(name, allowed)) {
    return fail(ErrorCode::kInvalid,
                fmt::format("'{}' is not the name of a PostgreSQL setting: write -c name=value", name));
  }
  return std::pair(std::string(name), std::string(trim(text.substr(equals + 1))));
}

std::string join_names(const std::vector<std::string>& names) {
  if (names.empty()) return "none yet";
  std::string text = names.front();
  for (size_t i = 1; i < names.size(); ++i) text += (i + 1 == names.size() ? " and " : ", ") + names[i];
  return text;
}

}  // namespace helium::cli
