#include "io/pg_distribution.h"

#include <fmt/format.h>
#include <unistd.h>

#include <optional>

#include "base/pg_version.h"

namespace helium {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDebianDir = "/usr/lib/postgresql";

fs::path searched(const fs::path& distrib_dir) { return distrib_dir.empty() ? fs::path(kDebianDir) : distrib_dir; }

std::optional<fs::path> bin_dir_in(const fs::path& folder, int pg_version) {
  for (const std::string& name : {fmt::format("v{}", pg_version), std::to_string(pg_version)}) {
    fs::path bin = folder / name / "bin";
    if (::access((bin / "postgres").c_str(), X_OK) == 0) return bin;
  }
  return std::nullopt;
}

}  // namespace

Status check_pg_version(int pg_version) {
  if (is_supported_pg_version(pg_version)) return {};
  return fail(ErrorCode::kInvalid, fmt::format("PostgreSQL {} is not supported: {} to {} are", pg_version,
                                               kOldestPgVersion, kNewestPgVersion));
}

std::vector<int> installed_pg_versions(const fs::path& distrib_dir) {
  std::vector<int> versions;
  for (int version = kOldestPgVersion; version <= kNewestPgVersion; ++version) {
    if (bin_dir_in(searched(distrib_dir), version)) versions.push_back(version);
  }
  return versions;
}

Result<fs::path> find_pg_bin_dir(const fs::path& distrib_dir, int pg_version) {
  HELIUM_TRY(check_pg_version(pg_version));
  const fs::path folder = searched(distrib_dir);
  if (auto found = bin_dir_in(folder, pg_version)) return *found;
  std::string there;
  for (const int version : installed_pg_versions(distrib_dir)) {
    there += fmt::format("{}{}", there.empty() ? "" : ", ", version);
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("there is no PostgreSQL {} in '{}' (found: {}): {}", pg_version, folder.string(),
                          there.empty() ? "none" : there,
                          distrib_dir.empty()
                              ? fmt::format("install postgresql-{}, or name a directory that holds v{}/bin/postgres "
                                            "with 'helium init --pg-distrib-dir'",
                                            pg_version, pg_version)
                              : fmt::format("that directory must hold v{}/bin/postgres; v{} may be a link", pg_version, pg_version)));
}

}  // namespace helium
