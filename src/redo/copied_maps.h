// CopiedMaps: the bits of visibility maps that WAL does not tell.
//
// CREATE DATABASE … STRATEGY wal_log logs each map page of the new database as a standard page, and all of a map's bits
// lie where a standard page has its hole: who replays the WAL has zeros, PostgreSQL has the source's bits. From then on
// each record that sets or clears bits of a heap block makes these known again, an image of the whole page makes all so.
//
// Memory: 8 kB for each such page, a few bytes for other map pages of databases that users made. Not thread safe.
// Source: PostgreSQL 15 bufmgr.c RelationCopyStorageUsingBuffer (18: the same), visibilitymap.c.

#pragma once

#include <functional>
#include <map>

#include "base/bytes.h"
#include "pg/wal_record.h"
#include "redo/redo.h"

namespace helium::redo {

class CopiedMaps {
 public:
  // Is the page from before the first record that was noted? Then a copy may have made it, and none of its bits counts
  // as known yet. Asked once per page.
  using IsOlder = std::function<bool(const VmPage&)>;

  // Each record, in order, before its pages are compared.
  void note(const pg::DecodedRecord& record, int pg_version, const IsOlder& is_older);

  // A page laid out as a map, with the unknown bits set; empty when all are known. Valid until the next note().
  ByteView unknown_bits(const VmPage& page) const;

 private:
  Bytes& find(const VmPage& page, const IsOlder& is_older);
  void note_database(const pg::DecodedRecord& record, int pg_version);
  void note_truncation(const pg::DecodedRecord& record);

  std::map<VmPage, Bytes> pages_;  // empty: all is known
};

}  // namespace helium::redo
