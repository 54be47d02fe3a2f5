// Any path is safe to map, and what is ours has one canonical spelling, which maps to itself.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "vfs/path_map.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace helium::vfs;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const MappedPath path = map_path(text.c_str());
  if (path.kind == PathKind::kPlain || path.kind == PathKind::kWalFile || path.kind == PathKind::kWalTemp || path.kind == PathKind::kTablespaceLink) return 0;
  char name[kCachePathMax], again[kCachePathMax];
  format_cache_path(path, name);
  const MappedPath same = map_path(name);
  if (same.kind != path.kind) abort();
  format_cache_path(same, again);
  if (strcmp(name, again) != 0) abort();
  return 0;
}
