// Where the stock programs of PostgreSQL's major versions are on this machine.
//
// A distribution directory holds a folder per major version, vNN or NN (vNN wins), with bin/postgres in it. Without one
// it is Debian's, /usr/lib/postgresql. A link does as well as a folder: v17 may lead to any unpacked PostgreSQL.
// Errors: kNotFound: says where it looked, which versions are there, and what to do. Looks at the disk at each call;
// safe from any thread.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace helium {

// kOldestPgVersion to kNewestPgVersion; else kInvalid, which names them.
Status check_pg_version(int pg_version);

// The supported versions whose `postgres` is there, ascending.
std::vector<int> installed_pg_versions(const std::filesystem::path& distrib_dir);

// The folder that holds the version's `postgres`. kInvalid: see check_pg_version.
Result<std::filesystem::path> find_pg_bin_dir(const std::filesystem::path& distrib_dir, int pg_version);

}  // namespace helium
