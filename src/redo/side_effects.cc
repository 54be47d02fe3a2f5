#include "redo/side_effects.h"

#include "redo/page_edit.h"
#include "redo/slru_layout.h"
#include "redo/xact_record.h"

namespace helium::redo {

using pg::Rmgr;
using pg::SlruKind;

namespace {

Status expect(const pg::DecodedRecord& record, Rmgr rmgr, uint8_t op) {
  if (record.rmgr != static_cast<uint8_t>(rmgr) || record.op() != op)
    return bad("a record of resource manager {}, operation {:#x}", record.rmgr, record.op());
  return {};
}

Status check(const ByteReader& reader, const pg::DecodedRecord& record) {
  if (reader.failed()) return bad("{} record of {} bytes is cut off", pg::rmgr_name(record.rmgr), record.main_data.size());
  return {};
}

pg::RelTag read_rel(ByteReader& reader) {
  pg::RelTag rel;
  rel.spcnode = reader.u32();
  rel.dbnode = reader.u32();
  rel.relnode = reader.u32();
  return rel;
}

uint64_t read_slru_page_number(ByteReader& reader, int pg_version) {
  return pg_version >= 17 ? reader.u64() : reader.u32();
}

bool precedes(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

// Do all entries of page `a` come before those of page `b`, in the order that wraps around at 2^32? `first` is
// added to keep clear of special ids.
bool page_precedes(uint32_t a, uint32_t b, uint32_t per_page, uint32_t first) {
  const uint32_t entry_a = a * per_page + first;
  const uint32_t entry_b = b * per_page + first;
  return precedes(entry_a, entry_b) && precedes(entry_a, entry_b + per_page - 1);
}

}  // namespace

Result<uint32_t> parse_next_oid(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kXlog, kXlogNextOid));
  ByteReader reader(record.main_data);
  const uint32_t oid = reader.u32();
  HELIUM_TRY(check(reader, record));
  return oid;
}

Result<bool> parse_fpw_change(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kXlog, kXlogFpwChange));
  ByteReader reader(record.main_data);
  const bool on = reader.u8() != 0;
  HELIUM_TRY(check(reader, record));
  return on;
}

Result<ParameterChange> parse_parameter_change(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kXlog, kXlogParameterChange));
  ByteReader reader(record.main_data);
  ParameterChange change;
  for (int32_t* field : {&change.max_connections, &change.max_worker_processes, &change.max_wal_senders,
                         &change.max_prepared_xacts, &change.max_locks_per_xact, &change.wal_level})
    *field = static_cast<int32_t>(reader.u32());
  change.wal_log_hints = reader.u8() != 0;
  change.track_commit_timestamp = reader.u8() != 0;
  HELIUM_TRY(check(reader, record));
  return change;
}

Result<pg::RelTag> parse_smgr_create(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kSmgr, kSmgrCreate));
  ByteReader reader(record.main_data);
  pg::RelTag rel = read_rel(reader);
  const uint32_t fork = reader.u32();
  HELIUM_TRY(check(reader, record));
  if (fork >= static_cast<uint32_t>(pg::kForkCount)) return bad("fork {} does not exist", fork);
  rel.forknum = static_cast<pg::Fork>(fork);
  return rel;
}

Result<SmgrTruncate> parse_smgr_truncate(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kSmgr, kSmgrTruncate));
  ByteReader reader(record.main_data);
  SmgrTruncate truncate;
  truncate.nblocks = reader.u32();
  truncate.rel = read_rel(reader);
  const uint32_t flags = reader.u32();
  HELIUM_TRY(check(reader, record));
  truncate.main = flags & 0x1;
  truncate.vm = flags & 0x2;
  truncate.fsm = flags & 0x4;
  return truncate;
}

