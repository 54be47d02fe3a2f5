// PageReader: pages, sizes and lists of one timeline as of an LSN, rebuilt from the versions in its store.
//
// Every `at` is inclusive and must not lie ahead of what was written (the caller has waited for that).
// Rules: an absent block inside its fork is an error, never zeros; zeros come from explicit zero versions and ranges.
// A page that redo refuses is an error (kRedo) that names record, page and LSN; it stays one, also for later records,
// until a record rebuilds the page from nothing. Other pages are not concerned.
// Errors: kNotFound: no such fork, segment or block; kRedo; kCorrupt: a damaged layer, or history without a base.
// Threads: safe from any. Memory: one page's history during a call, and the shared PageCache.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "layer/store.h"
#include "pageserver/page_cache.h"
#include "pageserver/values.h"
#include "pg/control_file.h"
#include "pg/rel.h"
#include "pg/wal_record.h"

namespace helium::pageserver {

class PageReader {
 public:
  PageReader(std::shared_ptr<layer::TimelineStore> store, int pg_version, std::shared_ptr<PageCache> cache);

  // Nothing if the fork does not exist.
  Result<std::optional<RelSizeValue>> rel_size(const pg::RelTag& rel, Lsn at) const;
  // Pages of the segment, nothing if it does not exist.
  Result<std::optional<uint32_t>> slru_size(const pg::SlruSegment& segment, Lsn at) const;

  Result<layer::SharedBytes> get_rel_page(const pg::RelTag& rel, uint32_t blkno, Lsn at) const;
  // The same with the size that rel_size() gave at this LSN: for many pages of one fork.
  Result<layer::SharedBytes> get_rel_page(const pg::RelTag& rel, const RelSizeValue& size, uint32_t blkno,
                                          Lsn at) const;
  Result<layer::SharedBytes> get_slru_page(const pg::SlruSegment& segment, uint32_t page, Lsn at) const;

  // What rel_block and slru_block keys look like as of `at`; for the store's image maker.
  Result<Bytes> page_of_key(const layer::Key& key, Lsn at) const;

  struct RelFork {
    pg::RelTag rel;
    RelSizeValue size;
  };
  // Every fork of every relation of a database, ascending.
  Result<std::vector<RelFork>> list_rels(uint32_t spcnode, uint32_t dbnode, Lsn at) const;
  // Of all databases and tablespaces.
  Result<std::vector<RelFork>> list_all_rels(Lsn at) const;
  struct SlruFork {
    pg::SlruSegment segment;
    uint32_t npages = 0;
  };
  Result<std::vector<SlruFork>> list_slru(Lsn at) const;
  Result<std::vector<SlruFork>> list_slru(pg::SlruKind kind, Lsn at) const;

  Result<pg::ControlFile> control_file(Lsn at) const;

  const layer::TimelineStore& store() const { return *store_; }
  int pg_version() const { return pg_version_; }

 private:
  // The page below all versions that count: what to do when they run out.
  struct Floor {
    Lsn lsn;                                              // versions before it do not count
    std::function<Result<layer::SharedBytes>()> base;     // empty: there is none
  };
  using Redo = std::function<Status(const pg::DecodedRecord&, Lsn, MutableByteView page)>;

  Result<Floor> floor_of(const pg::RelTag& rel, const RelSizeValue& size, uint32_t blkno, Lsn at, int depth) const;
  Result<layer::SharedBytes> get_rel_page(const pg::RelTag& rel, const RelSizeValue& size, uint32_t blkno, Lsn at,
                                          int depth) const;
  Result<layer::SharedBytes> rebuild(const layer::Key& key, Lsn at, const Floor& floor, const Redo& redo) const;
  Status redo_rel(const pg::DecodedRecord& record, Lsn lsn, const pg::RelTag& rel, uint32_t blkno,
                  MutableByteView page) const;
  Status redo_slru(const pg::DecodedRecord& record, Lsn lsn, const pg::SlruSegment& segment, uint32_t page_in_segment,
                   MutableByteView page) const;
  Result<bool> hints_logged_at(Lsn lsn) const;
  Result<std::vector<RelFork>> list_rels(const layer::KeyRange& sizes, Lsn at) const;

  const std::shared_ptr<layer::TimelineStore> store_;
  const int pg_version_;
  const std::shared_ptr<PageCache> cache_;
  const uint64_t cache_id_;

  mutable std::mutex hints_mutex_;
  mutable Lsn hints_version_;     // of the control file that hints_value_ comes from
  mutable bool hints_value_ = false;
};

}  // namespace helium::pageserver
