// CopiedMaps: what WAL does not tell of visibility maps and BRIN's revmaps.
//
// CREATE DATABASE … STRATEGY wal_log logs each page of the new database as a standard page, and all that a map has lies
// where a standard page has its hole: who replays the WAL has zeros, PostgreSQL what the source has. From then on each
// record that changes a bit or an entry makes it known again, an image of the whole page makes all so.
// That is followed by a second copy of the page, which begins full instead of empty and gets the same redo: what WAL
// tells is the same in both.
//
// Memory: 8 kB for each such page, some bytes for each other map page of databases that users made. Not thread safe.
// Source: PostgreSQL 15 bufmgr.c RelationCopyStorageUsingBuffer (18: the same), visibilitymap.c, brin_revmap.c.

#pragma once

#include <functional>
#include <map>

#include "base/bytes.h"
#include "pg/wal_record.h"
#include "redo/redo.h"

namespace helium::redo {

struct MapPage {
  pg::RelTag rel;  // a visibility map, or the main fork of a BRIN index
  uint32_t blkno = 0;
  friend auto operator<=>(const MapPage&, const MapPage&) = default;
};

class CopiedMaps {
 public:
  // Is the page from before the first record that was noted? Then a copy may have made it, and nothing of it counts as
  // known yet. Asked once per page.
  using IsOlder = std::function<bool(const MapPage&)>;

  // Each record, in order, before its pages are compared.
  void note(const pg::DecodedRecord& record, int pg_version, Lsn record_end_lsn, const IsOlder& is_older);

  // Where WAL does not tell what the page has, `theirs` gets what `ours` has: PostgreSQL's page and the one that redo
  // made, after the last record that was noted.
  void copy_unknown(const MapPage& page, ByteView ours, MutableByteView theirs) const;

 private:
  Bytes& find(const MapPage& page, const IsOlder& is_older);
  void note_database(const pg::DecodedRecord& record, int pg_version);
  void note_truncation(const pg::DecodedRecord& record);
  void note_image(const MapPage& page, const pg::BlockImage& image);

  std::map<MapPage, Bytes> full_;  // empty: all is known
};

}  // namespace helium::redo
