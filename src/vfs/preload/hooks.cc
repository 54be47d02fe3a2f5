// The functions that stand between PostgreSQL and libc. Each decides by path or fd whether the call is ours and
// passes everything else on. Names are given to the linker by asm labels, since libc's headers declare the real ones
// with attributes of their own.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vfs/preload/auxiliary.h"
#include "vfs/preload/blocks.h"
#include "vfs/preload/files.h"
#include "vfs/preload/place.h"
#include "vfs/preload/real.h"
#include "vfs/preload/wal.h"

using namespace helium::vfs;

#define HOOK extern "C" __attribute__((visibility("default")))
// HOOK_AS(int, unlink, (const char* path)) { … } defines the symbol "unlink".
#define HOOK_AS(type, name, args)                                              \
  HOOK type helium_##name args __asm__(#name);                                 \
  type helium_##name args
// A second symbol for the same function.
#define HOOK_ALIAS(name, target) HOOK decltype(helium_##target) helium_##name __asm__(#name) __attribute__((alias(#target)));

namespace {

bool active() {
  if (!g_process.active()) return false;
  check_fence();
  return true;
}

int refuse(int error) {
  errno = error;
  return -1;
}

int open_any(const char* name, int flags, mode_t mode) {
  const Place place(name);
  if (place.is_file()) return open_blocks(place.path, flags, mode);
  if (place.is(PathKind::kWalFile) || place.is(PathKind::kWalTemp)) return open_wal(name, place.path, flags, mode);
  return REAL(open)(place.name, flags, mode);
}

mode_t mode_argument(int flags, va_list args) {
  return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? static_cast<mode_t>(va_arg(args, int)) : 0;
}

// read() and its kin are pread() at the file's position.
template <typename Transfer>
ssize_t at_position(int fd, Transfer transfer) {
  const off_t position = REAL(lseek)(fd, 0, SEEK_CUR);
  if (position < 0) return -1;
  const ssize_t moved = transfer(position);
  if (moved > 0) REAL(lseek)(fd, position + moved, SEEK_SET);
  return moved;
}

void copy_tracking(int from, int to) {
  if (to < 0 || !g_process.active() || to >= Process::kFds) return;
  g_process.fds[to] = static_cast<unsigned>(from) < static_cast<unsigned>(Process::kFds) ? g_process.fds[from] : OpenFile{};
}

}  // namespace

// --- open, close, dup ---

HOOK_AS(int, open, (const char* path, int flags, ...)) {
  va_list args;
  va_start(args, flags);
  const mode_t mode = mode_argument(flags, args);
  va_end(args);
  return open_any(path, flags, mode);
}
HOOK_ALIAS(open64, open)

HOOK_AS(int, __open_2, (const char* path, int flags)) { return open_any(path, flags, 0); }
HOOK_ALIAS(__open64_2, __open_2)

HOOK_AS(int, openat, (int directory, const char* path, int flags, ...)) {
  va_list args;
  va_start(args, flags);
  const mode_t mode = mode_argument(flags, args);
  va_end(args);
  if (directory == AT_FDCWD || (path != nullptr && *path == '/')) return open_any(path, flags, mode);
  return REAL(openat)(directory, path, flags, mode);
}
HOOK_ALIAS(openat64, openat)

