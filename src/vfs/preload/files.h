// Names: opening, finding, removing and listing files of blocks in the cache folder.
// Errors: errno with -1 (or null), as the system call.

#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include "vfs/preload/process.h"

namespace helium::vfs {

int open_blocks(const MappedPath& path, int flags, mode_t mode);
int open_wal(const char* name, const MappedPath& path, int flags, mode_t mode);
// `use` gets the cache folder's fd and the name in it, once the file is known to be there, as far as anybody knows.
int stat_blocks(const MappedPath& path, struct stat* result);
int access_blocks(const MappedPath& path, int mode);
int unlink_blocks(const MappedPath& path);
int truncate_named(const MappedPath& path, off_t length);

int make_database(const char* name, const MappedPath& path, mode_t mode);
int remove_database(const char* name, const MappedPath& path);

// Tablespaces: what PostgreSQL does to pg_tblspc/OID, done to the cache folder (vfs/tablespace_files.h).
int link_tablespace(const char* location, const char* name, const MappedPath& path);
ssize_t read_tablespace_link(const char* name, const MappedPath& path, char* buffer, size_t size);
int unlink_tablespace(const char* name, const MappedPath& path);
int remove_tablespace_folder(const char* name, const MappedPath& path);  // of one in place
// PostgreSQL makes LOCATION/PG_… first and the link next: this process's next link_tablespace makes that folder.
int note_version_folder(const char* folder);

// A directory stream that goes on in a second folder.
DIR* open_merged(const char* name, const MappedPath& path);
DIR* open_slru_folder(const MappedPath& path);
dirent* read_merged(DIR* stream);
int close_merged(DIR* stream);
void rewind_merged(DIR* stream);

}  // namespace helium::vfs
