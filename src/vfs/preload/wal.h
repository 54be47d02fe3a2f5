// Files of pg_wal: writes are counted and announced to the agent, a sync waits for the quorum. Segments in the
// making (xlogtemp.PID) are only kept from meeting a full disk.
// Errors: as the system call; a write that meets a full disk frees the agent's reserve and tries again.

#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "vfs/preload/process.h"

namespace helium::vfs {

// `offset` < 0: at the file's position.
ssize_t write_wal(int fd, const iovec* iov, int count, off_t offset);
int sync_wal(int fd);

}  // namespace helium::vfs
