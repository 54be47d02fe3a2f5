// Oracle: redo against PostgreSQL. With wal_consistency_checking PostgreSQL puts the page as it is after each record into
// the WAL; here every such image is compared with the page that our redo makes. Used while WAL is ingested (--check-redo)
// and over WAL that is stored (verification.h).
//
// A comparison counts only where redo really ran: the resource manager is native, and the image is there for checking
// only (an image that is applied, or stands in for redo, would equal itself). Masking is redo/mask.h's; on a visibility
// map our bits must contain the image's (up to 15.18 a bit may leave the map in memory before its record does). What CREATE
// DATABASE copied outside of WAL is left out (redo/copied_maps.h).
// Threads: safe from any, one record after the other.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "pageserver/page_reader.h"
#include "pg/wal_record.h"
#include "redo/copied_maps.h"

namespace helium::pageserver {

class Metrics;

class Oracle {
 public:
  static constexpr size_t kDifferencesKept = 50;

  struct Count {
    uint64_t compared = 0;     // pages
    uint64_t differences = 0;  // of these, the refused ones included
    uint64_t refused = 0;      // of the differences: there is no page, redo or storage gave an error
    uint64_t unchecked = 0;    // no image to compare with, or one that is applied
    std::string first_difference;
  };
  struct Difference {
    std::string type;    // "HEAP/INSERT"
    std::string what;    // "1663/5/16384 blk 7"
    Lsn record_end_lsn;
    std::string detail;  // "byte 8184: image 01, ours 00", or the error
  };

  // `metrics`: also counted there; may be empty.
  explicit Oracle(std::shared_ptr<Metrics> metrics = nullptr) : metrics_(std::move(metrics)) {}

  // Compares the check images of a record that was ingested; each record, in order. Differences are counted and logged,
  // not returned.
  void check(const PageReader& reader, const pg::DecodedRecord& record, Lsn record_end_lsn);

  // By record type, "HEAP/INSERT".
  std::map<std::string, Count> counts() const;
  // The first kDifferencesKept.
  std::vector<Difference> differences() const;

 private:
  // What differs; empty if nothing does. An error: there is no page to compare.
  Result<std::string> compare(const PageReader& reader, const pg::DecodedRecord& record, const pg::BlockRef& ref,
                              Lsn record_end_lsn) const;

  const std::shared_ptr<Metrics> metrics_;
  mutable std::mutex mutex_;
  std::optional<Lsn> first_lsn_;  // before the first record's end
  redo::CopiedMaps copied_maps_;
  std::map<std::string, Count> counts_;
  std::vector<Difference> differences_;
};

}  // namespace helium::pageserver
