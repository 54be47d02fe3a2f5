// Lines on stdout. Each is flushed: people and scripts watch commands that take a while.

#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <utility>

namespace helium::cli {

template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(stdout, "{}\n", fmt::format(format, std::forward<Args>(args)...));
  std::fflush(stdout);
}

}  // namespace helium::cli
