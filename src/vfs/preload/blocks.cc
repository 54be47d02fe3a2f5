#include "vfs/preload/blocks.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "vfs/preload/real.h"

namespace helium::vfs {
namespace {

struct Range {
  uint32_t first = 0;
  uint32_t end = 0;
  uint32_t count() const { return end - first; }
};

Range blocks_of(off_t offset, size_t size) {
  return {static_cast<uint32_t>(offset / kBlockSize),
          static_cast<uint32_t>((offset + static_cast<off_t>(size) + kBlockSize - 1) / kBlockSize)};
}

// Cuts a vector down to what one call handles; returns its bytes.
struct Vector {
  const iovec* iov;
  int count;
  size_t size;
  iovec single;

  Vector(const iovec* from, int n, off_t offset) : iov(from), count(0), size(0), single{} {
    const size_t most = size_t{kBlocksPerCall} * kBlockSize - static_cast<size_t>(offset % kBlockSize);
    while (count < n && from[count].iov_len <= most - size) size += from[count++].iov_len;
    if (count == 0 && n > 0) {  // one element above the bound: take a part of it
      single = {from[0].iov_base, most};
      iov = &single;
      count = 1;
      size = most;
    }
  }
};

uint32_t limit_of(const Entry& entry) { return entry.limit.load(std::memory_order_seq_cst); }

// Makes one block readable and tells the word under which it is. Null cell: nothing known about such a block
// (beyond any file), or the arena is full.
int make_readable(uint32_t index, Entry& entry, uint32_t blkno, BlockCell*& cell, BlockWord& word) {
  cell = g_process.arena.touch_cell(entry, blkno);
  if (cell == nullptr) return blkno >= kSegmentBlocks ? 0 : ENOSPC;
  for (int round = 0;; ++round) {
    word = {cell->word.load(std::memory_order_acquire)};
    switch (plan_read(word, side_of(blkno, limit_of(entry)))) {
      case ReadPlan::kRead: return 0;
      case ReadPlan::kMarkZero: {
        uint64_t raw = word.raw;
        cell->word.compare_exchange_strong(raw, mark_zero(word).raw);
        break;
      }
      case ReadPlan::kFetch:
        if (const int error = ask(MailKind::kFetch, index, blkno, Cancel::kAllowed)) return error;
        break;
      case ReadPlan::kWait: pause_briefly(round); break;
    }
  }
}

bool stale(const Entry& entry, const OpenFile& file) { return entry.life.load(std::memory_order_acquire) != file.life; }

int fail_with(int error) {
  errno = error;
  return -1;
}

ssize_t real_read(int fd, const Vector& vector, off_t offset) {
  return vector.count == 1 ? REAL(pread)(fd, vector.iov[0].iov_base, vector.iov[0].iov_len, offset)
                           : REAL(preadv)(fd, vector.iov, vector.count, offset);
}
ssize_t real_write(int fd, const Vector& vector, off_t offset) {
  return vector.count == 1 ? REAL(pwrite)(fd, vector.iov[0].iov_base, vector.iov[0].iov_len, offset)
                           : REAL(pwritev)(fd, vector.iov, vector.count, offset);
}

// --- writing ---

// The blocks of one write, held from before its bytes are written until after.
class WriteHold {
 public:
  WriteHold(Entry& entry, Range range) : entry_(entry), range_(range) {}

  // Takes all of them in ascending order. False: block `missing()` must be fetched first, nothing is held.
  bool take(off_t offset, size_t size, int& error) {
    error = 0;
    const uint64_t lsn = required_lsn_now();
    for (taken_ = 0; taken_ < range_.count(); ++taken_) {
      const uint32_t blkno = range_.first + taken_;
      const off_t start = static_cast<off_t>(blkno) * kBlockSize;
      const bool whole = start >= offset && start + kBlockSize <= offset + static_cast<off_t>(size);
      BlockCell* cell = g_process.arena.touch_cell(entry_, blkno);
      if (cell == nullptr) {
        release(0);
        error = ENOSPC;
        return false;
      }
      if (!take_one(*cell, blkno, whole ? WriteKind::kWholeBlock : WriteKind::kPartOfBlock)) {
        missing_ = blkno;
        release(0);
        return false;
      }
      uint64_t required = cell->required_lsn.load(std::memory_order_relaxed);
      while (required < lsn && !cell->required_lsn.compare_exchange_weak(required, lsn)) {
      }
    }
    if (grows_) note_size_change(entry_);
    return true;
  }
  uint32_t missing() const { return missing_; }

