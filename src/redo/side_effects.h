// Records with effects outside of blocks: files, databases, counters. Pure parsers, one struct per record type.
//
// All views point into the record's bytes. Each parser takes a record of its own type (rmgr and op) and returns
// kRedo for another type or a malformed one. Transactions: redo/xact_record.h. Checkpoints: pg/control_file.h.
// Pure. Source: PostgreSQL 15 pg_control.h, storage_xlog.h, dbcommands_xlog.h, tablespace.h, relmapper.h, clog.h,
// multixact.h, commit_ts.h, standbydefs.h, origin.h, message.h; 17 widens SLRU page numbers to 64 bits.

#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pg/rel.h"
#include "pg/wal_record.h"

namespace helium::redo {

// Operations: xl_info & 0xF0.
inline constexpr uint8_t kXlogCheckpointShutdown = 0x00;
inline constexpr uint8_t kXlogCheckpointOnline = 0x10;
inline constexpr uint8_t kXlogNoop = 0x20;
inline constexpr uint8_t kXlogNextOid = 0x30;
inline constexpr uint8_t kXlogSwitch = 0x40;
inline constexpr uint8_t kXlogBackupEnd = 0x50;
inline constexpr uint8_t kXlogParameterChange = 0x60;
inline constexpr uint8_t kXlogRestorePoint = 0x70;
inline constexpr uint8_t kXlogFpwChange = 0x80;
inline constexpr uint8_t kXlogEndOfRecovery = 0x90;
inline constexpr uint8_t kXlogFpiForHint = 0xA0;
inline constexpr uint8_t kXlogFpi = 0xB0;
inline constexpr uint8_t kXlogOverwriteContrecord = 0xD0;
inline constexpr uint8_t kXlogCheckpointRedo = 0xE0;  // 17 and later
inline constexpr uint8_t kSmgrCreate = 0x10;
inline constexpr uint8_t kSmgrTruncate = 0x20;
inline constexpr uint8_t kDbaseCreateFileCopy = 0x00;
inline constexpr uint8_t kDbaseCreateWalLog = 0x10;   // 15 and later; in 14, 0x10 is DROP
inline constexpr uint8_t kDbaseDrop = 0x20;
inline constexpr uint8_t kTblspcCreate = 0x00;
inline constexpr uint8_t kTblspcDrop = 0x10;
inline constexpr uint8_t kRelmapUpdate = 0x00;
inline constexpr uint8_t kSlruZeroPage = 0x00;        // CLOG and COMMIT_TS
inline constexpr uint8_t kSlruTruncate = 0x10;        // CLOG and COMMIT_TS
inline constexpr uint8_t kMultixactZeroOffPage = 0x00;
inline constexpr uint8_t kMultixactZeroMemPage = 0x10;
inline constexpr uint8_t kMultixactCreateId = 0x20;
inline constexpr uint8_t kMultixactTruncateId = 0x30;
inline constexpr uint8_t kStandbyLock = 0x00;
inline constexpr uint8_t kStandbyRunningXacts = 0x10;
inline constexpr uint8_t kStandbyInvalidations = 0x20;
inline constexpr uint8_t kReplOriginSet = 0x00;
inline constexpr uint8_t kReplOriginDrop = 0x10;
inline constexpr uint8_t kLogicalMessage = 0x00;

// XLOG/NEXTOID: sets nextOid.
Result<uint32_t> parse_next_oid(const pg::DecodedRecord& record);
// XLOG/FPW_CHANGE: checkpoint.fullPageWrites.
Result<bool> parse_fpw_change(const pg::DecodedRecord& record);
// XLOG/PARAMETER_CHANGE.
struct ParameterChange {
  int32_t max_connections = 0;
  int32_t max_worker_processes = 0;
  int32_t max_wal_senders = 0;
  int32_t max_prepared_xacts = 0;
  int32_t max_locks_per_xact = 0;
  int32_t wal_level = 0;
  bool wal_log_hints = false;
  bool track_commit_timestamp = false;
};
Result<ParameterChange> parse_parameter_change(const pg::DecodedRecord& record);

// SMGR/CREATE: the fork exists with size 0.
Result<pg::RelTag> parse_smgr_create(const pg::DecodedRecord& record);
// SMGR/TRUNCATE. `nblocks` is of the main fork; map sizes by vm_truncation().
struct SmgrTruncate {
  pg::RelTag rel;                   // forknum kMain
  uint32_t nblocks = 0;
  bool main = false;                // SMGR_TRUNCATE_HEAP
  bool vm = false;
  bool fsm = false;
};
Result<SmgrTruncate> parse_smgr_truncate(const pg::DecodedRecord& record);

// DBASE. The version tells FILE_COPY/WAL_LOG/DROP (15) from CREATE/DROP (14).
enum class DbaseOp : uint8_t { kCreateFileCopy, kCreateWalLog, kDrop };
struct DbaseRecord {
  DbaseOp op = DbaseOp::kDrop;
  uint32_t dbnode = 0;
  uint32_t spcnode = 0;             // of the create
  uint32_t src_dbnode = 0;          // of a file copy
  uint32_t src_spcnode = 0;
  std::vector<uint32_t> drop_spcnodes;
};
Result<DbaseRecord> parse_dbase(const pg::DecodedRecord& record, int pg_version);

// TBLSPC.
struct TblspcRecord {
  bool create = false;
  uint32_t spcnode = 0;
  std::string_view path;            // of a create
};
Result<TblspcRecord> parse_tblspc(const pg::DecodedRecord& record);

// RELMAP/UPDATE: the new content of pg_filenode.map.
struct RelmapUpdate {
  uint32_t dbnode = 0;              // 0: the shared map
  uint32_t spcnode = 0;
  ByteView map;                     // 512 bytes (15), 524 (16 and later)
};
Result<RelmapUpdate> parse_relmap_update(const pg::DecodedRecord& record);

// CLOG/ZEROPAGE, COMMIT_TS/ZEROPAGE, MULTIXACT/ZERO_OFF_PAGE, ZERO_MEM_PAGE: the page number.
Result<uint64_t> parse_slru_zero_page(const pg::DecodedRecord& record, int pg_version);

// CLOG/TRUNCATE and COMMIT_TS/TRUNCATE: pages before `cutoff_page` (in wrap-around order) are not needed.
struct SlruTruncate {
  uint64_t cutoff_page = 0;
  uint32_t oldest_xid = 0;
  uint32_t oldest_xid_db = 0;       // CLOG only
};
Result<SlruTruncate> parse_slru_truncate(const pg::DecodedRecord& record, int pg_version);
// SimpleLruTruncate's choice: may a segment go when pages before cutoff_page do? Wrap-around order of `kind`.
bool slru_segment_is_before(pg::SlruSegment segment, uint64_t cutoff_page, int pg_version);

// MULTIXACT/CREATE_ID. nextMulti becomes > mid, nextMultiOffset ≥ offset + members.size().
struct MultixactMember {
  uint32_t xid = 0;
  uint32_t status = 0;
};
struct MultixactCreate {
  uint32_t mid = 0;
  uint32_t offset = 0;
  std::vector<MultixactMember> members;
  uint32_t next_mid() const;        // skips 0
  uint32_t next_offset() const;     // offset + members, 0 becomes 1
};
Result<MultixactCreate> parse_multixact_create(const pg::DecodedRecord& record);

// MULTIXACT/TRUNCATE_ID.
struct MultixactTruncate {
  uint32_t oldest_multi_db = 0;
  uint32_t start_off = 0;           // multixact ids; [start, end) goes; end_off is the new oldest multi
  uint32_t end_off = 0;
  uint32_t start_memb = 0;          // member offsets
  uint32_t end_memb = 0;
};
Result<MultixactTruncate> parse_multixact_truncate(const pg::DecodedRecord& record);
// True if the segment (members or offsets) goes with this record.
bool multixact_segment_goes(const MultixactTruncate& truncate, pg::SlruSegment segment);

// STANDBY/RUNNING_XACTS.
struct RunningXacts {
  uint32_t next_xid = 0;
  uint32_t oldest_running_xid = 0;
  uint32_t latest_completed_xid = 0;
  bool subxid_overflow = false;
  std::vector<uint32_t> xids;       // top-level, then subtransactions
};
Result<RunningXacts> parse_running_xacts(const pg::DecodedRecord& record);

// REPLORIGIN.
struct ReplOriginRecord {
  bool set = false;                 // else drop
  uint16_t origin_id = 0;
  Lsn remote_lsn;                   // of a set
  bool backward = false;            // of a set: also to a position before the one that is known
};
Result<ReplOriginRecord> parse_repl_origin(const pg::DecodedRecord& record);

// LOGICALMSG/MESSAGE.
struct LogicalMessage {
  uint32_t dbnode = 0;
  bool transactional = false;
  std::string_view prefix;
  ByteView payload;
};
Result<LogicalMessage> parse_logical_message(const pg::DecodedRecord& record);

// Every transaction id that the record proves to have been assigned (rule 12): nextXid moves past each of them.
// xl_xid, subtransactions, multixact members, prepared and assigned xids, RUNNING_XACTS. Special xids (below 3) are
// left out. A malformed record names what can be read.
void for_each_assigned_xid(const pg::DecodedRecord& record, int pg_version,
                           const std::function<void(uint32_t xid)>& callback);
// `xid` as a full id, the one nearest to next_full_xid; and max(next_full_xid, that + 1), past the special ids.
uint64_t widen_xid(uint32_t xid, uint64_t next_full_xid);
uint64_t advance_next_xid(uint64_t next_full_xid, uint32_t xid);

}  // namespace helium::redo
