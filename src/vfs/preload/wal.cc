#include "vfs/preload/wal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "vfs/preload/real.h"

namespace helium::vfs {
namespace {

constexpr uint32_t kTickMicros = 50'000;

uint64_t segment_start(const OpenFile& file) {
  return (uint64_t{file.life} << 32 | file.entry) * g_process.arena.header().wal_segment_bytes;
}

bool free_reserve() {
  const int fd = REAL(openat)(g_process.cache_fd, "wal_reserve", O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  const off_t size = REAL(lseek)(fd, 0, SEEK_END);
  g_process.arena.header().disk_full.store(1);  // what is freed now is for WAL: nothing else grows meanwhile
  const bool freed = size > 0 && REAL(ftruncate)(fd, 0) == 0;
  REAL(close)(fd);
  return freed;
}

ssize_t write_at(int fd, const iovec* iov, int count, off_t offset) {
  if (count == 1) return REAL(pwrite)(fd, iov[0].iov_base, iov[0].iov_len, offset);
  return REAL(pwritev)(fd, iov, count, offset);
}

}  // namespace

ssize_t write_wal(int fd, const iovec* iov, int count, off_t offset) {
  const bool moves = offset < 0;
  if (moves) offset = REAL(lseek)(fd, 0, SEEK_CUR);
  ssize_t put = write_at(fd, iov, count, offset);
  if (put < 0 && errno == ENOSPC && free_reserve()) put = write_at(fd, iov, count, offset);
  if (put <= 0) return put;
  if (moves) REAL(lseek)(fd, offset + put, SEEK_SET);

  if (!g_process.has_wal(fd)) return put;  // a segment in the making
  ArenaHeader& header = g_process.arena.header();
  const uint64_t upto = segment_start(g_process.file(fd)) + static_cast<uint64_t>(offset + put);
  uint64_t known = header.wal_written_upto.load(std::memory_order_relaxed);
  while (known < upto && !header.wal_written_upto.compare_exchange_weak(known, upto)) {
  }
  header.wal_seq.fetch_add(1);
  if (header.wal_seq_waiters.load() != 0) futex_wake(low_half(header.wal_seq), INT_MAX);
  return put;
}

int sync_wal(int fd) {
  ArenaHeader& header = g_process.arena.header();
  if (segment_start(g_process.file(fd)) >= header.wal_written_upto.load()) return 0;  // a new segment, still empty
  const uint64_t wanted = header.wal_seq.load();
  header.wal_syncs.fetch_add(1, std::memory_order_relaxed);
  if (header.flushed_seq.load() >= wanted) return 0;
  uint64_t known = header.wanted_seq.load(std::memory_order_relaxed);
  while (known < wanted && !header.wanted_seq.compare_exchange_weak(known, wanted)) {
  }
  header.flushed_waiters.fetch_add(1);
  for (;;) {
    const uint64_t flushed = header.flushed_seq.load();
    if (flushed >= wanted) break;
    futex_wait(low_half(header.flushed_seq), static_cast<uint32_t>(flushed), kTickMicros);
    check_alive();
  }
  header.flushed_waiters.fetch_sub(1);
  return 0;
}

}  // namespace helium::vfs
