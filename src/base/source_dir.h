// source_path("tests/compat/x"): where a file of the source tree lies. For tests, fuzzers and benchmarks only, which link
// the library source_dir. One source file knows the folder, so that what ccache has compiled in one clone serves others.

#pragma once

#include <string>
#include <string_view>

namespace helium {

std::string source_path(std::string_view relative);

}  // namespace helium
