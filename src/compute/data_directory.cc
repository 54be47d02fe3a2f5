#include "compute/data_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/ids.h"
#include "base/log.h"
#include "compute/auxiliary_files.h"
#include "io/durable_file.h"
#include "pg/constants.h"
#include "vfs/path_map.h"

namespace helium::compute {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTrash = "trash";
constexpr size_t kLocationMax = 1024;  // MAXPGPATH

// What initdb makes, but for base/1, which the pageserver names like every other database.
constexpr const char* kFolders[] = {
    "base",         "global",        "pg_commit_ts",         "pg_dynshmem",         "pg_logical",  "pg_logical/mappings",
    "pg_logical/snapshots", "pg_multixact", "pg_multixact/members", "pg_multixact/offsets", "pg_notify",   "pg_replslot",
    "pg_serial",    "pg_snapshots",  "pg_stat",              "pg_stat_tmp",         "pg_subtrans", "pg_tblspc",
    "pg_twophase",  "pg_wal",        "pg_wal/archive_status", "pg_xact",
};

Status make_folder(const fs::path& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_errno(fmt::format("create folder '{}'", path.string()), errno);
  }
  return {};
}

Status write_plain(const fs::path& path, ByteView content, int mode = 0600) {
  HELIUM_ASSIGN(const Fd file, open_file(path, O_CREAT | O_TRUNC | O_WRONLY, mode));
  if (Status written = pwrite_all(file, content, 0); !written) {
    return fail(std::move(written).error().context(fmt::format("write '{}'", path.string())));
  }
  return {};
}

Status move_aside(const fs::path& folder, const fs::path& trash) {
  const fs::path target = trash / fmt::format("{}-{:016x}", folder.filename().string(), random_u64());
  if (::rename(folder.c_str(), target.c_str()) == 0) return {};
  if (errno == ENOENT && ::access(folder.c_str(), F_OK) != 0) return {};  // the folder's first life
  return fail_errno(fmt::format("move '{}' aside", folder.string()), errno);
}

Status write_bootstrap_files(const fs::path& pgdata, const wire::BootstrapReply& bootstrap) {
  std::set<std::string> made;
  const auto make_parents = [&](std::string_view path) -> Status {
    for (size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
      if (const std::string folder(path.substr(0, slash)); made.insert(folder).second) {
        HELIUM_TRY(make_folder(pgdata / folder));
      }
    }
    return {};
  };
  for (const std::string& folder : bootstrap.folders) {
    if (!is_safe_relative_path(folder)) {
      return fail(ErrorCode::kInvalid, fmt::format("the pageserver names a folder '{}'", folder));
    }
    HELIUM_TRY(make_parents(folder + "/"));
  }
  for (const wire::BootstrapFile& file : bootstrap.files) {
    if (S_ISLNK(file.mode)) continue;  // a tablespace: its link is there already
    if (!is_safe_relative_path(file.path)) {
      return fail(ErrorCode::kInvalid, fmt::format("the pageserver names a file '{}'", file.path));
    }
    HELIUM_TRY(check_auxiliary_path(file.path, file.content.size()));
    HELIUM_TRY(make_parents(file.path));
    HELIUM_TRY(write_plain(pgdata / file.path, file.content, static_cast<int>(file.mode & 0700)));
    if (pg::auxiliary_kind(file.path) != pg::AuxiliaryKind::kNone) {
      const timespec times[2] = {{0, UTIME_OMIT}, pg::auxiliary_mark(static_cast<int64_t>(file.content.size()))};
      if (::utimensat(AT_FDCWD, (pgdata / file.path).c_str(), times, 0) != 0)
        return fail_errno(fmt::format("mark '{}'", file.path), errno);
    }
  }
  return {};
}

}  // namespace

bool is_safe_relative_path(std::string_view path) {
  if (path.empty() || path.size() > 1000 || path.find('\0') != std::string_view::npos) return false;
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Status make_empty_folders(const fs::path& endpoint_dir) {
  const fs::path trash = endpoint_dir / kTrash;
  HELIUM_TRY(make_folder(trash));
  for (const char* name : {kPgdata, kCache}) {
    HELIUM_TRY(move_aside(endpoint_dir / name, trash));
    HELIUM_TRY(make_folder(endpoint_dir / name));
  }
  return {};
}

void remove_trash(const fs::path& endpoint_dir, const std::atomic<bool>& stop) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(endpoint_dir / kTrash, error), end; !error && it != end; it.increment(error)) {
    if (stop) return;
    if (!it->is_directory(error)) ::unlink(it->path().c_str());
  }
  fs::remove_all(endpoint_dir / kTrash, error);
  if (error) log::info("cannot remove what earlier lives left", {{"folder", kTrash}, {"error", error.message()}});
}

