// RecentRecords: where the last records of a timeline ended, so that a branch at exactly "now" finds its position even
// when ingest has just run past it.
//
// Memory: bounded, 40 bytes for each of kCapacity records. Not thread safe.

#pragma once

#include <algorithm>
#include <deque>
#include <optional>

#include "pageserver/values.h"

namespace helium::pageserver {

class RecentRecords {
 public:
  static constexpr size_t kCapacity = 16 * 1024;

  // Record ends come in ascending order.
  void add(Lsn end_lsn, const WalPosition& position) {
    if (records_.size() == kCapacity) records_.pop_front();
    records_.push_back({end_lsn, position});
  }

  // The position at exactly this record end.
  std::optional<WalPosition> find(Lsn end_lsn) const {
    const auto found = std::lower_bound(records_.begin(), records_.end(), end_lsn,
                                        [](const Record& record, Lsn lsn) { return record.end_lsn < lsn; });
    if (found == records_.end() || found->end_lsn != end_lsn) return std::nullopt;
    return found->position;
  }

 private:
  struct Record {
    Lsn end_lsn;
    WalPosition position;
  };
  std::deque<Record> records_;
};

}  // namespace helium::pageserver
