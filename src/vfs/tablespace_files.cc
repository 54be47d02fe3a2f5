#include "vfs/tablespace_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vfs/path_map.h"

namespace helium::vfs {
namespace {

constexpr const char* kFolder = "tablespaces";
constexpr const char* kLocationSuffix = ".location";
constexpr size_t kNameMax = 64;

void folder_name(uint32_t oid, char (&out)[kNameMax]) { snprintf(out, sizeof out, "%s/%u", kFolder, oid); }
void location_name(uint32_t oid, char (&out)[kNameMax]) { snprintf(out, sizeof out, "%s/%u%s", kFolder, oid, kLocationSuffix); }

int make_folder(int at, const char* name, unsigned mode) {
  return mkdirat(at, name, mode) == 0 || errno == EEXIST ? 0 : -1;
}

// Not through openat(), opendir() and readdir(): inside PostgreSQL those names are the file layer's own.
int open_folder(int at, const char* name) {
  return static_cast<int>(syscall(SYS_openat, at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}
void close_fd(int fd) {
  const int saved = errno;
  syscall(SYS_close, fd);
  errno = saved;
}

struct linux_dirent {  // what getdents64 fills in
  uint64_t inode;
  int64_t offset;
  unsigned short size;
  unsigned char type;
  char name[];
};

// Calls visit(oid) for every "OID.location"; stops when it says false.
template <typename Visit>
void each_tablespace(int cache_fd, Visit visit) {
  const int fd = open_folder(cache_fd, kFolder);
  if (fd < 0) return;
  alignas(linux_dirent) char buffer[4096];
  bool more = true;
  while (more) {
    const long bytes = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
    if (bytes <= 0) break;
    for (long at = 0; at < bytes && more;) {
      const auto* item = reinterpret_cast<const linux_dirent*>(buffer + at);
      at += item->size;
      char* end = nullptr;
      const unsigned long oid = strtoul(item->name, &end, 10);
      if (end != item->name && strcmp(end, kLocationSuffix) == 0) more = visit(static_cast<uint32_t>(oid));
    }
  }
  close_fd(fd);
}

// One process at a time makes a tablespace; the lock ends with its fd.
class MakeLock {
 public:
  explicit MakeLock(int cache_fd) : fd_(open_folder(cache_fd, kFolder)) {
    if (fd_ < 0) return;
    while (flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~MakeLock() {
    if (fd_ >= 0) close_fd(fd_);
  }
  MakeLock(const MakeLock&) = delete;
  MakeLock& operator=(const MakeLock&) = delete;
  bool held() const { return fd_ >= 0; }

 private:
  int fd_;
};

int make_link(int cache_fd, uint32_t oid, const char* link_path) {
  char fd_name[kNameMax], target[PATH_MAX + kNameMax];
  snprintf(fd_name, sizeof fd_name, "/proc/self/fd/%d", cache_fd);
  const ssize_t size = readlinkat(AT_FDCWD, fd_name, target, PATH_MAX);
  if (size < 0) return -1;
  snprintf(target + size, sizeof target - static_cast<size_t>(size), "/%s/%u", kFolder, oid);
  return symlinkat(target, AT_FDCWD, link_path);
}

}  // namespace

int make_tablespace(int cache_fd, uint32_t oid, const char* location, const char* version_folder, const char* link_path) {
  if (make_folder(cache_fd, kFolder, 0700) != 0) return -1;
  const MakeLock lock(cache_fd);
  if (!lock.held()) return -1;
  if (tablespace_at(cache_fd, location, strlen(location)) != 0) {
    errno = EEXIST;
    return -1;
  }
  char folder[kNameMax], text[kNameMax];
  folder_name(oid, folder);
  location_name(oid, text);
  if (make_folder(cache_fd, folder, 0700) != 0) return -1;
  if (version_folder != nullptr) {
    char inner[kNameMax + NAME_MAX];
    snprintf(inner, sizeof inner, "%s/%s", folder, version_folder);
    if (make_folder(cache_fd, inner, 0700) != 0) return -1;
  }
  if (symlinkat(location, cache_fd, text) != 0) return -1;
  if (make_link(cache_fd, oid, link_path) == 0) return 0;
  const int saved = errno;
  unlinkat(cache_fd, text, 0);
  errno = saved;
  return -1;
}

void forget_tablespace(int cache_fd, uint32_t oid) {
  const int saved = errno;
  char name[kNameMax];
  location_name(oid, name);
  unlinkat(cache_fd, name, 0);
  folder_name(oid, name);
  unlinkat(cache_fd, name, AT_REMOVEDIR);
  snprintf(name, sizeof name, "pg_tblspc/%u/PG_", oid);
  unlinkat(cache_fd, name, AT_REMOVEDIR);
  snprintf(name, sizeof name, "pg_tblspc/%u", oid);
  unlinkat(cache_fd, name, AT_REMOVEDIR);
  errno = saved;
}

long tablespace_location(int cache_fd, uint32_t oid, char* buffer, size_t size) {
  char name[kNameMax];
  location_name(oid, name);
  return readlinkat(cache_fd, name, buffer, size);
}

uint32_t tablespace_at(int cache_fd, const char* location, size_t size) {
  uint32_t found = 0;
  each_tablespace(cache_fd, [&](uint32_t oid) {
    char text[PATH_MAX];
    const long length = tablespace_location(cache_fd, oid, text, sizeof text);
    if (length == static_cast<long>(size) && memcmp(text, location, size) == 0) found = oid;
    return found == 0;
  });
  return found;
}

int make_cache_folder(int cache_fd, uint32_t spcnode, uint32_t dbnode, unsigned mode) {
  MappedPath path;
  path.kind = PathKind::kRelDir;
  path.spcnode = spcnode;
  path.dbnode = dbnode;
  char name[kCachePathMax];
  format_cache_path(path, name);
  for (char* slash = strchr(name, '/'); slash != nullptr; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    const int made = make_folder(cache_fd, name, mode);
    *slash = '/';
    if (made != 0) return -1;
  }
  return make_folder(cache_fd, name, mode);
}

const char* version_folder_of(const char* path) {
  if (*path != '/') return nullptr;
  const char* name = strrchr(path, '/') + 1;
  if (strncmp(name, "PG_", 3) != 0) return nullptr;
  const char* p = name + 3;
  const size_t major = strspn(p, "0123456789");
  if (major == 0 || p[major] != '_') return nullptr;
  p += major + 1;
  const size_t catalog = strspn(p, "0123456789");
  return catalog != 0 && p[catalog] == 0 ? name : nullptr;
}

}  // namespace helium::vfs
