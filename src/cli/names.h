// Checks of what people type: names of endpoints and branches, settings. Pure.

#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace helium::cli {

inline constexpr size_t kNameLengthMax = 63;

// An endpoint's name is a folder's name, and a branch's name often becomes one: letters, digits, '_', '-' and '.',
// beginning with a letter, a digit or '_'. kInvalid names the character that is wrong. `what`: "endpoint".
Status check_name(std::string_view what, std::string_view name);

// "work_mem=64MB" becomes {"work_mem", "64MB"}; blanks around both are dropped. kInvalid without '=' or with a
// name that PostgreSQL could not have ("shared buffers").
Result<std::pair<std::string, std::string>> parse_setting(std::string_view text);

// "a, b and c"; "none yet" for an empty list.
std::string join_names(const std::vector<std::string>& names);

}  // namespace helium::cli
