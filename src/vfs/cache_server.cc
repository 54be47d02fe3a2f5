#include "vfs/cache_server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/log.h"
#include "io/fd.h"
#include "vfs/arena.h"
#include "vfs/cache_files.h"
#include "vfs/request_server.h"

namespace helium::vfs {
namespace {

// The agent's mapping of the arena.
class Mapping {
 public:
  static Result<Mapping> make(uint64_t bytes, uint32_t wal_segment_bytes) {
    Mapping mapping;
    mapping.bytes_ = bytes;
    mapping.fd_ = Fd(memfd_create("helium-vfs", MFD_CLOEXEC));
    if (!mapping.fd_) return fail_errno("create the shared arena", errno);
    if (ftruncate(mapping.fd_.get(), static_cast<off_t>(bytes)) != 0) return fail_errno("size the shared arena", errno);
    mapping.base_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, mapping.fd_.get(), 0);
    if (mapping.base_ == MAP_FAILED) {
      mapping.base_ = nullptr;
      return fail_errno("map the shared arena", errno);
    }
    madvise(mapping.base_, bytes, MADV_DONTDUMP);
    Arena::format(mapping.base_, bytes, wal_segment_bytes);
    return mapping;
  }
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : fd_(std::move(other.fd_)), base_(std::exchange(other.base_, nullptr)), bytes_(other.bytes_) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (base_ != nullptr) munmap(base_, bytes_);
  }
  int fd() const { return fd_.get(); }
  Arena arena() const { return Arena(base_); }

 private:
  Fd fd_;
  void* base_ = nullptr;
  uint64_t bytes_ = 0;
};

class Server final : public CacheServer {
 public:
  Server(CacheOptions options, Mapping mapping, Fd cache_dir)
      : options_(std::move(options)),
        mapping_(std::move(mapping)),
        arena_(mapping_.arena()),
        files_(arena_, std::move(cache_dir)),
        requests_(arena_, files_, {options_.workers, options_.readahead_blocks_max, [this] { restore_wal_reserve(); }}) {
    arena_.header().agent_pid = static_cast<uint32_t>(getpid());
    arena_.header().expect_parent = options_.expect_parent;
  }
  ~Server() override { stop(); }

  std::vector<int> inherited_fds() const override { return {mapping_.fd(), files_.cache_dir_fd()}; }

  std::vector<std::string> child_environment() const override {
    std::string names;
    if (char* real = realpath(options_.pgdata_dir.c_str(), nullptr)) {
      names = real;
      free(real);
    }
    for (const std::string& alias : options_.pgdata_aliases) names += (names.empty() ? "" : ":") + alias;
    return {fmt::format("HELIUM_VFS_FD={}", mapping_.fd()),
            fmt::format("HELIUM_VFS_CACHE_FD={}", files_.cache_dir_fd()), "HELIUM_VFS_PGDATA=" + names};
  }

  Status add_slru_segment(pg::SlruSegment segment, uint32_t npages) override {
    if (npages > kSlruSegmentBlocks)
      return fail(ErrorCode::kInvalid, fmt::format("{} has {} pages, more than a segment", pg::to_string(segment), npages));
    HELIUM_TRY(files_.make_folders());
    return files_.make_file(key_of(segment, 0), npages);
  }

  Status add_tablespace(uint32_t oid, const std::string& location) override {
    const std::string folder = options_.pgdata_dir + "/pg_tblspc";
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno("create folder " + folder, errno);
    return files_.make_tablespace(oid, location, fmt::format("{}/pg_tblspc/{}", options_.pgdata_dir, oid));
  }

  Status add_folder(const std::string& folder) override {
    const MappedPath path = map_path(folder.c_str());
    if (path.kind != PathKind::kRelDir || path.dbnode == 0) return {};
    return files_.make_database_folder(path.spcnode, path.dbnode);
  }

  void set_auxiliary_key(const Sha256::Digest& key) override {
    std::ranges::copy(key, arena_.header().auxiliary_key);
    arena_.header().auxiliary_ready.store(1);
  }

  Status start(PageSource* source) override {
    HELIUM_TRY(files_.make_folders());
    HELIUM_TRY(make_wal_reserve());
    arena_.header().agent_pid = static_cast<uint32_t>(getpid());
    requests_.start(source);
    return {};
  }

  bool interception_proven() const override { return arena_.header().interception.load() != 0; }

  // --- WAL ---

  WalSignal wait_wal(uint64_t after_seq, std::chrono::milliseconds timeout) override {
    ArenaHeader& header = arena_.header();
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    for (;;) {
      const uint64_t seq = header.wal_seq.load();
      const auto left = deadline - std::chrono::steady_clock::now();
      if (seq > after_seq || left <= left.zero() || wal_interrupted_.exchange(false))
        return {seq, Lsn(header.wal_written_upto.load())};
      header.wal_seq_waiters.fetch_add(1);
      const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(left).count();
      if (header.wal_seq.load() == seq && !wal_interrupted_.load())
        futex_wait(low_half(header.wal_seq), static_cast<uint32_t>(seq), static_cast<uint32_t>(std::min<int64_t>(micros + 1, 1'000'000)));
      header.wal_seq_waiters.fetch_sub(1);
    }
  }

