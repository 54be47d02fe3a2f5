// Oracle: the check-redo mode. PostgreSQL with wal_consistency_checking puts the page as it is after each record into
// the WAL; here every such image is compared with the page that our redo makes.
//
// A comparison counts only where redo really ran: the resource manager is native, and the image is there for checking
// only (an image that is applied, or stands in for redo, would equal itself). Masking is redo/mask.h's; on a visibility
// map our bits must contain the image's (up to 15.18 a bit may leave the map in memory before its record does).
// Threads: safe from any.

#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "pageserver/page_reader.h"
#include "pg/wal_record.h"

namespace helium::pageserver {

class Oracle {
 public:
  struct Count {
    uint64_t compared = 0;
    uint64_t differences = 0;
    std::string first_difference;
  };

  // Compares the check images of a record that was just ingested. Differences are counted and logged, not returned.
  void check(const PageReader& reader, const pg::DecodedRecord& record, Lsn record_end_lsn);

  // By record type, "HEAP/INSERT".
  std::map<std::string, Count> counts() const;

 private:
  // What differs; empty if nothing does.
  std::string compare(const PageReader& reader, const pg::DecodedRecord& record, const pg::BlockRef& ref,
                      Lsn record_end_lsn) const;

  mutable std::mutex mutex_;
  std::map<std::string, Count> counts_;
};

}  // namespace helium::pageserver
