#include "safekeeper/reply_timer.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <utility>

namespace helium::safekeeper {

Result<ReplyTimer::Milliseconds> parse_duration(std::string_view text) {
  constexpr std::pair<std::string_view, int64_t> kUnits[] = {{"", 1},       {"ms", 1},        {"s", 1000},
                                                             {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  if (error == std::errc() && number >= 0) {
    for (const auto& [name, milliseconds] : kUnits) {
      if (unit == name && number <= std::numeric_limits<int32_t>::max() / milliseconds) {
        return ReplyTimer::Milliseconds(number * milliseconds);
      }
    }
  }
  return fail(ErrorCode::kInvalid, fmt::format("'{}' is no length of time; valid units are ms, s, min, h and d", text));
}

}  // namespace helium::safekeeper