  void publish_flushed(uint64_t seq) override {
    ArenaHeader& header = arena_.header();
    uint64_t known = header.flushed_seq.load();
    while (known < seq && !header.flushed_seq.compare_exchange_weak(known, seq)) {
    }
    if (known < seq && header.flushed_waiters.load() != 0) futex_wake(low_half(header.flushed_seq), INT_MAX);
  }

  uint64_t wanted_flush_seq() const override { return arena_.header().wanted_seq.load(); }

  void wake_wal_waiter() override {
    wal_interrupted_.store(true);
    futex_wake(low_half(arena_.header().wal_seq), INT_MAX);
  }

  // --- the end ---

  void fence() override {
    arena_.header().fence.store(1);
    // Those who wait look at the fence when they wake.
    const uint32_t used = arena_.header().slots_used.load();
    for (uint32_t i = 0; i < used; ++i) futex_wake(arena_.slot(i).mail, 1);
    futex_wake(low_half(arena_.header().flushed_seq), INT_MAX);
  }
  bool fenced() const override { return arena_.header().fence.load() != 0; }

  std::vector<pid_t> processes() const override {
    std::vector<pid_t> alive;
    const uint32_t used = arena_.header().slots_used.load();
    for (uint32_t i = 0; i < used; ++i) {
      const auto pid = static_cast<pid_t>(arena_.slot(i).pid.load());
      if (pid > 1 && (kill(pid, 0) == 0 || errno != ESRCH)) alive.push_back(pid);
    }
    return alive;
  }
  void kill_all() override {
    for (const pid_t pid : processes()) kill(pid, SIGKILL);
  }
  void stop() override { requests_.stop(); }

  // --- verification and eviction ---

  void visit_files(const std::function<void(const CachedFile&)>& visit) override {
    const uint32_t used = std::min(arena_.header().entries_used.load(), arena_.header().entry_count);
    for (uint32_t index = 1; index < used; ++index) {
      const Entry& entry = arena_.entry(index);
      if (entry.key.kind != EntryKind::kRelFile && entry.key.kind != EntryKind::kSlruFile) continue;
      if (arena_.find(entry.key) != index) continue;  // just being made
      const auto nblocks = files_.size_of(entry.key);
      if (!nblocks) continue;
      const uint32_t flags = entry.flags.load();
      const bool slru = entry.key.kind == EntryKind::kSlruFile;
      visit({.what = slru ? BlockFile(pg::SlruSegment{static_cast<pg::SlruKind>(entry.key.sub), entry.key.segno})
                          : BlockFile(pg::RelTag{entry.key.spcnode, entry.key.dbnode, entry.key.relnode,
                                                 static_cast<pg::Fork>(entry.key.sub)}),
             .segno = slru ? 0 : entry.key.segno,
             .nblocks = *nblocks,
             .first_blkno = slru ? 0 : entry.key.segno * kSegmentBlocks,
             .size_lsn = Lsn(entry.size_lsn.load()),
             .local = (flags & kFlagLocal) != 0,
             .unlogged = (flags & kFlagUnlogged) != 0});
    }
  }

  void visit_blocks(const BlockFile& what, const std::function<void(const CachedBlock&)>& visit) override {
    for (uint32_t segno = 0;; ++segno) {
      const EntryKey key = key_of(what, segno);
      const uint32_t index = arena_.find(key);
      const auto nblocks = index == 0 ? std::nullopt : files_.size_of(key);
      if (!nblocks) return;
      for (uint32_t blkno = 0; blkno < *nblocks; ++blkno) {
        const BlockCell* cell = arena_.cell(arena_.entry(index), blkno);
        if (cell == nullptr) {
          blkno = (blkno / kChunkBlocks + 1) * kChunkBlocks - 1;
          continue;
        }
        const BlockWord word{cell->word.load()};
        if (word.state() == BlockState::kUntouched) continue;
        visit({segno * kSegmentBlocks + blkno, word.state(), word.written(), Lsn(cell->required_lsn.load())});
      }
      if (std::holds_alternative<pg::SlruSegment>(what)) return;
    }
  }

  bool is_known(const BlockFile& what) override {
    const auto* rel = std::get_if<pg::RelTag>(&what);
    if (rel == nullptr) return true;
    const auto has = [this](const EntryKey& key, uint32_t flags) {
      const uint32_t index = arena_.find(key);
      return index != 0 && (arena_.entry(index).flags.load() & flags) != 0;
    };
    return has(relation_key(rel->spcnode, rel->dbnode, rel->relnode), kFlagResolved) ||
           has(database_key(rel->spcnode, rel->dbnode), kFlagResolved | kFlagLocal);
  }

