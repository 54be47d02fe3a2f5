// Records of the transaction manager (RM_XACT_ID), taken apart.
//
// All views point into the record's bytes. Errors: kRedo: shorter than its parts, or an operation that is not asked
// for. Pure. Source: PostgreSQL 15 xact.h, xactdesc.c ParseCommitRecord and friends; 14 has no dropped statistics.

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/lsn.h"
#include "base/result.h"
#include "pg/rel.h"
#include "pg/wal_record.h"

namespace helium::redo {

// Operations: xl_info & 0x70.
inline constexpr uint8_t kXactCommit = 0x00;
inline constexpr uint8_t kXactPrepare = 0x10;
inline constexpr uint8_t kXactAbort = 0x20;
inline constexpr uint8_t kXactCommitPrepared = 0x30;
inline constexpr uint8_t kXactAbortPrepared = 0x40;
inline constexpr uint8_t kXactAssignment = 0x50;
inline constexpr uint8_t kXactInvalidations = 0x60;
constexpr uint8_t xact_op(uint8_t info) { return info & 0x70; }

struct DroppedStats {
  uint32_t kind = 0;
  uint32_t dbnode = 0;
  uint64_t objid = 0;
};

// COMMIT, COMMIT_PREPARED, ABORT, ABORT_PREPARED.
struct XactEnd {
  bool commit = false;
  bool prepared = false;             // a two-phase transaction ends: its state file goes
  uint32_t xid = 0;                  // of the transaction that ends; 0 if it had none
  std::vector<uint32_t> subxids;
  std::vector<pg::RelTag> dropped_rels;  // forknum kMain; all forks go
  std::vector<DroppedStats> dropped_stats;
  int64_t time = 0;                  // TimestampTz: microseconds since 2000-01-01
  uint32_t xinfo = 0;
  std::string_view gid;              // of a prepared transaction, when logged
  bool has_origin = false;           // it was replayed from a replication origin
  uint16_t origin_id = 0;            // which one: the record header's
  Lsn origin_lsn;                    // its progress
  int64_t origin_time = 0;
  // The time that goes into the commit timestamp.
  int64_t commit_ts_time() const { return has_origin ? origin_time : time; }
};
Result<XactEnd> parse_xact_end(const pg::DecodedRecord& record, int pg_version);
bool is_xact_end(const pg::DecodedRecord& record);
// Only the time of an end of transaction: cheap, for the WAL position value.
std::optional<int64_t> xact_end_time(const pg::DecodedRecord& record);

// PREPARE. The two-phase file is `state` followed by its CRC-32C (little-endian).
struct XactPrepare {
  uint32_t xid = 0;
  uint32_t dbnode = 0;
  int64_t prepared_at = 0;
  std::vector<uint32_t> subxids;
  std::string_view gid;
  uint16_t origin_id = 0;            // 0: it comes from no replication origin
  Lsn origin_lsn;                    // else its progress
  ByteView state;                    // the record's main data
};
Result<XactPrepare> parse_xact_prepare(const pg::DecodedRecord& record, int pg_version);
// The bytes of pg_twophase/XID for a PREPARE record: `state` and its CRC.
Bytes twophase_file(ByteView state);
// "000002A5" up to 16, "00000000000002A5" from 17 on.
std::string twophase_file_name(uint64_t full_xid, int pg_version);

// ASSIGNMENT.
struct XactAssignment {
  uint32_t top_xid = 0;
  std::vector<uint32_t> subxids;
};
Result<XactAssignment> parse_xact_assignment(const pg::DecodedRecord& record);

}  // namespace helium::redo
