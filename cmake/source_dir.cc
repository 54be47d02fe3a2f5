#include "base/source_dir.h"

namespace helium {

std::string source_path(std::string_view relative) { return std::string(HELIUM_SOURCE_DIR "/").append(relative); }

}  // namespace helium
