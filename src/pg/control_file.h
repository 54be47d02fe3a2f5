// pg_control and the checkpoint record, as plain values, for each major version (control versions 1300, 1700, 1800).
// Source: PostgreSQL 15 pg_control.h; 17 and 18 add Checkpoint.wal_level and more (per version in control_file.cc).

#pragma once

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"

namespace helium::pg {

// struct CheckPoint.
struct Checkpoint {
  Lsn redo;
  uint32_t this_tli = 1;
  uint32_t prev_tli = 1;
  bool full_page_writes = true;
  int32_t wal_level = 1;                  // 17 and later
  uint64_t next_full_xid = 0;             // epoch << 32 | xid
  uint32_t next_oid = 0;
  uint32_t next_multi = 0;
  uint32_t next_multi_offset = 0;
  uint32_t oldest_xid = 0;
  uint32_t oldest_xid_db = 0;
  uint32_t oldest_multi = 0;
  uint32_t oldest_multi_db = 0;
  int64_t time = 0;                       // pg_time_t, seconds since 1970
  uint32_t oldest_commit_ts_xid = 0;
  uint32_t newest_commit_ts_xid = 0;
  uint32_t oldest_active_xid = 0;
  friend bool operator==(const Checkpoint&, const Checkpoint&) = default;
};

size_t checkpoint_size(int pg_version);
// The struct's bytes, as in the record's main data and in pg_control.
Bytes encode_checkpoint(const Checkpoint& checkpoint, int pg_version);
Result<Checkpoint> decode_checkpoint(ByteView bytes, int pg_version);

// pg_control: its bytes (8192 in the file) with typed access to what Helium reads and writes; the rest stays as it is.
class ControlFile {
 public:
  // Errors: kTruncated, kCorrupt (CRC), kInvalid (not of pg_version, other block or segment sizes, unknown pg_version).
  static Result<ControlFile> parse(ByteView file, int pg_version);

  uint64_t system_identifier() const;
  void set_system_identifier(uint64_t value);
  uint32_t catalog_version() const;
  bool is_shut_down() const;              // DB_SHUTDOWNED
  Lsn checkpoint_lsn() const;             // start of the checkpoint record
  Checkpoint checkpoint() const;
  bool data_checksums() const;
  bool wal_log_hints() const;
  bool track_commit_timestamp() const;
  int32_t wal_level() const;
  int32_t max_connections() const;
  int32_t max_worker_processes() const;
  int32_t max_wal_senders() const;
  int32_t max_prepared_xacts() const;
  int32_t max_locks_per_xact() const;
  // From an XLOG_PARAMETER_CHANGE record's main data (xl_parameter_change).
  Status apply_parameter_change(ByteView main_data);
  // 32 random bytes of the cluster, which PostgreSQL shows to nobody.
  ByteView mock_authentication_nonce() const;
  void set_mock_authentication_nonce(std::span<const std::byte, 32> nonce);

  // State "shut down" at this checkpoint; clears the fields that matter only in recovery (minRecoveryPoint, backup…).
  void set_shutdown_checkpoint(Lsn record_start, const Checkpoint& checkpoint, int64_t now_seconds);

  // The file: 8192 bytes, CRC right.
  Bytes encode() const;

 private:
  ControlFile(Bytes bytes, int pg_version) : bytes_(std::move(bytes)), pg_version_(pg_version) {}
  Bytes bytes_;
  int pg_version_;
};

}  // namespace helium::pg