Result<DbaseRecord> parse_dbase(const pg::DecodedRecord& record, int pg_version) {
  if (record.rmgr != static_cast<uint8_t>(Rmgr::kDbase)) return bad("not a database record");
  const uint8_t drop_op = pg_version >= 15 ? kDbaseDrop : 0x10;
  ByteReader reader(record.main_data);
  DbaseRecord dbase;
  dbase.dbnode = reader.u32();
  if (record.op() == kDbaseCreateFileCopy) {
    dbase.op = DbaseOp::kCreateFileCopy;
    dbase.spcnode = reader.u32();
    dbase.src_dbnode = reader.u32();
    dbase.src_spcnode = reader.u32();
  } else if (record.op() == drop_op) {
    dbase.op = DbaseOp::kDrop;
    const auto count = static_cast<int32_t>(reader.u32());
    if (count < 0 || static_cast<size_t>(count) > reader.remaining() / 4) return bad("{} tablespaces", count);
    for (int32_t i = 0; i < count; ++i) dbase.drop_spcnodes.push_back(reader.u32());
  } else if (pg_version >= 15 && record.op() == kDbaseCreateWalLog) {
    dbase.op = DbaseOp::kCreateWalLog;
    dbase.spcnode = reader.u32();
  } else {
    return bad("database operation {:#x} does not exist", record.op());
  }
  HELIUM_TRY(check(reader, record));
  return dbase;
}

Result<TblspcRecord> parse_tblspc(const pg::DecodedRecord& record) {
  if (record.rmgr != static_cast<uint8_t>(Rmgr::kTblspc) || record.op() > kTblspcDrop) return bad("not a tablespace record");
  ByteReader reader(record.main_data);
  TblspcRecord tblspc;
  tblspc.create = record.op() == kTblspcCreate;
  tblspc.spcnode = reader.u32();
  const std::string_view path = as_text(reader.raw(reader.remaining()));
  if (tblspc.create) tblspc.path = path.substr(0, path.find('\0'));
  HELIUM_TRY(check(reader, record));
  return tblspc;
}

Result<RelmapUpdate> parse_relmap_update(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kRelmap, kRelmapUpdate));
  ByteReader reader(record.main_data);
  RelmapUpdate update;
  update.dbnode = reader.u32();
  update.spcnode = reader.u32();
  update.map = reader.blob();
  HELIUM_TRY(check(reader, record));
  return update;
}

Result<uint64_t> parse_slru_zero_page(const pg::DecodedRecord& record, int pg_version) {
  const auto rmgr = static_cast<Rmgr>(record.rmgr);
  const bool zeroes = ((rmgr == Rmgr::kClog || rmgr == Rmgr::kCommitTs) && record.op() == kSlruZeroPage) ||
                      (rmgr == Rmgr::kMultixact && record.op() <= kMultixactZeroMemPage);
  if (!zeroes) return bad("not a record that zeroes an SLRU page");
  ByteReader reader(record.main_data);
  const uint64_t page = read_slru_page_number(reader, pg_version);
  HELIUM_TRY(check(reader, record));
  if (page > UINT32_MAX) return bad("SLRU page {} does not exist", page);
  return page;
}

Result<SlruTruncate> parse_slru_truncate(const pg::DecodedRecord& record, int pg_version) {
  const bool clog = record.rmgr == static_cast<uint8_t>(Rmgr::kClog);
  if (!clog && record.rmgr != static_cast<uint8_t>(Rmgr::kCommitTs)) return bad("not an SLRU record");
  if (record.op() != kSlruTruncate) return bad("not a TRUNCATE record");
  ByteReader reader(record.main_data);
  SlruTruncate truncate;
  truncate.cutoff_page = read_slru_page_number(reader, pg_version);
  truncate.oldest_xid = reader.u32();
  if (clog) truncate.oldest_xid_db = reader.u32();
  HELIUM_TRY(check(reader, record));
  return truncate;
}