HOOK_AS(int, creat, (const char* path, mode_t mode)) { return open_any(path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
HOOK_ALIAS(creat64, creat)

HOOK_AS(int, close, (int fd)) {
  if (g_process.active() && g_process.tracked(fd)) g_process.fds[fd] = {};
  return REAL(close)(fd);
}

HOOK_AS(int, dup, (int fd)) {
  const int copy = REAL(dup)(fd);
  copy_tracking(fd, copy);
  return copy;
}
HOOK_AS(int, dup2, (int fd, int to)) {
  const int copy = REAL(dup2)(fd, to);
  copy_tracking(fd, copy);
  return copy;
}
HOOK_AS(int, dup3, (int fd, int to, int flags)) {
  const int copy = REAL(dup3)(fd, to, flags);
  copy_tracking(fd, copy);
  return copy;
}
HOOK_AS(int, fcntl, (int fd, int command, ...)) {
  va_list args;
  va_start(args, command);
  void* argument = va_arg(args, void*);
  va_end(args);
  const int result = REAL(fcntl)(fd, command, argument);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) copy_tracking(fd, result);
  return result;
}
HOOK_ALIAS(fcntl64, fcntl)

// --- reading ---

HOOK_AS(ssize_t, pread, (int fd, void* buffer, size_t size, off_t offset)) {
  if (!g_process.has_blocks(fd)) return REAL(pread)(fd, buffer, size, offset);
  check_fence();
  const iovec iov{buffer, size};
  return read_blocks(fd, &iov, 1, offset);
}
HOOK_ALIAS(pread64, pread)
HOOK_AS(ssize_t, __pread_chk, (int fd, void* buffer, size_t size, off_t offset, size_t)) {
  return helium_pread(fd, buffer, size, offset);
}
HOOK_ALIAS(__pread64_chk, __pread_chk)

HOOK_AS(ssize_t, preadv, (int fd, const iovec* iov, int count, off_t offset)) {
  if (!g_process.has_blocks(fd)) return REAL(preadv)(fd, iov, count, offset);
  check_fence();
  return read_blocks(fd, iov, count, offset);
}
HOOK_ALIAS(preadv64, preadv)

HOOK_AS(ssize_t, read, (int fd, void* buffer, size_t size)) {
  if (!g_process.has_blocks(fd)) return REAL(read)(fd, buffer, size);
  check_fence();
  const iovec iov{buffer, size};
  return at_position(fd, [&](off_t position) { return read_blocks(fd, &iov, 1, position); });
}
HOOK_AS(ssize_t, __read_chk, (int fd, void* buffer, size_t size, size_t)) { return helium_read(fd, buffer, size); }

HOOK_AS(ssize_t, readv, (int fd, const iovec* iov, int count)) {
  if (!g_process.has_blocks(fd)) return REAL(readv)(fd, iov, count);
  check_fence();
  return at_position(fd, [&](off_t position) { return read_blocks(fd, iov, count, position); });
}

// --- writing ---

HOOK_AS(ssize_t, pwritev, (int fd, const iovec* iov, int count, off_t offset)) {
  if (!g_process.tracked(fd)) return REAL(pwritev)(fd, iov, count, offset);
  check_fence();
  return g_process.has_blocks(fd) ? write_blocks(fd, iov, count, offset) : write_wal(fd, iov, count, offset);
}
HOOK_ALIAS(pwritev64, pwritev)

HOOK_AS(ssize_t, pwrite, (int fd, const void* buffer, size_t size, off_t offset)) {
  if (!g_process.tracked(fd)) return REAL(pwrite)(fd, buffer, size, offset);
  check_fence();
  const iovec iov{const_cast<void*>(buffer), size};
  return g_process.has_blocks(fd) ? write_blocks(fd, &iov, 1, offset) : write_wal(fd, &iov, 1, offset);
}
HOOK_ALIAS(pwrite64, pwrite)

HOOK_AS(ssize_t, writev, (int fd, const iovec* iov, int count)) {
  if (!g_process.tracked(fd)) return REAL(writev)(fd, iov, count);
  check_fence();
  if (!g_process.has_blocks(fd)) return write_wal(fd, iov, count, -1);
  return at_position(fd, [&](off_t position) { return write_blocks(fd, iov, count, position); });
}

HOOK_AS(ssize_t, write, (int fd, const void* buffer, size_t size)) {
  if (!g_process.tracked(fd)) return REAL(write)(fd, buffer, size);
  const iovec iov{const_cast<void*>(buffer), size};
  return helium_writev(fd, &iov, 1);
}

// Between files in the kernel: by way of memory, where one side is ours.
HOOK_AS(ssize_t, copy_file_range, (int in, off_t* in_offset, int out, off_t* out_offset, size_t size, unsigned flags)) {
  if (!g_process.active() || (!g_process.tracked(in) && !g_process.tracked(out)))
    return syscall(SYS_copy_file_range, in, in_offset, out, out_offset, size, flags);
  char buffer[8 * kBlockSize];
  if (size > sizeof buffer) size = sizeof buffer;
  const ssize_t got = in_offset != nullptr ? helium_pread(in, buffer, size, *in_offset) : helium_read(in, buffer, size);
  if (got <= 0) return got;
  const ssize_t put = out_offset != nullptr ? helium_pwrite(out, buffer, static_cast<size_t>(got), *out_offset)
                                            : helium_write(out, buffer, static_cast<size_t>(got));
  const ssize_t moved = put < 0 ? 0 : put;
  if (in_offset != nullptr) *in_offset += moved;
  else if (moved < got) REAL(lseek)(in, moved - got, SEEK_CUR);
  if (out_offset != nullptr) *out_offset += moved;
  return put;
}

HOOK_AS(ssize_t, sendfile, (int out, int in, off_t* offset, size_t size)) {
  if (!g_process.active() || (!g_process.tracked(in) && !g_process.tracked(out)))
    return syscall(SYS_sendfile, out, in, offset, size);
  return helium_copy_file_range(in, offset, out, nullptr, size, 0);
}
HOOK_ALIAS(sendfile64, sendfile)

// --- size ---

HOOK_AS(int, ftruncate, (int fd, off_t length)) {
  if (!g_process.has_blocks(fd)) return REAL(ftruncate)(fd, length);
  check_fence();
  return truncate_blocks(fd, length);
}
HOOK_ALIAS(ftruncate64, ftruncate)

HOOK_AS(int, truncate, (const char* name, off_t length)) {
  const Place place(name);
  return place.is_file() ? truncate_named(place.path, length) : REAL(truncate)(place.name, length);
}
HOOK_ALIAS(truncate64, truncate)

HOOK_AS(int, posix_fallocate, (int fd, off_t offset, off_t length)) {
  if (!g_process.has_blocks(fd)) return REAL(posix_fallocate)(fd, offset, length);
  check_fence();
  return allocate_blocks(fd, offset, length);
}
HOOK_ALIAS(posix_fallocate64, posix_fallocate)

HOOK_AS(int, fallocate, (int fd, int mode, off_t offset, off_t length)) {
  if (!g_process.has_blocks(fd)) return REAL(fallocate)(fd, mode, offset, length);
  check_fence();
  if (mode != 0) return refuse(EOPNOTSUPP);
  const int error = allocate_blocks(fd, offset, length);
  return error == 0 ? 0 : refuse(error);
}
HOOK_ALIAS(fallocate64, fallocate)

// --- durability: WAL is synced by a quorum, auxiliary files by way of WAL, the rest of the data directory is a cache ---

HOOK_AS(int, fdatasync, (int fd)) {
  if (!active()) return REAL(fdatasync)(fd);
  return g_process.has_wal(fd) ? sync_wal(fd) : 0;
}
HOOK_AS(int, fsync, (int fd)) {
  if (!active()) return REAL(fsync)(fd);
  if (g_process.has_wal(fd)) return sync_wal(fd);
  return g_process.tracked(fd) ? 0 : sync_auxiliary(fd);
}
HOOK_AS(int, sync_file_range, (int fd, off_t offset, off_t length, unsigned flags)) {
  if (!active()) return static_cast<int>(syscall(SYS_sync_file_range, fd, offset, length, flags));
  return 0;
}
HOOK_AS(int, syncfs, (int fd)) { return active() ? 0 : static_cast<int>(syscall(SYS_syncfs, fd)); }
HOOK_AS(void, sync, ()) {
  if (!active()) syscall(SYS_sync);
}

HOOK_AS(int, posix_fadvise, (int fd, off_t offset, off_t length, int advice)) {
  if (!g_process.has_blocks(fd)) return REAL(posix_fadvise)(fd, offset, length, advice);
  check_fence();
  if (advice == POSIX_FADV_WILLNEED) advise_blocks(fd, offset, length);
  return REAL(posix_fadvise)(fd, offset, length, advice);
}
HOOK_ALIAS(posix_fadvise64, posix_fadvise)

HOOK_AS(void*, mmap, (void* address, size_t size, int protection, int flags, int fd, off_t offset)) {
  if (g_process.has_blocks(fd)) {
    errno = ENODEV;  // absent blocks would show as zeros
    return MAP_FAILED;
  }
  return REAL(mmap)(address, size, protection, flags, fd, offset);
}
HOOK_ALIAS(mmap64, mmap)

// --- names ---

HOOK_AS(int, stat, (const char* name, struct stat* result)) {
  const Place place(name);
  if (place.is_file()) return stat_blocks(place.path, result);
  if (place.new_version_folder() != nullptr) return refuse(ENOENT);
  return REAL(stat)(place.name, result);
}
HOOK_ALIAS(stat64, stat)
HOOK_AS(int, lstat, (const char* name, struct stat* result)) {
  const Place place(name);
  return place.is_file() ? stat_blocks(place.path, result) : REAL(lstat)(place.name, result);
}
HOOK_ALIAS(lstat64, lstat)
HOOK_AS(int, __xstat, (int, const char* name, struct stat* result)) { return helium_stat(name, result); }
HOOK_ALIAS(__xstat64, __xstat)
HOOK_AS(int, __lxstat, (int, const char* name, struct stat* result)) { return helium_lstat(name, result); }
HOOK_ALIAS(__lxstat64, __lxstat)

HOOK_AS(int, fstatat, (int directory, const char* name, struct stat* result, int flags)) {
  if (directory == AT_FDCWD || (name != nullptr && *name == '/')) {
    const Place place(name);
    return place.is_file() ? stat_blocks(place.path, result) : REAL(fstatat)(directory, place.name, result, flags);
  }
  return REAL(fstatat)(directory, name, result, flags);
}
HOOK_ALIAS(fstatat64, fstatat)
HOOK_AS(int, __fxstatat, (int, int directory, const char* name, struct stat* result, int flags)) {
  return helium_fstatat(directory, name, result, flags);
}
HOOK_ALIAS(__fxstatat64, __fxstatat)

HOOK_AS(int, access, (const char* name, int mode)) {
  const Place place(name);
  return place.is_file() ? access_blocks(place.path, mode) : REAL(access)(place.name, mode);
}
HOOK_AS(int, faccessat, (int directory, const char* name, int mode, int flags)) {
  if (directory == AT_FDCWD || (name != nullptr && *name == '/')) {
    const Place place(name);
    return place.is_file() ? access_blocks(place.path, mode) : REAL(faccessat)(directory, place.name, mode, flags);
  }
  return REAL(faccessat)(directory, name, mode, flags);
}

namespace {
int unlink_place(const Place& place) {
  if (place.is_file()) return unlink_blocks(place.path);
  if (place.is(PathKind::kTablespaceLink)) return unlink_tablespace(place.name, place.path);
  const int result = REAL(unlink)(place.name);
  if (result == 0 && g_process.active()) note_unlinked(place.name);
  return result;
}
int rmdir_place(const Place& place) {
  if (place.is_database()) return remove_database(place.name, place.path);
  if (place.is(PathKind::kTablespaceLink)) return remove_tablespace_folder(place.name, place.path);
  return REAL(rmdir)(place.name);
}
}  // namespace

HOOK_AS(int, unlink, (const char* name)) { return unlink_place(Place(name)); }
HOOK_AS(int, remove, (const char* name)) {
  const Place place(name);
  if (place.is_database()) return remove_database(place.name, place.path);
  if (unlink_place(place) == 0) return 0;
  return errno == EISDIR ? rmdir_place(place) : -1;
}
HOOK_AS(int, unlinkat, (int directory, const char* name, int flags)) {
  if (directory == AT_FDCWD || (name != nullptr && *name == '/')) {
    const Place place(name);
    return flags & AT_REMOVEDIR ? rmdir_place(place) : unlink_place(place);
  }
  return REAL(unlinkat)(directory, name, flags);
}

// Files of blocks are never renamed or linked by PostgreSQL; whoever tries gets what another file system says.
HOOK_AS(int, rename, (const char* from, const char* to)) {
  const Place source(from), target(to);
  if (source.is_file() || target.is_file()) return refuse(EXDEV);
  const int result = REAL(rename)(source.name, target.name);
  if (result == 0 && g_process.active()) note_renamed(source.name);
  return result;
}
HOOK_AS(int, renameat, (int from_directory, const char* from, int to_directory, const char* to)) {
  if ((from_directory == AT_FDCWD && Place(from).is_file()) || (to_directory == AT_FDCWD && Place(to).is_file())) return refuse(EXDEV);
  return REAL(renameat)(from_directory, from, to_directory, to);
}
HOOK_AS(int, link, (const char* from, const char* to)) {
  const Place source(from), target(to);
  if (source.is_file() || target.is_file()) return refuse(EXDEV);
  return REAL(link)(source.name, target.name);
}
HOOK_AS(int, chmod, (const char* name, mode_t mode)) {
  const Place place(name);
  if (place.is_file()) return 0;  // the cache's files are the agent's
  // CREATE TABLESPACE looks in this way whether LOCATION is there. It is not ours to change.
  struct stat folder;
  if (place.is_absolute() && REAL(stat)(place.name, &folder) == 0 && S_ISDIR(folder.st_mode)) return 0;
  return REAL(chmod)(place.name, mode);
}

// A tablespace begins as a link from pg_tblspc to its location. Ours lead into the cache folder instead.
HOOK_AS(int, symlink, (const char* target, const char* name)) {
  const Place place(name);
  if (place.is(PathKind::kTablespaceLink)) return link_tablespace(target, place.name, place.path);
  return REAL(symlink)(target, place.name);
}
namespace {
ssize_t read_link(const char* name, char* buffer, size_t size) {
  const Place place(name);
  if (place.is(PathKind::kTablespaceLink)) return read_tablespace_link(place.name, place.path, buffer, size);
  return REAL(readlink)(place.name, buffer, size);
}
}  // namespace
HOOK_AS(ssize_t, readlink, (const char* name, char* buffer, size_t size)) { return read_link(name, buffer, size); }
HOOK_AS(ssize_t, __readlink_chk, (const char* name, char* buffer, size_t size, size_t)) { return read_link(name, buffer, size); }
HOOK_AS(int, mkdir, (const char* name, mode_t mode)) {
  const Place place(name);
  if (place.is_database()) return make_database(place.name, place.path, mode);
  if (const char* folder = place.new_version_folder()) return note_version_folder(folder);
  return REAL(mkdir)(place.name, mode);
}
HOOK_AS(int, rmdir, (const char* name)) { return rmdir_place(Place(name)); }

HOOK_AS(DIR*, opendir, (const char* name)) {
  const Place place(name);
  if (place.is(PathKind::kRelDir)) return open_merged(place.name, place.path);
  if (place.is(PathKind::kSlruDir)) return open_slru_folder(place.path);
  return REAL(opendir)(place.name);
}
HOOK_AS(dirent*, readdir, (DIR* stream)) { return read_merged(stream); }
HOOK_ALIAS(readdir64, readdir)
HOOK_AS(int, closedir, (DIR* stream)) { return close_merged(stream); }
HOOK_AS(void, rewinddir, (DIR* stream)) { rewind_merged(stream); }

// --- streams (pg_read_binary_file): a cookie that reads by way of us ---

namespace {
ssize_t cookie_read(void* cookie, char* buffer, size_t size) {
  return helium_read(static_cast<int>(reinterpret_cast<intptr_t>(cookie)), buffer, size);
}
int cookie_seek(void* cookie, off64_t* offset, int whence) {
  const off_t at = REAL(lseek)(static_cast<int>(reinterpret_cast<intptr_t>(cookie)), *offset, whence);
  if (at < 0) return -1;
  *offset = at;
  return 0;
}
int cookie_close(void* cookie) { return helium_close(static_cast<int>(reinterpret_cast<intptr_t>(cookie))); }
}  // namespace

HOOK_AS(FILE*, fopen, (const char* name, const char* mode)) {
  const Place place(name);
  if (!place.is_file()) return REAL(fopen)(place.name, mode);
  if (mode[0] != 'r' || strchr(mode, '+') != nullptr) {
    errno = EOPNOTSUPP;
    return nullptr;
  }
  const int fd = open_blocks(place.path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return nullptr;
  return fopencookie(reinterpret_cast<void*>(static_cast<intptr_t>(fd)), mode,
                     cookie_io_functions_t{cookie_read, nullptr, cookie_seek, cookie_close});
}
HOOK_ALIAS(fopen64, fopen)

// --- processes ---

HOOK_AS(pid_t, fork, ()) {
  if (!active()) return REAL(fork)();
  const pid_t parent = getpid();
  const pid_t child = REAL(fork)();
  if (child == 0) become_child(parent);
  return child;
}

// PostgreSQL's children ask for a SIGPWR when the postmaster dies (PostmasterDeathSignalInit), which would take the
// place of the SIGKILL that we asked for: one that waits for a lock would live on.
HOOK_AS(int, prctl, (int option, ...)) {
  va_list list;
  va_start(list, option);
  unsigned long arguments[4];
  for (unsigned long& argument : arguments) argument = va_arg(list, unsigned long);
  va_end(list);
  if (option == PR_SET_PDEATHSIG && g_process.active() && g_process.arena.header().expect_parent) arguments[0] = SIGKILL;
  return REAL(prctl)(option, arguments[0], arguments[1], arguments[2], arguments[3]);
}

HOOK_AS(void, _exit, (int status)) {
  leave();
  syscall(SYS_exit_group, status);
  __builtin_unreachable();
}
HOOK_ALIAS(_Exit, _exit)
