#include "pageserver/counters.h"

#include <algorithm>

#include "redo/side_effects.h"
#include "redo/xact_record.h"

namespace helium::pageserver {

Status Counters::apply(const pg::DecodedRecord& record, bool track_commit_timestamp) {
  redo::for_each_assigned_xid(record, pg_version_, [this](uint32_t xid) {
    checkpoint_.next_full_xid = redo::advance_next_xid(checkpoint_.next_full_xid, xid);
  });
  switch (static_cast<pg::Rmgr>(record.rmgr)) {
    case pg::Rmgr::kXlog:
      return apply_xlog(record);
    case pg::Rmgr::kXact:
      if (track_commit_timestamp && redo::is_xact_end(record)) return apply_commit_ts_of_end(record);
      return {};
    case pg::Rmgr::kMultixact:
      return apply_multixact(record);
    case pg::Rmgr::kClog:
      if (record.op() == redo::kSlruTruncate) {
        HELIUM_ASSIGN(const auto truncate, redo::parse_slru_truncate(record, pg_version_));
        checkpoint_.oldest_xid = truncate.oldest_xid;
        checkpoint_.oldest_xid_db = truncate.oldest_xid_db;
      }
      return {};
    case pg::Rmgr::kCommitTs:
      if (record.op() == redo::kSlruTruncate) {
        HELIUM_ASSIGN(const auto truncate, redo::parse_slru_truncate(record, pg_version_));
        if (checkpoint_.oldest_commit_ts_xid != 0 &&
            wraps_before(checkpoint_.oldest_commit_ts_xid, truncate.oldest_xid))
          checkpoint_.oldest_commit_ts_xid = truncate.oldest_xid;
      }
      return {};
    case pg::Rmgr::kStandby:
      if (record.op() == redo::kStandbyRunningXacts) {
        HELIUM_ASSIGN(const auto running, redo::parse_running_xacts(record));
        checkpoint_.oldest_active_xid = running.oldest_running_xid;
      }
      return {};
    default:
      return {};
  }
}

Status Counters::apply_xlog(const pg::DecodedRecord& record) {
  switch (record.op()) {
    case redo::kXlogCheckpointShutdown: {
      HELIUM_ASSIGN(checkpoint_, pg::decode_checkpoint(record.main_data, pg_version_));
      return {};
    }
    case redo::kXlogCheckpointOnline: {
      HELIUM_ASSIGN(pg::Checkpoint online, pg::decode_checkpoint(record.main_data, pg_version_));
      const pg::Checkpoint before = checkpoint_;
      // Its own redo pointer, time and modes; counters only rise, and nextOid is NEXTOID's alone.
      checkpoint_ = online;
      checkpoint_.next_oid = before.next_oid;
      checkpoint_.next_full_xid = std::max(before.next_full_xid, online.next_full_xid);
      checkpoint_.next_multi = before.next_multi;
      checkpoint_.next_multi_offset = before.next_multi_offset;
      raise_multixact(online.next_multi, online.next_multi_offset);
      if (!wraps_before(before.oldest_xid, online.oldest_xid)) {
        checkpoint_.oldest_xid = before.oldest_xid;
        checkpoint_.oldest_xid_db = before.oldest_xid_db;
      }
      if (!wraps_before(before.oldest_multi, online.oldest_multi)) {
        checkpoint_.oldest_multi = before.oldest_multi;
        checkpoint_.oldest_multi_db = before.oldest_multi_db;
      }
      if (before.newest_commit_ts_xid != 0 && wraps_before(online.newest_commit_ts_xid, before.newest_commit_ts_xid))
        checkpoint_.newest_commit_ts_xid = before.newest_commit_ts_xid;
      if (before.oldest_commit_ts_xid != 0 && wraps_before(online.oldest_commit_ts_xid, before.oldest_commit_ts_xid))
        checkpoint_.oldest_commit_ts_xid = before.oldest_commit_ts_xid;
      return {};
    }
    case redo::kXlogNextOid: {
      HELIUM_ASSIGN(checkpoint_.next_oid, redo::parse_next_oid(record));
      return {};
    }
    case redo::kXlogFpwChange: {
      HELIUM_ASSIGN(checkpoint_.full_page_writes, redo::parse_fpw_change(record));
      return {};
    }
    default:
      return {};
  }
}

Status Counters::apply_multixact(const pg::DecodedRecord& record) {
  if (record.op() == redo::kMultixactCreateId) {
    HELIUM_ASSIGN(const auto create, redo::parse_multixact_create(record));
    raise_multixact(create.next_mid(), create.next_offset());
  } else if (record.op() == redo::kMultixactTruncateId) {
    HELIUM_ASSIGN(const auto truncate, redo::parse_multixact_truncate(record));
    checkpoint_.oldest_multi = truncate.end_off;
    checkpoint_.oldest_multi_db = truncate.oldest_multi_db;
  }
  return {};
}

Status Counters::apply_commit_ts_of_end(const pg::DecodedRecord& record) {
  HELIUM_ASSIGN(const auto end, redo::parse_xact_end(record, pg_version_));
  if (!end.commit || end.xid == 0) return {};
  const auto raise = [this](uint32_t xid) {
    if (checkpoint_.newest_commit_ts_xid == 0 || wraps_before(checkpoint_.newest_commit_ts_xid, xid))
      checkpoint_.newest_commit_ts_xid = xid;
  };
  raise(end.xid);
  for (const uint32_t subxid : end.subxids) raise(subxid);
  return {};
}

void Counters::raise_multixact(uint32_t next_multi, uint32_t next_offset) {
  if (wraps_before(checkpoint_.next_multi, next_multi)) checkpoint_.next_multi = next_multi;
  if (wraps_before(checkpoint_.next_multi_offset, next_offset)) checkpoint_.next_multi_offset = next_offset;
}

void Counters::start_commit_ts() {
  if (checkpoint_.oldest_commit_ts_xid == 0)
    checkpoint_.oldest_commit_ts_xid = checkpoint_.newest_commit_ts_xid =
        static_cast<uint32_t>(checkpoint_.next_full_xid);
}

void Counters::stop_commit_ts() { checkpoint_.oldest_commit_ts_xid = checkpoint_.newest_commit_ts_xid = 0; }

}  // namespace helium::pageserver