  // Lets go; the first `written` blocks got their bytes.
  void release(uint32_t written) {
    for (uint32_t i = 0; i < taken_; ++i) {
      BlockCell* cell = g_process.arena.cell(entry_, range_.first + i);
      uint64_t raw = cell->word.load();
      for (;;) {
        const BlockWord next = i < written ? end_write(started_[i], {raw}) : abort_write(started_[i], {raw});
        if (cell->word.compare_exchange_weak(raw, next.raw)) break;
      }
    }
    taken_ = 0;
  }

 private:
  bool take_one(BlockCell& cell, uint32_t blkno, WriteKind kind) {
    for (int round = 0;; ++round) {
      uint64_t raw = cell.word.load(std::memory_order_acquire);
      const Side side = side_of(blkno, limit_of(entry_));
      const WriteStep step = begin_write({raw}, side, kind);
      if (step.plan == WritePlan::kFetch) return false;
      if (step.plan == WritePlan::kWait) {
        pause_briefly(round);
      } else if (cell.word.compare_exchange_strong(raw, step.next.raw)) {
        started_[taken_] = step.next;
        const BlockState before = BlockWord{raw}.state();
        if (side == Side::kLocal && (before == BlockState::kUntouched || before == BlockState::kZero)) grows_ = true;
        return true;
      }
    }
  }

