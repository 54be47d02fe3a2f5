// The small values that a timeline keeps under its keys: sizes, ranges, WAL positions, and the store's metadata.
//
// Integers are little-endian. Byte tables: docs/formats/keys.md. Decoders take untrusted bytes (a layer file) and
// return kCorrupt, or kTooNew for metadata of a later version. Plain values; pure functions; any thread.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pg/control_file.h"
#include "wire/term_history.h"

namespace helium::pageserver {

// rel_size: a fork exists, and how long it is. Absence is a tombstone.
struct RelSizeValue {
  // The fork came into being as a copy of the same relation and fork of another database (CREATE DATABASE by file
  // copy): its first `nblocks` blocks are those of (spcnode, dbnode) at `lsn` until they have versions of their own.
  struct CopiedFrom {
    uint32_t spcnode = 0;
    uint32_t dbnode = 0;
    Lsn lsn;
    uint32_t nblocks = 0;
    friend bool operator==(const CopiedFrom&, const CopiedFrom&) = default;
  };
  uint32_t nblocks = 0;
  bool has_zero_ranges = false;  // look at rel_zero_range, too
  std::optional<CopiedFrom> copied_from;
  friend bool operator==(const RelSizeValue&, const RelSizeValue&) = default;
};
Bytes encode(const RelSizeValue& value);
Result<RelSizeValue> decode_rel_size(ByteView bytes);

// rel_zero_range, by first block: all blocks up to `end` (exclusive) are zero as of the version's LSN, whatever
// versions they had before.
struct ZeroRangeValue {
  uint32_t end = 0;
};
Bytes encode(const ZeroRangeValue& value);
Result<ZeroRangeValue> decode_zero_range(ByteView bytes);

// db_dir of a database (not of a tablespace): its folder in a tablespace.
enum class DbDirValue : uint8_t {
  kWholeDatabase,  // with PG_VERSION and a relation map; stored as no bytes
  kRelationsOnly,  // of a database that lives in another tablespace; stored as one byte 1
};
Bytes encode(DbDirValue value);
bool is_whole_database(ByteView bytes);

// slru_size: pages of a segment, 1 to 32.
struct SlruSizeValue {
  uint32_t npages = 0;
};
Bytes encode(const SlruSizeValue& value);
Result<SlruSizeValue> decode_slru_size(ByteView bytes);

// repl_origin: how far a replication origin has been applied. Absence is a tombstone.
struct ReplOriginValue {
  Lsn remote_lsn;  // the origin's position
  Lsn local_lsn;   // end of the record here that says so; the version's LSN, which images of layers do not keep
  friend bool operator==(const ReplOriginValue&, const ReplOriginValue&) = default;
};
Bytes encode(const ReplOriginValue& value);
Result<ReplOriginValue> decode_repl_origin(ByteView bytes);

// aux_file: a file of the data directory that a logical message carried. Absence is a tombstone.
struct AuxFileValue {
  Lsn local_lsn;  // end of the record that carried it; the version's LSN, which images of layers do not keep
  std::string path;
  Bytes content;
  friend bool operator==(const AuxFileValue&, const AuxFileValue&) = default;
};
Bytes encode(const AuxFileValue& value);
Result<AuxFileValue> decode_aux_file(ByteView bytes);

// wal_position: what a compute needs to start exactly at the version's LSN (rule 13), and when that was.
struct WalPosition {
  Lsn record_start;            // of the record that ends at the version's LSN
  uint64_t next_full_xid = 0;
  uint32_t next_multi = 0;
  uint32_t next_multi_offset = 0;
  int64_t time = 0;            // of a commit or abort: microseconds since 2000-01-01; 0 if the record has none
  friend bool operator==(const WalPosition&, const WalPosition&) = default;
};
Bytes encode(const WalPosition& value);
Result<WalPosition> decode_wal_position(ByteView bytes);

// What ingest needs to go on behind last_record_lsn.
struct IngestState {
  Lsn last_record_start;
  Lsn last_record_lsn;
  pg::Checkpoint checkpoint;  // the counters as of last_record_lsn
  TermHistory history;        // of the WAL up to last_record_lsn (rule 6)
  friend bool operator==(const IngestState&, const IngestState&) = default;
};

// The store's metadata.
struct TimelineMetadata {
  int pg_version = 0;
  uint64_t system_identifier = 0;
  // Empty on a branch that has no WAL of its own yet and whose ancestor was not that far when it was made: then the
  // state is what the ancestor's WAL position at ancestor_lsn says.
  std::optional<IngestState> state;
  friend bool operator==(const TimelineMetadata&, const TimelineMetadata&) = default;
};
Bytes encode(const TimelineMetadata& value);
Result<TimelineMetadata> decode_timeline_metadata(ByteView bytes);

}  // namespace helium::pageserver
