// Two-phase files, the control file, the checkpoint and WAL positions.

#include "pageserver/ingest.h"
#include "redo/side_effects.h"
#include "redo/xact_record.h"

namespace helium::pageserver {

using layer::Key;

Status Ingest::on_xlog(const Context& context) {
  if (context.record.op() != redo::kXlogParameterChange) return {};
  const bool tracked = control_.track_commit_timestamp();
  HELIUM_TRY(control_.apply_parameter_change(context.record.main_data));
  out_.put_data(Key::control_file(), control_.encode());
  if (tracked && !control_.track_commit_timestamp()) return stop_commit_ts();
  if (!tracked && control_.track_commit_timestamp()) return start_commit_ts();
  return {};
}

Status Ingest::on_xact(const Context& context) {
  const pg::DecodedRecord& record = context.record;
  if (redo::xact_op(record.info) == redo::kXactPrepare) {
    HELIUM_ASSIGN(const redo::XactPrepare prepare, redo::parse_xact_prepare(record, pg_version_));
    const uint64_t full_xid = redo::widen_xid(prepare.xid, counters_.checkpoint().next_full_xid);
    out_.put_data(Key::twophase(full_xid), redo::twophase_file(prepare.state));
    return advance_origin(context, prepare.origin_id, prepare.origin_lsn, false);
  }
  if (!redo::is_xact_end(record)) return {};
  HELIUM_ASSIGN(const redo::XactEnd end, redo::parse_xact_end(record, pg_version_));
  if (end.prepared)
    out_.put_tombstone(Key::twophase(redo::widen_xid(end.xid, counters_.checkpoint().next_full_xid)));
  for (const pg::RelTag& rel : end.dropped_rels) HELIUM_TRY(drop_rel(rel));
  if (end.has_origin) return advance_origin(context, end.origin_id, end.origin_lsn, false);
  return {};
}

namespace {

bool is_checkpoint(const pg::DecodedRecord& record) {
  return record.rmgr == static_cast<uint8_t>(pg::Rmgr::kXlog) &&
         (record.op() == redo::kXlogCheckpointShutdown || record.op() == redo::kXlogCheckpointOnline);
}

bool is_prepare(const pg::DecodedRecord& record) {
  return record.rmgr == static_cast<uint8_t>(pg::Rmgr::kXact) && redo::xact_op(record.info) == redo::kXactPrepare;
}

// The checkpoint without what every WAL position says itself.
pg::Checkpoint rest_of(pg::Checkpoint checkpoint) {
  checkpoint.next_full_xid = 0;
  checkpoint.next_multi = 0;
  checkpoint.next_multi_offset = 0;
  return checkpoint;
}

}  // namespace

void Ingest::put_position(const Context& context, bool store_position) {
  const pg::Checkpoint& checkpoint = counters_.checkpoint();
  const bool rest_changed = rest_of(checkpoint) != rest_of(stored_checkpoint_);
  const bool ends = redo::is_xact_end(context.record);
  const bool far = context.view.end_lsn - stored_position_lsn_ >= kPositionDistanceBytes;
  if (rest_changed) {
    out_.put_data(Key::checkpoint(), pg::encode_checkpoint(checkpoint, pg_version_));
    stored_checkpoint_ = checkpoint;
  }
  if (!store_position && !ends && !is_prepare(context.record) && !far && !rest_changed && !is_checkpoint(context.record))
    return;
  const int64_t time = ends ? redo::xact_end_time(context.record).value_or(0) : 0;
  out_.put_data(Key::wal_position(), encode(WalPosition{context.view.start_lsn, checkpoint.next_full_xid,
                                                         checkpoint.next_multi, checkpoint.next_multi_offset, time}));
  stored_position_lsn_ = context.view.end_lsn;
}

}  // namespace helium::pageserver
