// CacheFiles: the agent's hands on arena and cache folder: makes known files, fills, evicts and reads blocks.
//
// Ownership: views the arena; owns the folder's fd and a bounded set of open files.
// Errors: kIo, kNoSpace (disk or arena full).
// Threads: all of it from any thread.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/bytes.h"
#include "base/result.h"
#include "io/fd.h"
#include "pg/rel.h"
#include "vfs/arena.h"
#include "vfs/page_source.h"

namespace helium::vfs {

enum class FillOutcome : uint8_t { kFilled, kVoid };

class CacheFiles {
 public:
  CacheFiles(Arena arena, Fd cache_dir) : arena_(arena), cache_dir_(std::move(cache_dir)) {}

  Status make_folders();
  Status make_tablespace(uint32_t oid, const std::string& location, const std::string& link_path);
  Status make_database_folder(uint32_t spcnode, uint32_t dbnode);
  int cache_dir_fd() const { return cache_dir_.get(); }

  // Every fork of a relation becomes known: sparse files of the right sizes, limits, and last the flag that
  // tells the processes so. A second call changes nothing. An unlogged relation (one with an init fork) gets its
  // main fork as a copy of `init_pages`.
  using InitPages = std::function<Result<Bytes>(const pg::RelTag& init, uint32_t nblocks)>;
  Status make_relation_known(uint32_t relation_entry, const ForkSizes& sizes, const InitPages& init_pages);
  Status make_file(const EntryKey& key, uint32_t nblocks);

  // Puts a page that storage sent where `ticket` was seen. kVoid: the block was written, truncated or removed
  // meanwhile; nothing was changed.
  Result<FillOutcome> fill(uint32_t entry, uint32_t blkno, BlockWord ticket, ByteView page);
  // Bytes of a block that is here; nothing if it is not.
  Result<std::optional<Bytes>> read(uint32_t entry, uint32_t blkno);
  bool evict(uint32_t entry, uint32_t blkno, Lsn required_lsn);
  // Size in blocks of the file as it is; nothing when it does not exist.
  std::optional<uint32_t> size_of(const EntryKey& key) const;

 private:
  Result<std::shared_ptr<Fd>> open_file(uint32_t entry);
  Result<Fd> create_sized(const EntryKey& key, uint64_t bytes);
  Status make_unlogged_main(const EntryKey& relation, uint32_t nblocks, const InitPages& init_pages);

  static constexpr size_t kOpenFilesMax = 512;
  struct Open {
    uint32_t life;
    std::shared_ptr<Fd> fd;
  };

  const Arena arena_;
  const Fd cache_dir_;
  std::mutex known_mutex_;  // one relation becomes known at a time
  std::mutex open_mutex_;
  std::unordered_map<uint32_t, Open> open_;  // guarded by open_mutex_
};

}  // namespace helium::vfs
