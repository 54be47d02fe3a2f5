// The local side of tablespaces: where their files are on this machine.
//
// The folder that a user named as LOCATION is never read or written: it belongs to one machine, storage does not keep
// it, and computes of several branches name the same one. A tablespace lives in the cache folder:
//
//   cache/tablespaces/OID/            what is not blocks: PG_15_…/5/PG_VERSION, PG_15_…/pgsql_tmp/…
//   cache/tablespaces/OID.location    a symbolic link whose text is LOCATION; nobody follows it
//   cache/pg_tblspc/OID/PG_/5/…       blocks
//   pgdata/pg_tblspc/OID              a symbolic link to cache/tablespaces/OID, which PostgreSQL goes through
//
// A tablespace without a location (allow_in_place_tablespaces) is a plain folder pgdata/pg_tblspc/OID.
//
// Used by the agent and inside PostgreSQL: no allocation, no exception. Errors: -1 with errno. Threads: any; two
// processes that make tablespaces wait for each other.
// Source: PostgreSQL 15 tablespace.c (create_tablespace_directories, destroy_tablespace_directories).

#pragma once

#include <cstddef>
#include <cstdint>

namespace helium::vfs {

// Makes the folder (and in it `version_folder`, unless null), the location's text and the link at `link_path`.
// EEXIST: the link is there, or another tablespace has this location.
int make_tablespace(int cache_fd, uint32_t oid, const char* location, const char* version_folder, const char* link_path);
// What make_tablespace made in the cache folder, when it is empty. For a tablespace in place, what its blocks left.
void forget_tablespace(int cache_fd, uint32_t oid);
// LOCATION, as readlink() does: its length, at most `size` bytes, without a terminating zero.
long tablespace_location(int cache_fd, uint32_t oid, char* buffer, size_t size);
// The tablespace whose location is exactly these bytes; 0: none.
uint32_t tablespace_at(int cache_fd, const char* location, size_t size);

// Makes cache/pg_tblspc/OID/PG_/DB and the folders above it, or cache/base/DB.
int make_cache_folder(int cache_fd, uint32_t spcnode, uint32_t dbnode, unsigned mode);

// The last part of an absolute path when it is "PG_<major version>_<catalog version>", else null.
const char* version_folder_of(const char* path);

}  // namespace helium::vfs