bool slru_segment_is_before(pg::SlruSegment segment, uint64_t cutoff_page, int pg_version) {
  (void)pg_version;  // 17 widened page numbers, but their order still wraps around with the 32-bit ids behind them
  const auto cutoff = static_cast<uint32_t>(cutoff_page);
  const uint32_t first = segment.segno * pg::kSlruSegPages;
  const uint32_t last = first + pg::kSlruSegPages - 1;
  const auto both_before = [&](uint32_t per_page, uint32_t special) {
    return page_precedes(first, cutoff, per_page, special) && page_precedes(last, cutoff, per_page, special);
  };
  switch (segment.kind) {
    case SlruKind::kClog: return both_before(kClogXidsPerPage, 4);
    case SlruKind::kCommitTs: return both_before(kCommitTsPerPage, 4);
    case SlruKind::kMultixactOffsets: return both_before(kOffsetsPerPage, 2);
    case SlruKind::kMultixactMembers: return both_before(kMembersPerPage, 0);
  }
  return false;
}

uint32_t MultixactCreate::next_mid() const { return mid == UINT32_MAX ? 1 : mid + 1; }

uint32_t MultixactCreate::next_offset() const {
  const uint32_t next = offset + static_cast<uint32_t>(members.size());
  return next == 0 ? 1 : next;
}

Result<MultixactCreate> parse_multixact_create(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kMultixact, kMultixactCreateId));
  ByteReader reader(record.main_data);
  MultixactCreate create;
  create.mid = reader.u32();
  create.offset = reader.u32();
  const auto count = static_cast<int32_t>(reader.u32());
  if (count < 0 || static_cast<size_t>(count) > reader.remaining() / 8) return bad("{} members", count);
  create.members.resize(static_cast<size_t>(count));
  for (MultixactMember& member : create.members) {
    member.xid = reader.u32();
    member.status = reader.u32();
  }
  HELIUM_TRY(check(reader, record));
  return create;
}

Result<MultixactTruncate> parse_multixact_truncate(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kMultixact, kMultixactTruncateId));
  ByteReader reader(record.main_data);
  MultixactTruncate truncate;
  truncate.oldest_multi_db = reader.u32();
  truncate.start_off = reader.u32();
  truncate.end_off = reader.u32();
  truncate.start_memb = reader.u32();
  truncate.end_memb = reader.u32();
  HELIUM_TRY(check(reader, record));
  return truncate;
}

bool multixact_segment_goes(const MultixactTruncate& truncate, pg::SlruSegment segment) {
  if (segment.kind == SlruKind::kMultixactOffsets) {
    const uint32_t last_gone = truncate.end_off == 1 ? UINT32_MAX : truncate.end_off - 1;
    return slru_segment_is_before(segment, last_gone / kOffsetsPerPage, 15);
  }
  if (segment.kind != SlruKind::kMultixactMembers) return false;
  const uint32_t start = truncate.start_memb / kMembersPerPage / pg::kSlruSegPages;
  const uint32_t end = truncate.end_memb / kMembersPerPage / pg::kSlruSegPages;
  if (start <= end) return start <= segment.segno && segment.segno < end;
  return start <= segment.segno || segment.segno < end;
}

Result<RunningXacts> parse_running_xacts(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kStandby, kStandbyRunningXacts));
  ByteReader reader(record.main_data);
  RunningXacts running;
  const auto xcnt = static_cast<int32_t>(reader.u32());
  const auto subxcnt = static_cast<int32_t>(reader.u32());
  running.subxid_overflow = (reader.u32() & 0xFF) != 0;  // a bool and padding; from 18 on an enum, 0 = all are there
  running.next_xid = reader.u32();
  running.oldest_running_xid = reader.u32();
  running.latest_completed_xid = reader.u32();
  const size_t room = reader.remaining() / 4;
  if (xcnt < 0 || subxcnt < 0 || static_cast<size_t>(xcnt) > room || static_cast<size_t>(subxcnt) > room - static_cast<size_t>(xcnt))
    return bad("{} and {} running transactions", xcnt, subxcnt);
  running.xids.resize(static_cast<size_t>(xcnt) + static_cast<size_t>(subxcnt));
  for (uint32_t& xid : running.xids) xid = reader.u32();
  HELIUM_TRY(check(reader, record));
  return running;
}

