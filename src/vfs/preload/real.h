// libc's own functions behind the ones that this library replaces, looked up once.
// A call before the constructor ran looks up by itself. Threads: any, after the constructor.

#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define HELIUM_REAL_FUNCTIONS(X)                                                                               \
  X(open) X(openat) X(close) X(read) X(write) X(pread) X(pwrite) X(preadv) X(pwritev) X(readv) X(writev)       \
  X(lseek) X(ftruncate) X(truncate) X(posix_fallocate) X(fallocate) X(posix_fadvise) X(fsync) X(fdatasync)     \
  X(stat) X(lstat) X(fstatat) X(access) X(faccessat) X(unlink) X(unlinkat) X(rename) X(link) X(symlink)        \
  X(mkdir) X(rmdir) X(opendir) X(readdir) X(closedir) X(rewinddir) X(dup) X(dup2) X(dup3) X(fcntl) X(fork)     \
  X(mmap) X(readlink) X(fopen) X(chmod) X(renameat) X(prctl)

namespace helium::vfs::real {

#define X(name) extern decltype(&::name) name##_ptr;
HELIUM_REAL_FUNCTIONS(X)
#undef X

// Looks all of them up; ends the process when one is missing.
void look_up_all();

}  // namespace helium::vfs::real

// REAL(open)(path, flags)
#define REAL(name) \
  (::helium::vfs::real::name##_ptr != nullptr ? void(0) : ::helium::vfs::real::look_up_all(), ::helium::vfs::real::name##_ptr)
