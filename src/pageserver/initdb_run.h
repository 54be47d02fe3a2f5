// A new cluster, made by the stock initdb as an ordinary user and kept for the next timeline of the same kind.
//
// PostgreSQL refuses to run as root: then initdb runs as HELIUM_PG_USER, else postgres, else nobody, in a temporary
// folder of its own below /tmp, since that user may not be able to traverse the way to our data directory.
// The result is copied to <cache_folder>/<kind>/, synced, and published by renaming; a crash leaves nothing half.
// Errors: kNotFound: no initdb for that version (says where it looked); kIo: initdb failed (with its last words).
// Threads: safe from any; one initdb at a time.

#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace helium::pageserver {

// Where a version's programs are: <pg_distrib_dir>/v15/bin, or Debian's /usr/lib/postgresql/15/bin if it is empty.
Result<std::filesystem::path> find_pg_bin_dir(const std::filesystem::path& pg_distrib_dir, int pg_version);

// The data directory of a fresh cluster with superuser cloud_admin, UTF8, C.UTF-8; never started, not to be changed.
Result<std::filesystem::path> cached_initdb(const std::filesystem::path& cache_folder,
                                            const std::filesystem::path& bin_dir);

}  // namespace helium::pageserver
