#include "vfs/cache_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/check.h"
#include "vfs/tablespace_files.h"

namespace helium::vfs {
namespace {

struct Name {
  explicit Name(const EntryKey& key) { format_cache_path(path_of(key), text); }
  char text[kCachePathMax];
};

EntryKey fork_key(const EntryKey& relation, int fork, uint32_t segno) {
  return {EntryKind::kRelFile, static_cast<uint8_t>(fork), relation.spcnode, relation.dbnode, relation.relnode, segno};
}

}  // namespace

Status CacheFiles::make_folders() {
  for (const char* folder : {"base", "global", "pg_xact", "pg_multixact", "pg_multixact/members", "pg_multixact/offsets",
                             "pg_commit_ts"})
    if (mkdirat(cache_dir_.get(), folder, 0700) != 0 && errno != EEXIST)
      return fail_errno(std::string("make cache folder ") + folder, errno);
  return {};
}

Status CacheFiles::make_tablespace(uint32_t oid, const std::string& location, const std::string& link_path) {
  if (vfs::make_tablespace(cache_dir_.get(), oid, location.c_str(), nullptr, link_path.c_str()) != 0)
    return fail_errno(fmt::format("make the local folder of tablespace {} with location '{}'", oid, location), errno);
  return {};
}

Status CacheFiles::make_database_folder(uint32_t spcnode, uint32_t dbnode) {
  if (make_cache_folder(cache_dir_.get(), spcnode, dbnode, 0700) != 0)
    return fail_errno(fmt::format("make cache folder of database {} in tablespace {}", dbnode, spcnode), errno);
  return {};
}

Result<Fd> CacheFiles::create_sized(const EntryKey& key, uint64_t bytes) {
  const Name name(key);
  const int flags = O_RDWR | O_CREAT | O_CLOEXEC;
  Fd fd(openat(cache_dir_.get(), name.text, flags, 0600));
  if (!fd && errno == ENOENT && key.kind == EntryKind::kRelFile) {
    if (make_cache_folder(cache_dir_.get(), key.spcnode, key.dbnode, 0700) != 0)
      return fail_errno(std::string("make cache folder of ") + name.text, errno);
    fd = Fd(openat(cache_dir_.get(), name.text, flags, 0600));
  }
  if (!fd) return fail_errno(std::string("create cache file ") + name.text, errno);
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
    return fail_errno(std::string("size cache file ") + name.text, errno);
  return fd;
}

Status CacheFiles::make_file(const EntryKey& key, uint32_t nblocks) {
  const uint32_t index = arena_.find_or_add(key);
  if (index == 0) return fail(ErrorCode::kNoSpace, "the shared arena is full");
  HELIUM_TRY(create_sized(key, uint64_t{nblocks} * kBlockSize));
  arena_.entry(index).limit.store(nblocks);
  return {};
}

Status CacheFiles::make_unlogged_main(const EntryKey& relation, uint32_t nblocks, const InitPages& init_pages) {
  const EntryKey key = fork_key(relation, 0, 0);
  const uint32_t index = arena_.find_or_add(key);
  if (index == 0) return fail(ErrorCode::kNoSpace, "the shared arena is full");
  Entry& entry = arena_.entry(index);
  HELIUM_ASSIGN(const Fd fd, create_sized(key, uint64_t{nblocks} * kBlockSize));
  entry.limit.store(0);
  entry.flags.fetch_or(kFlagLocal | kFlagUnlogged);
  if (nblocks == 0) return {};
  const pg::RelTag init{relation.spcnode, relation.dbnode, relation.relnode, pg::Fork::kInit};
  HELIUM_ASSIGN(const Bytes pages, init_pages(init, nblocks));
  if (pwrite(fd.get(), pages.data(), pages.size(), 0) != static_cast<ssize_t>(pages.size()))
    return fail_errno(std::string("write unlogged relation ") + Name(key).text, errno);
  for (uint32_t blkno = 0; blkno < nblocks; ++blkno) {
    BlockCell* cell = arena_.touch_cell(entry, blkno);
    if (cell == nullptr) return fail(ErrorCode::kNoSpace, "the shared arena is full");
    cell->word.store(BlockWord{}.with(BlockState::kPresent).next_generation().raw);
  }
  return {};
}

Status CacheFiles::make_relation_known(uint32_t relation_entry, const ForkSizes& sizes, const InitPages& init_pages) {
  Entry& relation = arena_.entry(relation_entry);
  const std::lock_guard lock(known_mutex_);
  if (relation.flags.load() & kFlagResolved) return {};
  const auto& init = sizes[static_cast<size_t>(pg::Fork::kInit)];
  for (int fork = 0; fork < pg::kForkCount; ++fork) {
    const auto& nblocks = sizes[static_cast<size_t>(fork)];
    if (!nblocks) continue;
    // Of an unlogged relation storage has only the init fork that means something.
    if (init && fork != static_cast<int>(pg::Fork::kInit)) continue;
    uint32_t done = 0;
    for (uint32_t segno = 0; segno == 0 || done < *nblocks; ++segno) {
      const uint32_t here = std::min(*nblocks - done, kSegmentBlocks);
      HELIUM_TRY(make_file(fork_key(relation.key, fork, segno), here));
      done += here;
    }
  }
  if (init) HELIUM_TRY(make_unlogged_main(relation.key, *init, init_pages));
  relation.flags.fetch_or(kFlagResolved);
  return {};
}

Result<std::shared_ptr<Fd>> CacheFiles::open_file(uint32_t index) {
  const Entry& entry = arena_.entry(index);
  const uint32_t life = entry.life.load();
  const std::lock_guard lock(open_mutex_);
  const auto found = open_.find(index);
  if (found != open_.end() && found->second.life == life) return found->second.fd;
  const Name name(entry.key);
  auto fd = std::make_shared<Fd>(openat(cache_dir_.get(), name.text, O_RDWR | O_CLOEXEC));
  if (!*fd) return fail_errno(std::string("open cache file ") + name.text, errno);
  if (open_.size() >= kOpenFilesMax) open_.erase(open_.begin());
  open_[index] = {life, fd};
  return fd;
}

Result<FillOutcome> CacheFiles::fill(uint32_t index, uint32_t blkno, BlockWord ticket, ByteView page) {
  CHECK(page.size() == kBlockSize);
  Entry& entry = arena_.entry(index);
  BlockCell* cell = arena_.cell(entry, blkno);
  CHECK(cell != nullptr);
  const BlockWord mine = begin_fill(ticket);
  uint64_t raw = ticket.raw;
  if (!cell->word.compare_exchange_strong(raw, mine.raw)) return FillOutcome::kVoid;
  // From here on nobody truncates or removes this block: they wait for the word.
  const Side side = side_of(blkno, entry.limit.load());
  if (ticket.state() == BlockState::kUntouched && side == Side::kLocal) {
    cell->word.store(abort_fill(mine, side).raw);
    return FillOutcome::kVoid;
  }
  auto fd = open_file(index);
  const ssize_t put = fd ? pwrite((*fd)->get(), page.data(), page.size(), static_cast<off_t>(blkno) * kBlockSize) : -1;
  const int saved = errno;
  if (put != static_cast<ssize_t>(page.size())) {
    cell->word.store(abort_fill(mine, Side::kStorageProvides).raw);
    if (!fd) return fail(std::move(fd).error());
    return fail_errno("write cache file", put < 0 ? saved : ENOSPC);
  }
  cell->word.store(end_fill(mine).raw);
  return FillOutcome::kFilled;
}

Result<std::optional<Bytes>> CacheFiles::read(uint32_t index, uint32_t blkno) {
  const Entry& entry = arena_.entry(index);
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const uint32_t shape = entry.shape.load();
    BlockCell* cell = arena_.cell(entry, blkno);
    const BlockWord before{cell == nullptr ? 0 : cell->word.load()};
    const Side side = side_of(blkno, entry.limit.load());
    const bool zero = before.state() == BlockState::kUntouched && side == Side::kLocal;
    if (shape % 2 == 0 && !zero && plan_read(before, side) == ReadPlan::kFetch) return std::nullopt;
    if (shape % 2 == 0 && (zero || plan_read(before, side) == ReadPlan::kRead)) {
      HELIUM_ASSIGN(const auto fd, open_file(index));
      Bytes page(kBlockSize);
      const ssize_t got = pread(fd->get(), page.data(), page.size(), static_cast<off_t>(blkno) * kBlockSize);
      if (got < 0) return fail_errno("read cache file", errno);
      const BlockWord after{cell == nullptr ? 0 : cell->word.load()};
      if (entry.shape.load() == shape && (zero ? after == before : still_valid(before, after))) {
        if (got != static_cast<ssize_t>(page.size())) return std::nullopt;  // behind the end
        return page;
      }
    }
    usleep(50);
  }
  return fail(ErrorCode::kTimeout, "the block does not come to rest");
}

