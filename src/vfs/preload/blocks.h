// Reading, writing and truncating files of blocks, over the states of block_state.h.
//
// Errors: as the system call, plus EIO (storage could not give the block, or the file was removed and the fd is
//   of its earlier life) and ECANCELED (the wait was ended because somebody wants the query out).
// A call may be shorter than asked for beyond kBlocksPerCall blocks, as the system call itself may.

#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "vfs/preload/process.h"

namespace helium::vfs {

inline constexpr uint32_t kBlocksPerCall = 160;

ssize_t read_blocks(int fd, const iovec* iov, int count, off_t offset);
ssize_t write_blocks(int fd, const iovec* iov, int count, off_t offset);
int truncate_blocks(int fd, off_t length);
// Extends a file with zero blocks up to `length`, keeping what is there.
int allocate_blocks(int fd, off_t offset, off_t length);
void advise_blocks(int fd, off_t offset, off_t length);

// Under the file's ShapeLock: everything at and behind block `from` is gone, and zeros if it ever comes back.
void discard_from(Entry& entry, uint32_t from);

// Under the file's ShapeLock, around discard_from and the system call that shortens or removes the file: who
// reads meanwhile waits, since the blocks that go already look like zeros.
class ShapeChange {
 public:
  explicit ShapeChange(Entry& entry) : entry_(entry) { entry_.shape.fetch_add(1); }
  ~ShapeChange() { entry_.shape.fetch_add(1); }
  ShapeChange(const ShapeChange&) = delete;
  ShapeChange& operator=(const ShapeChange&) = delete;

 private:
  Entry& entry_;
};
void note_size_change(Entry& entry);

}  // namespace helium::vfs