Result<ReplOriginRecord> parse_repl_origin(const pg::DecodedRecord& record) {
  if (record.rmgr != static_cast<uint8_t>(Rmgr::kReplOrigin) || record.op() > kReplOriginDrop) return bad("not an origin record");
  ByteReader reader(record.main_data);
  ReplOriginRecord origin;
  origin.set = record.op() == kReplOriginSet;
  if (origin.set) origin.remote_lsn = reader.lsn();
  origin.origin_id = reader.u16();
  if (origin.set) origin.backward = reader.u8() != 0;
  HELIUM_TRY(check(reader, record));
  return origin;
}

Result<LogicalMessage> parse_logical_message(const pg::DecodedRecord& record) {
  HELIUM_TRY(expect(record, Rmgr::kLogicalMsg, kLogicalMessage));
  ByteReader reader(record.main_data);
  LogicalMessage message;
  message.dbnode = reader.u32();
  message.transactional = (reader.u32() & 0xFF) != 0;  // a bool and padding
  const uint64_t prefix_size = reader.u64();
  const uint64_t payload_size = reader.u64();
  message.prefix = as_text(reader.raw(prefix_size));
  message.prefix = message.prefix.substr(0, message.prefix.find('\0'));
  message.payload = reader.raw(payload_size);
  HELIUM_TRY(check(reader, record));
  return message;
}

void for_each_assigned_xid(const pg::DecodedRecord& record, int pg_version,
                           const std::function<void(uint32_t xid)>& callback) {
  constexpr uint32_t kFirstNormalXid = 3;
  const auto name = [&](uint32_t xid) {
    if (xid >= kFirstNormalXid) callback(xid);
  };
  name(record.xid);
  if (record.toplevel_xid) name(*record.toplevel_xid);
  switch (static_cast<Rmgr>(record.rmgr)) {
    case Rmgr::kXact:
      if (const auto end = parse_xact_end(record, pg_version)) {
        name(end->xid);
        for (const uint32_t xid : end->subxids) name(xid);
      } else if (const auto prepare = parse_xact_prepare(record, pg_version)) {
        name(prepare->xid);
        for (const uint32_t xid : prepare->subxids) name(xid);
      } else if (const auto assignment = parse_xact_assignment(record)) {
        name(assignment->top_xid);
        for (const uint32_t xid : assignment->subxids) name(xid);
      }
      break;
    case Rmgr::kMultixact:
      if (const auto create = parse_multixact_create(record))
        for (const MultixactMember& member : create->members) name(member.xid);
      break;
    case Rmgr::kStandby:
      if (const auto running = parse_running_xacts(record)) {
        for (const uint32_t xid : running->xids) name(xid);
        name(running->latest_completed_xid);
        if (running->next_xid > kFirstNormalXid) name(running->next_xid - 1);
      }
      break;
    default: break;
  }
}

uint64_t widen_xid(uint32_t xid, uint64_t next_full_xid) {
  const auto distance = static_cast<int32_t>(xid - static_cast<uint32_t>(next_full_xid));
  const uint64_t full = next_full_xid + static_cast<uint64_t>(static_cast<int64_t>(distance));
  // Before the first epoch there is nothing: an xid "behind" the start is ahead of it.
  if (distance < 0 && full > next_full_xid) return full + (uint64_t{1} << 32);
  return full;
}

uint64_t advance_next_xid(uint64_t next_full_xid, uint32_t xid) {
  constexpr uint32_t kFirstNormalXid = 3;
  if (xid < kFirstNormalXid) return next_full_xid;
  if (static_cast<int32_t>(xid - static_cast<uint32_t>(next_full_xid)) < 0) return next_full_xid;
  uint64_t next = widen_xid(xid, next_full_xid) + 1;
  if (static_cast<uint32_t>(next) < kFirstNormalXid) next += kFirstNormalXid - static_cast<uint32_t>(next);
  return next;
}

}  // namespace helium::redo
