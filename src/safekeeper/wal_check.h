// Is the WAL of a timeline whole? Reads all of it, record by record, and names the first place that is not right.
//
// Looked at: the long header of each segment (version, system identifier, position), every page header, every record's
// length, CRC and link to the record before it; that the WAL reaches as far as it was surely synced; and that no WAL
// lies behind its end. What lies behind the end within kMaxUnsyncedBytes is a private tail (wal_storage.h) and may be
// anything. Pure over `read`; memory: the longest record and one chunk.

#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pg/wal_stream.h"

namespace helium::safekeeper {

// All bytes [start, start + bytes.size()), which never cross a segment's end. Errors: kLsnTooOld: that segment is not
// there; kTruncated: it is shorter than a segment; others: the disk's.
using ReadWal = std::function<Status(Lsn start, MutableByteView bytes)>;

struct WalToCheck {
  // A record end (the timeline's start), or a segment's start: then records count from the first that begins there.
  Lsn first;
  Lsn synced;  // WAL up to here must be there
  int pg_version = 0;
  uint64_t system_id = 0;
};

struct WalDamage {
  Lsn lsn;           // where the first bad record begins; where a segment begins whose header is bad
  std::string what;  // what is wrong there
  friend bool operator==(const WalDamage&, const WalDamage&) = default;
};

struct WalCheckResult {
  Lsn first;         // the first record begins here (or behind the page header there)
  Lsn end;           // behind the last good record
  Lsn last_record;   // its start; invalid if there is none
  uint64_t records = 0;
  std::optional<WalDamage> damage;
};

// `seen` is called for each good record, in order.
WalCheckResult check_wal(const WalToCheck& wal, const ReadWal& read,
                         const std::function<void(const pg::WalRecordView&)>& seen = {});

// A page of WAL so far behind `record_end`, where no valid record begins, that what lies between had been synced: it
// proves damage. nullopt: there is none, `record_end` is the end.
std::optional<Lsn> find_wal_behind(Lsn record_end, const ReadWal& read);

// "segment 000000010000000000000001 offset 24".
std::string wal_place_name(Lsn lsn);

}  // namespace helium::safekeeper