  Entry& entry_;
  const Range range_;
  uint32_t taken_ = 0;
  uint32_t missing_ = 0;
  bool grows_ = false;
  BlockWord started_[kBlocksPerCall + 1];
};

}  // namespace

namespace {

// The hot path: one block, or a part of one.
ssize_t read_within_block(int fd, const OpenFile& file, Entry& entry, const Vector& vector, off_t offset) {
  const auto blkno = static_cast<uint32_t>(offset / kBlockSize);
  for (int round = 0;; ++round) {
    const uint32_t shape = entry.shape.load(std::memory_order_acquire);
    if (shape % 2 != 0) {
      pause_briefly(round);
      continue;
    }
    if (stale(entry, file)) return fail_with(EIO);  // after the counter: a removal shows in one of the two
    BlockCell* cell = nullptr;
    BlockWord word;
    if (const int error = make_readable(file.entry, entry, blkno, cell, word)) return fail_with(error);
    const ssize_t got = real_read(fd, vector, offset);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (entry.shape.load(std::memory_order_relaxed) == shape &&
        (cell == nullptr || still_valid(word, {cell->word.load(std::memory_order_relaxed)})))
      return got;
  }
}

ssize_t read_range(int fd, const OpenFile& file, Entry& entry, const Vector& vector, off_t offset) {
  const Range range = blocks_of(offset, vector.size);
  BlockCell* cells[kBlocksPerCall + 1];
  BlockWord words[kBlocksPerCall + 1];
  for (int round = 0;; ++round) {
    const uint32_t shape = entry.shape.load(std::memory_order_acquire);
    if (shape % 2 != 0) {
      pause_briefly(round);
      continue;
    }
    if (stale(entry, file)) return fail_with(EIO);
    for (uint32_t i = 0; i < range.count(); ++i)
      if (const int error = make_readable(file.entry, entry, range.first + i, cells[i], words[i])) return fail_with(error);
    const ssize_t got = real_read(fd, vector, offset);
    std::atomic_thread_fence(std::memory_order_acquire);
    bool valid = entry.shape.load(std::memory_order_relaxed) == shape;
    for (uint32_t i = 0; i < range.count() && valid; ++i)
      valid = cells[i] == nullptr || still_valid(words[i], {cells[i]->word.load(std::memory_order_relaxed)});
    if (valid) return got;
  }
}

}  // namespace

ssize_t read_blocks(int fd, const iovec* iov, int count, off_t offset) {
  const OpenFile file = g_process.file(fd);
  Entry& entry = g_process.arena.entry(file.entry);
  const Vector vector(iov, count, offset);
  if (vector.size == 0 || offset < 0) return real_read(fd, vector, offset);
  const bool one = offset % kBlockSize + static_cast<off_t>(vector.size) <= kBlockSize;
  return one ? read_within_block(fd, file, entry, vector, offset) : read_range(fd, file, entry, vector, offset);
}

ssize_t write_blocks(int fd, const iovec* iov, int count, off_t offset) {
  const OpenFile file = g_process.file(fd);
  Entry& entry = g_process.arena.entry(file.entry);
  const Vector vector(iov, count, offset);
  if (vector.size == 0 || offset < 0) return real_write(fd, vector, offset);
  const Range range = blocks_of(offset, vector.size);
  if (range.end > kSegmentBlocks) return fail_with(EFBIG);
  if (g_process.arena.header().disk_full.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    struct stat now;
    if (fstat(fd, &now) == 0 && offset + static_cast<off_t>(vector.size) > now.st_size) return fail_with(ENOSPC);
  }
  WriteHold hold(entry, range);
  for (;;) {
    // A removed file: its inode has no name any more, nobody will read it.
    if (stale(entry, file)) return real_write(fd, vector, offset);
    int error = 0;
    {
      HeldSignals held;
      if (hold.take(offset, vector.size, error)) {
        const ssize_t put = real_write(fd, vector, offset);
        const int saved = errno;
        // A block that got only a part of its bytes counts as not written.
        hold.release(put < 0 ? 0 : static_cast<uint32_t>((offset + put) / kBlockSize - range.first) +
                                       (put == static_cast<ssize_t>(vector.size) && (offset + put) % kBlockSize != 0));
        errno = saved;
        return put;
      }
    }
    if (error != 0) return fail_with(error);
    if ((error = ask(MailKind::kFetch, file.entry, hold.missing(), Cancel::kNever)) != 0) return fail_with(error);
  }
}

void note_size_change(Entry& entry) {
  const uint64_t lsn = required_lsn_now();
  uint64_t known = entry.size_lsn.load(std::memory_order_relaxed);
  while (known < lsn && !entry.size_lsn.compare_exchange_weak(known, lsn)) {
  }
}

void discard_from(Entry& entry, uint32_t from) {
  uint32_t limit = entry.limit.load();
  while (limit > from && !entry.limit.compare_exchange_weak(limit, from)) {
  }
  uint32_t blkno = from;
  while (blkno < kSegmentBlocks) {
    BlockCell* cell = g_process.arena.cell(entry, blkno);
    if (cell == nullptr) {
      blkno = (blkno / kChunkBlocks + 1) * kChunkBlocks;
      if (entry.directory.load() == 0) return;
      continue;
    }
    uint64_t raw = cell->word.load();
    for (int round = 0;; ++round) {
      const std::optional<BlockWord> next = discard({raw});
      if (next && cell->word.compare_exchange_strong(raw, next->raw)) break;
      if (!next) {
        pause_briefly(round);
        raw = cell->word.load();
      }
    }
    ++blkno;
  }
}

int truncate_blocks(int fd, off_t length) {
  const OpenFile file = g_process.file(fd);
  Entry& entry = g_process.arena.entry(file.entry);
  if (length < 0) return fail_with(EINVAL);
  if (length % kBlockSize != 0) {
    // The block that keeps a part must be here with all of it.
    const auto blkno = static_cast<uint32_t>(length / kBlockSize);
    BlockCell* cell = nullptr;
    BlockWord word;
    if (const int error = make_readable(file.entry, entry, blkno, cell, word)) return fail_with(error);
  }
  ShapeLock lock(entry);
  if (!stale(entry, file)) {
    struct stat now;
    if (fstat(fd, &now) != 0) return -1;
    const ShapeChange change(entry);
    if (length < now.st_size) discard_from(entry, blocks_of(0, static_cast<size_t>(length)).end);
    note_size_change(entry);
    return REAL(ftruncate)(fd, length);
  }
  return REAL(ftruncate)(fd, length);
}

int allocate_blocks(int fd, off_t offset, off_t length) {
  const OpenFile file = g_process.file(fd);
  Entry& entry = g_process.arena.entry(file.entry);
  ShapeLock lock(entry);
  if (!stale(entry, file)) note_size_change(entry);
  // Reserving space below the end changes no byte; blocks behind the end are local, zeros.
  return REAL(posix_fallocate)(fd, offset, length);
}

void advise_blocks(int fd, off_t offset, off_t length) {
  const OpenFile file = g_process.file(fd);
  const Entry& entry = g_process.arena.entry(file.entry);
  if (stale(entry, file) || offset < 0) return;
  const uint32_t limit = limit_of(entry);
  Range range = blocks_of(offset, static_cast<size_t>(length < kBlockSize ? kBlockSize : length));
  if (range.count() > kChunkBlocks) range.end = range.first + kChunkBlocks;
  for (uint32_t blkno = range.first; blkno < range.end; ++blkno) {
    const BlockCell* cell = g_process.arena.cell(entry, blkno);
    const BlockWord word{cell == nullptr ? 0 : cell->word.load(std::memory_order_relaxed)};
    if (fetchable(word, side_of(blkno, limit))) hint(file.entry, blkno);
  }
}

}  // namespace helium::vfs
