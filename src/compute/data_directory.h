// DataDirectory: writes the local files that a compute starts from, afresh at each start.
//
// Layout, relative to the endpoint's folder (which is the working directory):
//   pgdata/   PostgreSQL's data directory: all that is not blocks
//   cache/    the blocks, filled lazily by the file layer
// What stands in pgdata: the folders that PostgreSQL expects, the small files of the pageserver's answer, pg_control
// saying "shut down cleanly at X", the WAL segment with the synthetic checkpoint at X, and the configuration.
// Nothing is synced: a compute that crashes is written anew.
//
// Ownership: functions on paths. Errors: kIo, kNoSpace, kInvalid (a path in the answer that leads outside), kCorrupt
// (the control file). Threads: one.
// Source: PostgreSQL 15 initdb.c (subdirs), xlog.c (StartupXLOG), controldata.

#pragma once

#include <atomic>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "compute/settings.h"
#include "pg/control_file.h"
#include "pg/wal_build.h"
#include "wire/page_service.h"

namespace helium::compute {

inline constexpr const char* kPgdata = "pgdata";
inline constexpr const char* kCache = "cache";

// Moves pgdata and cache of an earlier life aside (into `trash`, which remove_trash empties at leisure) and makes
// both anew, empty, mode 0700.
Status make_empty_folders(const std::filesystem::path& endpoint_dir);
// Removes what make_empty_folders put aside; may take long for a large cache. `stop` ends it between two files; the
// next life goes on with it.
void remove_trash(const std::filesystem::path& endpoint_dir, const std::atomic<bool>& stop);

// The checkpoint that the compute starts from: the timeline's counters at X as of now.
pg::SyntheticCheckpoint make_start_checkpoint(const wire::BootstrapReply& bootstrap, const PgSettings& settings,
                                              int64_t now_seconds);

// A tablespace with a location: a file of the answer whose mode says symbolic link, content LOCATION.
struct Tablespace {
  uint32_t oid = 0;
  std::string location;
  friend bool operator==(const Tablespace&, const Tablespace&) = default;
};
Result<std::vector<Tablespace>> tablespaces_of(const wire::BootstrapReply& bootstrap);

struct DataDirectoryInput {
  const wire::BootstrapReply& bootstrap;
  const pg::SyntheticCheckpoint& checkpoint;
  const PgSettings& settings;
  int64_t now_seconds = 0;
};
// Fills `pgdata`, which is empty but for the links of tablespaces (vfs/tablespace_files.h).
Status write_data_directory(const std::filesystem::path& pgdata, const DataDirectoryInput& input);

// A path relative to the data directory that stays inside: no empty, "." or ".." component.
bool is_safe_relative_path(std::string_view path);

// Writes segment files into `pg_wal`: their disk space is reserved, and only the pieces are written.
Status write_wal_segments(const std::filesystem::path& pg_wal, const std::vector<pg::WalPiece>& pieces);

}  // namespace helium::compute
