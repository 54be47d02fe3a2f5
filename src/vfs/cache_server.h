// CacheServer: the agent's half of the file layer. It owns the shared arena, answers the requests of the
// PostgreSQL processes that run with libhelium_vfs.so, and fills blocks of the cache files from a PageSource.
//
// Layout of a compute: `pgdata_dir` holds everything but blocks, `cache_dir` (a sibling, same file system not
//   needed) the blocks: "base/5/16384_vm.1" of the data directory lives in `cache_dir`/base/5/16384_vm.1.
//   Both folders exist and cache_dir is empty when create() is called; paths may be relative to the cwd.
//   The maker of pgdata makes base/N for every database; the cache makes its own folders by itself.
// Ownership: destroy it after PostgreSQL has ended; the arena and the cache files are worthless afterwards.
// Errors: a failed fetch is logged once, the process that waits gets EIO.
// Threads: every method may be called from any thread. start() runs its own.
// Format: docs/formats/compute_shared_memory.md, states and rules: docs/file_layer.md.
//
// Life: create → (chown, setuid) → add_slru_segment… → start → spawn postgres with child_environment() and the
//   inherited fds → wait_wal/publish_flushed in a loop → PostgreSQL ends → stop.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "base/sha256.h"
#include "pg/rel.h"
#include "vfs/block_state.h"
#include "vfs/page_source.h"

namespace helium::vfs {

struct CacheOptions {
  std::string pgdata_dir = "pgdata";
  std::string cache_dir = "cache";
  // Other spellings of the data directory that PostgreSQL may be given (its -D, "/proc/self/fd/7"); the real
  // path and /proc/{self,PID}/fd/N are understood anyway.
  std::vector<std::string> pgdata_aliases;
  uint64_t arena_bytes = uint64_t{8} << 30;     // address space; memory is used as blocks are touched
  uint32_t wal_segment_bytes = 16u << 20;
  uint64_t wal_reserve_bytes = uint64_t{48} << 20;  // kept free on disk so that writing WAL never meets ENOSPC
  int workers = 4;                              // threads that answer requests
  uint32_t readahead_blocks_max = 64;
  bool expect_parent = true;  // PostgreSQL processes die with the thread that spawned them (PR_SET_PDEATHSIG)
};

// Counters since the start; hits are not counted (they do not leave the PostgreSQL process).
struct CacheMetrics {
  uint64_t requests = 0;           // mailbox requests answered
  uint64_t rel_infos = 0;          // relations asked for
  uint64_t list_rels = 0;
  uint64_t blocks_wanted = 0;      // blocks a process waited for
  uint64_t blocks_readahead = 0;   // blocks fetched because somebody reads sequentially, or hinted
  uint64_t blocks_filled = 0;
  uint64_t fills_void = 0;         // late fills dropped: the block was written, truncated or removed meanwhile
  uint64_t fetch_errors = 0;
  uint64_t wait_micros = 0;        // of processes for blocks, from taking the request to answering it
  uint64_t arena_bytes_used = 0;
  uint64_t wal_writes = 0;
  uint64_t wal_syncs = 0;
};

struct CachedBlock {
  uint32_t blkno = 0;        // within the fork, or the SLRU segment
  BlockState state{};
  bool written = false;      // by PostgreSQL in this life
  Lsn required_lsn;          // insert position at its last write; not_modified_since of a fetch
};

// One segment file in the cache.
struct CachedFile {
  BlockFile what;            // SlruSegment, or the fork
  uint32_t segno = 0;        // of a fork
  uint32_t nblocks = 0;      // of this segment file, now
  uint32_t first_blkno = 0;  // segno * 131072
  Lsn size_lsn;              // insert position at the last extension, truncation or creation; invalid: unchanged
  bool local = false;        // created here; storage hears of it by WAL, or never (unlogged relations)
  bool unlogged = false;     // a main fork made from an init fork that storage has
};

class CacheServer {
 public:
  // Makes the arena and opens both folders. Errors: kIo, kNotFound, kNoSpace.
  static Result<std::unique_ptr<CacheServer>> create(CacheOptions options);
  virtual ~CacheServer() = default;

  // The fds that a spawned postgres must inherit (clear FD_CLOEXEC in the child): the arena and the cache
  // folder. They keep their numbers; child_environment() names them ("HELIUM_VFS_FD=7", …). LD_PRELOAD is the
  // caller's: the library is libhelium_vfs.so beside the programs.
  virtual std::vector<int> inherited_fds() const = 0;
  int arena_fd() const { return inherited_fds().front(); }
  virtual std::vector<std::string> child_environment() const = 0;

