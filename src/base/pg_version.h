// The major versions of PostgreSQL that Helium runs. Plain numbers: 15 is PostgreSQL 15.

#pragma once

#include <cstdint>

namespace helium {

inline constexpr int kOldestPgVersion = 14;
inline constexpr int kNewestPgVersion = 18;

constexpr bool is_supported_pg_version(int64_t version) {
  return version >= kOldestPgVersion && version <= kNewestPgVersion;
}

}  // namespace helium
