#include "vfs/preload/place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vfs/preload/process.h"
#include "vfs/tablespace_files.h"

namespace helium::vfs {

Place::Place(const char* given) : name(given) {
  if (!g_process.active() || given == nullptr) return;
  check_fence();
  path = map(given);
  absolute_ = *given == '/' && path.kind == PathKind::kPlain;
  if (absolute_ && lead_to_tablespace()) {
    absolute_ = false;
    name = buffer_;
    path = map_path(buffer_);
  }
}

bool Place::lead_to_tablespace() {
  for (const char* at = strstr(name, "/PG_"); at != nullptr; at = strstr(at + 1, "/PG_")) {
    const int saved = errno;
    const uint32_t oid = tablespace_at(g_process.cache_fd, name, static_cast<size_t>(at - name));
    errno = saved;
    if (oid == 0) continue;
    const int size = snprintf(buffer_, sizeof buffer_, "pg_tblspc/%u%s", oid, at);
    return size > 0 && static_cast<size_t>(size) < sizeof buffer_;
  }
  return false;
}

const char* Place::new_version_folder() const { return absolute_ ? version_folder_of(name) : nullptr; }

}  // namespace helium::vfs
