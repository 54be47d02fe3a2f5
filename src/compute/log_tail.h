// The end of a log file, for messages to people. Errors: an unreadable file gives "". Threads: any.

#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace helium::compute {

// At most `lines` lines, from at most the last 16 kB.
std::string last_lines(const std::filesystem::path& path, size_t lines);

}  // namespace helium::compute
