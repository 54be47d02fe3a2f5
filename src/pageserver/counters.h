// Counters: the checkpoint's fields as a compute would find them if it started behind the last record (rule 12).
//
// nextXid moves past every xid that any record names, of any resource manager; online checkpoints raise, shutdown
// checkpoints set. Transaction ids, multixact ids and offsets compare in wrap-around order.
// Errors: kRedo: a malformed record. Pure; not thread safe.
// Source: PostgreSQL 15 xlog.c xlog_redo, multixact.c, commit_ts.c, standby.c.

#pragma once

#include "base/result.h"
#include "pg/control_file.h"
#include "pg/wal_record.h"

namespace helium::pageserver {

class Counters {
 public:
  Counters(pg::Checkpoint at_start, int pg_version) : checkpoint_(at_start), pg_version_(pg_version) {}

  // track_commit_timestamp as it is in force at this record.
  Status apply(const pg::DecodedRecord& record, bool track_commit_timestamp);

  // The switch of track_commit_timestamp by a PARAMETER_CHANGE.
  void start_commit_ts();
  void stop_commit_ts();

  const pg::Checkpoint& checkpoint() const { return checkpoint_; }

 private:
  Status apply_xlog(const pg::DecodedRecord& record);
  Status apply_multixact(const pg::DecodedRecord& record);
  Status apply_commit_ts_of_end(const pg::DecodedRecord& record);
  void raise_multixact(uint32_t next_multi, uint32_t next_offset);

  pg::Checkpoint checkpoint_;
  int pg_version_;
};

// a is before b, in wrap-around order.
constexpr bool wraps_before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

}  // namespace helium::pageserver
