// PageSource: where the cache gets what it does not have. Implemented by the compute agent on top of its
// pageserver connections; tests use a directory.
//
// Units: block numbers count 8 KiB blocks over the whole fork (all segment files), or over one SLRU segment.
// Ownership: the implementation outlives the CacheServer that was started with it.
// Errors: every error reaches the PostgreSQL process that waits as EIO, and is logged once by the cache; so
//   an implementation retries by itself what retrying may cure (lost connections), for as long as it sees fit.
//   On kFenced it calls CacheServer::fence() before it returns.
// Threads: called from several threads at once; may block; must not call back into the CacheServer, except
//   for fence().

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pg/rel.h"

namespace helium::vfs {

// What blocks belong to: a fork of a relation, or one segment of an SLRU.
using BlockFile = std::variant<pg::RelTag, pg::SlruSegment>;

// By fork number: how many blocks the fork has, nothing when it does not exist.
using ForkSizes = std::array<std::optional<uint32_t>, pg::kForkCount>;

class PageSource {
 public:
  virtual ~PageSource() = default;

  // All forks of a relation at once; a relation that does not exist is a success without any fork.
  // Asked once per relation and life of the compute, before anything was changed locally.
  // An invalid `not_modified_since` stands for the position the compute started at.
  virtual Result<ForkSizes> rel_info(uint32_t spcnode, uint32_t dbnode, uint32_t relnode,
                                     Lsn not_modified_since) = 0;

  // Every fork of every relation of a database (dbnode 0 with the global tablespace: the shared ones), as it was at
  // the position the compute started at: what was created since by this compute may be left out or not.
  // Asked at most twice per database: when several of its relations were asked for, and when somebody reads its
  // directory.
  virtual Result<std::vector<std::pair<pg::RelTag, uint32_t>>> list_rels(uint32_t spcnode,
                                                                         uint32_t dbnode) = 0;

  // Calls `done` exactly once for each block, in any order, from any thread, perhaps before it returns.
  // A page is 8192 bytes, valid during the call only. `not_modified_since` is the highest position at which
  // one of these blocks was changed locally (invalid: never). Returns soon where the implementation can.
  using PageDone = std::function<void(uint32_t blkno, Result<ByteView> page)>;
  virtual void get_pages(const BlockFile& file, std::vector<uint32_t> blknos, Lsn not_modified_since,
                         PageDone done) = 0;
};

}  // namespace helium::vfs