bool CacheFiles::evict(uint32_t index, uint32_t blkno, Lsn required_lsn) {
  const Entry& entry = arena_.entry(index);
  if (entry.key.kind == EntryKind::kRelFile && (entry.key.sub == 1 || entry.key.sub == 2)) return false;  // FSM, VM stay
  if (entry.flags.load() & kFlagUnlogged) return false;
  BlockCell* cell = arena_.cell(entry, blkno);
  if (cell == nullptr) return false;
  uint64_t raw = cell->word.load();
  const auto evicting = begin_evict({raw});
  if (!evicting || !cell->word.compare_exchange_strong(raw, evicting->raw)) return false;
  const auto fd = open_file(index);
  const bool dropped = cell->required_lsn.load() <= required_lsn.bytes() && fd &&
                       fallocate((*fd)->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 static_cast<off_t>(blkno) * kBlockSize, kBlockSize) == 0;
  cell->word.store(dropped ? end_evict(*evicting).raw : cancel_evict(*evicting).raw);
  return dropped;
}

std::optional<uint32_t> CacheFiles::size_of(const EntryKey& key) const {
  struct stat now;
  if (fstatat(cache_dir_.get(), Name(key).text, &now, 0) != 0) return std::nullopt;
  return static_cast<uint32_t>(now.st_size / kBlockSize);
}

}  // namespace helium::vfs
