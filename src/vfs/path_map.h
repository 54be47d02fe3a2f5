// Which paths of a data directory hold blocks or WAL, by name alone.
//
// Paths are relative to the data directory ("base/5/16384_vm.1"); a leading "./" and doubled slashes are
// tolerated. What has no meaning here is kPlain and stays where it is; so do temporary relations ("t3_16384").
// No allocation, no exception: the preload library uses this inside PostgreSQL. Threads: pure.
// Source: PostgreSQL 14 to 18 relpath.c, slru.c, xlog_internal.h.

#pragma once

#include <cstddef>
#include <cstdint>

namespace helium::vfs {

enum class PathKind : uint8_t {
  kPlain,
  kRelFile,   // base/DB/REL[_FORK][.SEG], global/REL…, pg_tblspc/OID/PG_…/DB/REL…
  kSlruFile,  // pg_xact/0000 …
  kWalFile,   // pg_wal/000000010000000000000001
  kRelDir,    // base/DB, global, pg_tblspc/OID/PG_…/DB
  kSlruDir,   // pg_xact, pg_multixact/members …
  kTablespaceLink,  // pg_tblspc/OID
  kWalTemp,   // pg_wal/xlogtemp.PID: becomes a WAL file by renaming
};

struct MappedPath {
  PathKind kind = PathKind::kPlain;
  uint8_t sub = 0;  // fork number, or pg::SlruKind
  uint32_t spcnode = 0;
  uint32_t dbnode = 0;
  uint32_t relnode = 0;
  uint32_t segno = 0;        // of a relation fork, an SLRU, or of WAL the low part
  uint32_t wal_log = 0;      // WAL: the high part
};

MappedPath map_path(const char* path);

// The canonical path of a kRelFile, kSlruFile, kRelDir or kSlruDir, relative to the cache folder. That of a tablespace
// leaves the version out: pg_tblspc/16400/PG_/5/16384.
inline constexpr size_t kCachePathMax = 64;
void format_cache_path(const MappedPath& path, char (&out)[kCachePathMax]);

}  // namespace helium::vfs