pg::SyntheticCheckpoint make_start_checkpoint(const wire::BootstrapReply& bootstrap, const PgSettings& settings,
                                              int64_t now_seconds) {
  pg::Checkpoint checkpoint = bootstrap.checkpoint;
  checkpoint.this_tli = 1;
  checkpoint.prev_tli = 1;
  checkpoint.full_page_writes = settings.full_page_writes;
  checkpoint.wal_level = settings.wal_level;  // in WAL from 17 on
  checkpoint.time = now_seconds;
  checkpoint.oldest_active_xid = 0;  // a shutdown checkpoint: nothing runs
  return pg::build_shutdown_checkpoint(bootstrap.lsn, bootstrap.prev_record_start, checkpoint,
                                       bootstrap.system_identifier, static_cast<int>(bootstrap.pg_version));
}

Result<std::vector<Tablespace>> tablespaces_of(const wire::BootstrapReply& bootstrap) {
  std::vector<Tablespace> tablespaces;
  for (const wire::BootstrapFile& file : bootstrap.files) {
    if (!S_ISLNK(file.mode)) continue;
    const vfs::MappedPath path = vfs::map_path(file.path.c_str());
    const std::string location(reinterpret_cast<const char*>(file.content.data()), file.content.size());
    if (path.kind != vfs::PathKind::kTablespaceLink || !location.starts_with('/') || location.size() >= kLocationMax ||
        location.find('\0') != std::string::npos) {
      return fail(ErrorCode::kInvalid, fmt::format("the pageserver names a link '{}' to '{}'", file.path, location));
    }
    tablespaces.push_back({path.spcnode, location});
  }
  return tablespaces;
}

Status write_wal_segments(const fs::path& pg_wal, const std::vector<pg::WalPiece>& pieces) {
  Fd file;
  uint64_t segno = UINT64_MAX;
  for (const pg::WalPiece& piece : pieces) {
    if (pg::wal_segment_number(piece.at) != segno) {
      segno = pg::wal_segment_number(piece.at);
      const fs::path path = pg_wal / pg::wal_segment_name(1, segno);
      HELIUM_ASSIGN(file, open_file(path, O_CREAT | O_TRUNC | O_WRONLY, 0600));
      if (const int error = ::posix_fallocate(file.get(), 0, pg::kWalSegmentSize); error != 0) {
        return fail_errno(fmt::format("reserve space for '{}'", path.string()), error);
      }
    }
    HELIUM_TRY(pwrite_all(file, piece.bytes, pg::wal_segment_offset(piece.at)));
  }
  return {};
}

Status write_data_directory(const fs::path& pgdata, const DataDirectoryInput& input) {
  for (const char* folder : kFolders) HELIUM_TRY(make_folder(pgdata / folder));
  if (input.bootstrap.pg_version >= 17) HELIUM_TRY(make_folder(pgdata / "pg_wal" / "summaries"));
  HELIUM_TRY(write_bootstrap_files(pgdata, input.bootstrap));

  HELIUM_ASSIGN(pg::ControlFile control, pg::ControlFile::parse(input.bootstrap.control_file,
                                                                static_cast<int>(input.bootstrap.pg_version)));
  control.set_system_identifier(input.bootstrap.system_identifier);
  control.set_shutdown_checkpoint(input.checkpoint.record_start, input.checkpoint.checkpoint, input.now_seconds);
  HELIUM_TRY(write_plain(pgdata / "global" / "pg_control", control.encode()));

  HELIUM_TRY(write_wal_segments(pgdata / "pg_wal",
                                pg::build_sparse_pieces(input.bootstrap.lsn, input.checkpoint.wal,
                                                        input.bootstrap.system_identifier,
                                                        static_cast<int>(input.bootstrap.pg_version))));

  HELIUM_TRY(write_plain(pgdata / "postgresql.conf", as_bytes(input.settings.postgresql_conf)));
  HELIUM_TRY(write_plain(pgdata / "postgresql.auto.conf", {}));
  HELIUM_TRY(write_plain(pgdata / "pg_hba.conf", as_bytes(make_pg_hba())));
  HELIUM_TRY(write_plain(pgdata / "pg_ident.conf", {}));
  return {};
}

}  // namespace helium::compute
