#include "vfs/preload/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vfs/preload/blocks.h"
#include "vfs/preload/real.h"
#include "vfs/tablespace_files.h"

namespace helium::vfs {
namespace {

int fail_with(int error) {
  errno = error;
  return -1;
}

// A name in the cache folder, once the agent has said what storage has. A file that neither storage had nor
// anybody created has no entry: 0 means that it does not exist, with no system call.
struct Found {
  uint32_t entry = 0;
  int error = 0;
  char name[kCachePathMax];
};
Found find_file(const MappedPath& path, Cancel cancel) {
  Found found;
  const EntryKey key = file_key(path);
  found.error = resolve(key, cancel);
  if (found.error == 0) {
    found.entry = g_process.arena.find(key);
    if (found.entry == 0) found.error = ENOENT;
  }
  format_cache_path(path, found.name);
  return found;
}

// The file's life, once nobody is removing it.
uint32_t settled_life(const Entry& entry) {
  for (int round = 0;; ++round) {
    const uint32_t life = entry.life.load(std::memory_order_acquire);
    if (life % 2 == 0) return life;
    pause_briefly(round);
  }
}

int create_file(Entry& entry, const MappedPath& path, const char* name, int flags, mode_t mode) {
  ShapeLock lock(entry);
  int fd = REAL(openat)(g_process.cache_fd, name, (flags & ~O_TRUNC) | O_CREAT | O_EXCL, mode);
  if (fd < 0 && errno == ENOENT) {
    // The database's folder exists in pgdata only, so far. (Those of tablespaces are in both from the start.)
    MappedPath folder = path;
    folder.kind = path.kind == PathKind::kSlruFile ? PathKind::kSlruDir : PathKind::kRelDir;
    char folder_name[kCachePathMax];
    format_cache_path(folder, folder_name);
    if (path.kind == PathKind::kRelFile && REAL(access)(folder_name, F_OK) == 0)
      syscall(SYS_mkdirat, g_process.cache_fd, folder_name, 0700);
    fd = REAL(openat)(g_process.cache_fd, name, (flags & ~O_TRUNC) | O_CREAT | O_EXCL, mode);
  }
  if (fd >= 0) {
    entry.flags.fetch_or(kFlagLocal);
    note_size_change(entry);
  }
  return fd;
}

int track(int fd, FdKind kind, uint32_t entry, uint32_t life) {
  if (fd >= Process::kFds) {
    REAL(close)(fd);
    return fail_with(EMFILE);
  }
  g_process.fds[fd] = {kind, entry, life};
  return fd;
}

struct MergedStream {
  DIR* first = nullptr;
  DIR* second = nullptr;
  bool in_second = false;
};
constexpr int kMergedStreams = 64;
MergedStream g_merged[kMergedStreams];
int g_merged_count = 0;

MergedStream* merged(DIR* stream) {
  if (g_merged_count == 0 || stream == nullptr) return nullptr;
  for (MergedStream& candidate : g_merged)
    if (candidate.first == stream) return &candidate;
  return nullptr;
}

DIR* open_cache_folder(const MappedPath& path) {
  char name[kCachePathMax];
  format_cache_path(path, name);
  const int fd = REAL(openat)(g_process.cache_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return nullptr;
  DIR* stream = fdopendir(fd);
  if (stream == nullptr) REAL(close)(fd);
  return stream;
}

// All relations of the database, unless storage cannot have any that we do not know.
int list_database(const MappedPath& path) {
  const uint32_t index = g_process.arena.find_or_add(database_key(path.spcnode, path.dbnode));
  if (index == 0) return ENOSPC;
  const Entry& entry = g_process.arena.entry(index);
  while ((entry.flags.load(std::memory_order_acquire) & (kFlagResolved | kFlagLocal)) == 0)
    if (const int error = ask(MailKind::kList, index, 0, Cancel::kAllowed)) return error;
  return 0;
}

}  // namespace

int open_blocks(const MappedPath& path, int flags, mode_t mode) {
  const bool may_create = flags & O_CREAT;
  Found found = find_file(path, may_create ? Cancel::kNever : Cancel::kAllowed);
  if (found.error == ENOENT && may_create) {
    found.entry = g_process.arena.find_or_add(file_key(path));
    found.error = found.entry == 0 ? ENOSPC : 0;
  }
  if (found.error != 0) return fail_with(found.error);
  Entry& entry = g_process.arena.entry(found.entry);
  for (;;) {
    const uint32_t life = settled_life(entry);
    int fd = REAL(openat)(g_process.cache_fd, found.name, flags & ~(O_CREAT | O_EXCL | O_TRUNC));
    if (fd >= 0 && may_create && (flags & O_EXCL)) {
      REAL(close)(fd);
      return fail_with(EEXIST);
    }
    if (fd < 0 && errno == ENOENT && may_create) {
      fd = create_file(entry, path, found.name, flags, mode);
      if (fd < 0 && errno == EEXIST) continue;
    }
    if (fd < 0) return -1;
    if (entry.life.load(std::memory_order_acquire) != life) {  // removed meanwhile: this inode has no name
      REAL(close)(fd);
      continue;
    }
    fd = track(fd, FdKind::kBlocks, found.entry, life);
    if (fd >= 0 && (flags & O_TRUNC) && truncate_blocks(fd, 0) != 0) {
      REAL(close)(fd);
      g_process.fds[fd] = {};
      return -1;
    }
    return fd;
  }
}

int open_wal(const char* name, const MappedPath& path, int flags, mode_t mode) {
  const int fd = REAL(open)(name, flags, mode);
  if (fd < 0) return fd;
  if (path.kind == PathKind::kWalTemp) return track(fd, FdKind::kWalTemp, 0, 0);
  const uint64_t per_log = (uint64_t{1} << 32) / g_process.arena.header().wal_segment_bytes;
  const uint64_t segment = uint64_t{path.wal_log} * per_log + path.segno;
  return track(fd, FdKind::kWal, static_cast<uint32_t>(segment), static_cast<uint32_t>(segment >> 32));
}

int stat_blocks(const MappedPath& path, struct stat* result) {
  const Found found = find_file(path, Cancel::kAllowed);
  if (found.error != 0) return fail_with(found.error);
  return REAL(fstatat)(g_process.cache_fd, found.name, result, 0);
}

int access_blocks(const MappedPath& path, int mode) {
  // Not to be canceled: PostgreSQL takes any failure for "the name is free".
  const Found found = find_file(path, Cancel::kNever);
  if (found.error != 0) return fail_with(found.error);
  return REAL(faccessat)(g_process.cache_fd, found.name, mode, 0);
}

int unlink_blocks(const MappedPath& path) {
  const Found found = find_file(path, Cancel::kNever);
  if (found.error != 0) return fail_with(found.error);
  Entry& entry = g_process.arena.entry(found.entry);
  ShapeLock lock(entry);
  if (REAL(faccessat)(g_process.cache_fd, found.name, F_OK, 0) != 0) return -1;
  entry.life.fetch_add(1);  // odd: who opens waits; open fds are stale from here on
  int result, saved;
  {
    const ShapeChange change(entry);
    discard_from(entry, 0);
    note_size_change(entry);
    entry.flags.fetch_and(~kFlagUnlogged);
    entry.flags.fetch_or(kFlagLocal);  // if the name comes back, it is not what storage has
    result = REAL(unlinkat)(g_process.cache_fd, found.name, 0);
    saved = errno;
  }
  entry.life.fetch_add(1);
  errno = saved;
  return result;
}

int truncate_named(const MappedPath& path, off_t length) {
  const int fd = open_blocks(path, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return fd;
  const int result = truncate_blocks(fd, length);
  const int saved = errno;
  g_process.fds[fd] = {};
  REAL(close)(fd);
  errno = saved;
  return result;
}

int make_database(const char* name, const MappedPath& path, mode_t mode) {
  if (REAL(mkdir)(name, mode) != 0) return -1;
  const uint32_t index = g_process.arena.find_or_add(database_key(path.spcnode, path.dbnode));
  if (index == 0) return fail_with(ENOSPC);
  g_process.arena.entry(index).flags.fetch_or(kFlagLocal);
  return make_cache_folder(g_process.cache_fd, path.spcnode, path.dbnode, mode);
}

int remove_database(const char* name, const MappedPath& path) {
  if (REAL(rmdir)(name) != 0) return -1;
  const uint32_t index = g_process.arena.find_or_add(database_key(path.spcnode, path.dbnode));
  if (index == 0) return fail_with(ENOSPC);
  g_process.arena.entry(index).flags.fetch_or(kFlagLocal);  // nothing that storage has may come back
  char cache_name[kCachePathMax];
  format_cache_path(path, cache_name);
  // Files that nobody looked at are still there; their entries must not serve a later database of this number.
  if (DIR* stream = open_cache_folder(path)) {
    while (const dirent* item = REAL(readdir)(stream)) {
      char full[kCachePathMax + 260];
      snprintf(full, sizeof full, "%s/%s", cache_name, item->d_name);
      const MappedPath file = map_path(full);
      if (file.kind == PathKind::kRelFile) unlink_blocks(file);
    }
    REAL(closedir)(stream);
  }
  if (REAL(unlinkat)(g_process.cache_fd, cache_name, AT_REMOVEDIR) != 0 && errno != ENOENT) return -1;
  return 0;
}

namespace {
char g_version_folder[64];
}  // namespace

int note_version_folder(const char* folder) {
  if (strlen(folder) >= sizeof g_version_folder) return fail_with(ENAMETOOLONG);
  strcpy(g_version_folder, folder);
  return 0;
}

int link_tablespace(const char* location, const char* name, const MappedPath& path) {
  const HeldSignals held;
  const int result = make_tablespace(g_process.cache_fd, path.spcnode, location,
                                     g_version_folder[0] != 0 ? g_version_folder : nullptr, name);
  g_version_folder[0] = 0;
  return result;
}

ssize_t read_tablespace_link(const char* name, const MappedPath& path, char* buffer, size_t size) {
  const long length = tablespace_location(g_process.cache_fd, path.spcnode, buffer, size);
  return length >= 0 ? length : REAL(readlink)(name, buffer, size);
}

int unlink_tablespace(const char* name, const MappedPath& path) {
  if (REAL(unlink)(name) != 0) return -1;
  forget_tablespace(g_process.cache_fd, path.spcnode);
  return 0;
}

int remove_tablespace_folder(const char* name, const MappedPath& path) {
  if (REAL(rmdir)(name) != 0) return -1;
  forget_tablespace(g_process.cache_fd, path.spcnode);
  return 0;
}

DIR* open_merged(const char* name, const MappedPath& path) {
  DIR* stream = REAL(opendir)(name);
  // A postmaster looks for temporary files, and those are in pgdata.
  if (stream == nullptr || is_postmaster()) return stream;
  const int error = list_database(path);
  DIR* second = error == 0 ? open_cache_folder(path) : nullptr;
  MergedStream* place = nullptr;
  for (MergedStream& candidate : g_merged)
    if (candidate.first == nullptr && place == nullptr) place = &candidate;
  if (error == 0 && second == nullptr && errno == ENOENT) return stream;  // no file of blocks at all
  if (second == nullptr || place == nullptr) {
    if (second != nullptr) REAL(closedir)(second);
    REAL(closedir)(stream);
    errno = error != 0 ? error : EMFILE;
    return nullptr;
  }
  *place = {stream, second, false};
  ++g_merged_count;
  return stream;
}

DIR* open_slru_folder(const MappedPath& path) { return open_cache_folder(path); }

dirent* read_merged(DIR* stream) {
  MergedStream* both = merged(stream);
  if (both == nullptr) return REAL(readdir)(stream);
  if (!both->in_second) {
    errno = 0;
    if (dirent* item = REAL(readdir)(stream)) return item;
    if (errno != 0) return nullptr;
    both->in_second = true;
  }
  dirent* item = REAL(readdir)(both->second);
  while (item != nullptr && item->d_name[0] == '.') item = REAL(readdir)(both->second);
  return item;
}

int close_merged(DIR* stream) {
  if (MergedStream* both = merged(stream)) {
    REAL(closedir)(both->second);
    *both = {};
    --g_merged_count;
  }
  return REAL(closedir)(stream);
}

void rewind_merged(DIR* stream) {
  if (MergedStream* both = merged(stream)) {
    REAL(rewinddir)(both->second);
    both->in_second = false;
  }
  REAL(rewinddir)(stream);
}

}  // namespace helium::vfs