  // An SLRU segment that storage has, `npages` of 8 KiB (its size: files may be short). Only before postgres runs;
  // a segment not added does not exist until PostgreSQL creates it.
  virtual Status add_slru_segment(pg::SlruSegment segment, uint32_t npages) = 0;

  // A tablespace that storage has: its folder in the cache, and pgdata_dir/pg_tblspc/OID, which leads there. `location`
  // is what PostgreSQL says it is; nothing is there. Only before postgres runs. Errors: kIo, kNoSpace.
  virtual Status add_tablespace(uint32_t oid, const std::string& location) = 0;
  // A folder of pgdata that storage names, "base/5" or "pg_tblspc/16400/PG_15_202209061/5": files of blocks that
  // PostgreSQL creates there have a place. Others are ignored. Only before postgres runs.
  virtual Status add_folder(const std::string& folder) = 0;

  // What auxiliary files of this timeline are signed with (pg/auxiliary_file.h); without it they stay local. Only before
  // postgres runs.
  virtual void set_auxiliary_key(const Sha256::Digest& key) = 0;

  // Starts answering. Call it after setuid (or make cache_dir writable for the process).
  virtual Status start(PageSource* source) = 0;

  // True once a postgres has mapped the arena and seen that its own calls are intercepted. A postgres that
  // runs for long without that (static binary, wrong library) must not be let in.
  virtual bool interception_proven() const = 0;

  // --- WAL ---
  // `seq` counts writes to files of pg_wal; `written_upto` is the end of the highest byte ever written.
  struct WalSignal {
    uint64_t seq = 0;
    Lsn written_upto;
  };
  // Returns as soon as the sequence number is above `after_seq`, or with the present values after the timeout.
  virtual WalSignal wait_wal(uint64_t after_seq, std::chrono::milliseconds timeout) = 0;
  WalSignal wal() { return wait_wal(UINT64_MAX, std::chrono::milliseconds(0)); }
  // Every fdatasync that started when the sequence number was ≤ seq returns. Never goes back. One store and,
  // if somebody waits, one wake.
  virtual void publish_flushed(uint64_t seq) = 0;
  // Highest seq some process waits for in fdatasync (0: none ever); a hint for batching.
  virtual uint64_t wanted_flush_seq() const = 0;
  // Makes a thread in wait_wal return at once (for stopping it).
  virtual void wake_wal_waiter() = 0;

  // --- the end ---
  virtual void fence() = 0;      // every PostgreSQL process kills itself at its next call into the file layer
  virtual bool fenced() const = 0;
  virtual void kill_all() = 0;   // SIGKILL to every registered process
  virtual std::vector<pid_t> processes() const = 0;  // alive ones
  // Ends the threads, and returns when the source has answered every call it was given.
  // Processes that still wait for a block then end by death only.
  virtual void stop() = 0;

  // --- verification and eviction ---
  // Files that the cache knows and that exist now. `file` is valid during the call; each_block() visits blocks
  // that were touched (not kUntouched).
  virtual void visit_files(const std::function<void(const CachedFile& file)>& visit) = 0;
  virtual void visit_blocks(const BlockFile& what, const std::function<void(const CachedBlock&)>& visit) = 0;
  // Whether the cache has learnt what storage has of this relation or segment (so that its files here are the truth).
  virtual bool is_known(const BlockFile& what) = 0;
  // The fork's size as PostgreSQL sees it now, over all segments; nothing when it does not exist locally or is not known.
  virtual std::optional<uint32_t> nblocks(const BlockFile& what) = 0;
  // The bytes of a block that is present (or zero) here, atomically against fills and evictions (not against a
  // PostgreSQL process that writes it at this moment). kNotFound: not here, nothing is fetched.
  virtual Result<Bytes> read_block(const BlockFile& what, uint32_t blkno) = 0;
  // Drops a present block that the caller may drop (docs/file_layer.md says which). False: it is pinned, written
  // since `required_lsn`, or not present.
  virtual bool evict_block(const BlockFile& what, uint32_t blkno, Lsn required_lsn) = 0;

  virtual CacheMetrics metrics() const = 0;
};

}  // namespace helium::vfs
