// A new cluster, made by the stock initdb as an ordinary user and kept for the next timeline of the same kind.
//
// PostgreSQL refuses to run as root: then initdb runs as HELIUM_PG_USER, else postgres, else nobody, in a temporary
// folder of its own below /tmp, since that user may not be able to traverse the way to our data directory.
// The result is copied to <cache_folder>/<kind>/, synced, and published by renaming; a crash leaves nothing half. The kind
// is initdb's own version (minor and all), superuser, encoding, locale, and whether pages have checksums.
// Errors: kNotFound: no initdb beside that postgres; kIo: initdb failed (with its last words).
// Threads: safe from any; one initdb at a time.

#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace helium::pageserver {

// What a version's initdb does if nobody says otherwise: checksums from 18 on.
constexpr bool has_checksums_by_default(int pg_version) { return pg_version >= 18; }

// The data directory of a fresh cluster with superuser cloud_admin, UTF8, C.UTF-8; never started, not to be changed.
Result<std::filesystem::path> cached_initdb(const std::filesystem::path& cache_folder,
                                            const std::filesystem::path& bin_dir, int pg_version, bool data_checksums);

}  // namespace helium::pageserver