  std::optional<uint32_t> nblocks(const BlockFile& what) override {
    std::optional<uint32_t> total;
    for (uint32_t segno = 0;; ++segno) {
      const EntryKey key = key_of(what, segno);
      const auto here = arena_.find(key) == 0 ? std::nullopt : files_.size_of(key);
      if (!here) return total;
      total = total.value_or(0) + *here;
      if (*here < kSegmentBlocks || std::holds_alternative<pg::SlruSegment>(what)) return total;
    }
  }

  Result<Bytes> read_block(const BlockFile& what, uint32_t blkno) override {
    const uint32_t index = arena_.find(segment_key(what, blkno));
    if (index == 0) return fail(ErrorCode::kNotFound, "the file is not in the cache");
    HELIUM_ASSIGN(auto page, files_.read(index, offset_in_segment(what, blkno)));
    if (!page) return fail(ErrorCode::kNotFound, "the block is not in the cache");
    return std::move(*page);
  }

  bool evict_block(const BlockFile& what, uint32_t blkno, Lsn required_lsn) override {
    const uint32_t index = arena_.find(segment_key(what, blkno));
    return index != 0 && files_.evict(index, offset_in_segment(what, blkno), required_lsn);
  }

  CacheMetrics metrics() const override {
    CacheMetrics metrics;
    requests_.add_metrics(metrics);
    metrics.arena_bytes_used = arena_.bytes_used();
    metrics.wal_writes = arena_.header().wal_seq.load();
    metrics.wal_syncs = arena_.header().wal_syncs.load();
    return metrics;
  }

 private:
  static EntryKey key_of(const BlockFile& what, uint32_t segno) {
    if (const auto* slru = std::get_if<pg::SlruSegment>(&what))
      return {EntryKind::kSlruFile, static_cast<uint8_t>(slru->kind), 0, 0, 0, slru->segno};
    const auto& rel = std::get<pg::RelTag>(what);
    return {EntryKind::kRelFile, static_cast<uint8_t>(rel.forknum), rel.spcnode, rel.dbnode, rel.relnode, segno};
  }
  static EntryKey segment_key(const BlockFile& what, uint32_t blkno) {
    return key_of(what, std::holds_alternative<pg::SlruSegment>(what) ? 0 : blkno / kSegmentBlocks);
  }
  static uint32_t offset_in_segment(const BlockFile& what, uint32_t blkno) {
    return std::holds_alternative<pg::SlruSegment>(what) ? blkno : blkno % kSegmentBlocks;
  }

  Status make_wal_reserve() {
    const Fd reserve(openat(files_.cache_dir_fd(), "wal_reserve", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!reserve) return fail_errno("create the reserve for WAL in " + options_.cache_dir, errno);
    if (options_.wal_reserve_bytes == 0) return {};
    if (const int error = posix_fallocate(reserve.get(), 0, static_cast<off_t>(options_.wal_reserve_bytes)))
      return fail_errno(fmt::format("reserve {} bytes for WAL in {}", options_.wal_reserve_bytes, options_.cache_dir), error);
    return {};
  }

  // After the disk was full: as soon as there is room again.
  void restore_wal_reserve() {
    if (arena_.header().disk_full.load() == 0) return;
    struct statvfs disk;
    if (fstatvfs(files_.cache_dir_fd(), &disk) != 0) return;
    if (uint64_t{disk.f_bavail} * disk.f_frsize < 2 * options_.wal_reserve_bytes) return;
    if (!make_wal_reserve()) return;
    arena_.header().disk_full.store(0);
    log::info("room for WAL is reserved again", {{"bytes", options_.wal_reserve_bytes}});
  }

  const CacheOptions options_;
  const Mapping mapping_;
  const Arena arena_;
  CacheFiles files_;
  RequestServer requests_;
  std::atomic<bool> wal_interrupted_ = false;
};

}  // namespace

Result<std::unique_ptr<CacheServer>> CacheServer::create(CacheOptions options) {
  if (options.arena_bytes < (uint64_t{16} << 20))
    return fail(ErrorCode::kInvalid, "the shared arena needs at least 16 MB");
  if (access(options.pgdata_dir.c_str(), X_OK) != 0) return fail_errno("use data directory " + options.pgdata_dir, errno);
  Fd cache_dir(open(options.cache_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cache_dir) return fail_errno("open cache folder " + options.cache_dir, errno);
  HELIUM_ASSIGN(Mapping mapping, Mapping::make(options.arena_bytes, options.wal_segment_bytes));
  return std::make_unique<Server>(std::move(options), std::move(mapping), std::move(cache_dir));
}

}  // namespace helium::vfs
