#include "redo/xact_record.h"

#include <fmt/format.h>

#include "base/crc32c.h"
#include "redo/page_edit.h"

namespace helium::redo {

namespace {

constexpr uint8_t kHasInfo = 0x80;  // xl_info: an xinfo field follows the time
// xinfo
constexpr uint32_t kHasDbInfo = 1u << 0;
constexpr uint32_t kHasSubxacts = 1u << 1;
constexpr uint32_t kHasRelfilenodes = 1u << 2;
constexpr uint32_t kHasInvals = 1u << 3;
constexpr uint32_t kHasTwophase = 1u << 4;
constexpr uint32_t kHasOrigin = 1u << 5;
constexpr uint32_t kHasGid = 1u << 7;
constexpr uint32_t kHasDroppedStats = 1u << 8;

constexpr size_t kRelSize = 12;
constexpr size_t kInvalSize = 16;  // SharedInvalidationMessage

bool is_xact(const pg::DecodedRecord& record) { return record.rmgr == static_cast<uint8_t>(pg::Rmgr::kXact); }

// A count from the record, checked against the bytes that are left, so that memory stays bounded by the record.
size_t read_count(ByteReader& reader, size_t item_size, bool& valid) {
  const auto count = static_cast<int32_t>(reader.u32());
  valid = valid && count >= 0 && static_cast<size_t>(count) <= reader.remaining() / item_size;
  return valid ? static_cast<size_t>(count) : 0;
}

std::vector<uint32_t> read_xids(ByteReader& reader, size_t count) {
  std::vector<uint32_t> xids(count);
  for (uint32_t& xid : xids) xid = reader.u32();
  return xids;
}

std::string_view read_c_string(ByteReader& reader, ByteView whole) {
  const ByteView rest = whole.last(reader.remaining());
  size_t size = 0;
  while (size < rest.size() && rest[size] != std::byte{0}) ++size;
  const std::string_view text = as_text(rest.first(size));
  reader.raw(size + 1);  // with its zero; missing: failed
  return text;
}

DroppedStats read_stats(ByteReader& reader, int pg_version) {
  DroppedStats stats;
  stats.kind = reader.u32();
  stats.dbnode = reader.u32();
  stats.objid = reader.u32();
  if (pg_version >= 18) stats.objid |= static_cast<uint64_t>(reader.u32()) << 32;
  return stats;
}

}  // namespace

bool is_xact_end(const pg::DecodedRecord& record) {
  if (!is_xact(record)) return false;
  const uint8_t op = xact_op(record.info);
  return op == kXactCommit || op == kXactAbort || op == kXactCommitPrepared || op == kXactAbortPrepared;
}

std::optional<int64_t> xact_end_time(const pg::DecodedRecord& record) {
  if (!is_xact_end(record) || record.main_data.size() < sizeof(int64_t)) return std::nullopt;
  return load<int64_t>(record.main_data.data());
}

Result<XactEnd> parse_xact_end(const pg::DecodedRecord& record, int pg_version) {
  if (!is_xact_end(record)) return bad("not the end of a transaction");
  XactEnd end;
  const uint8_t op = xact_op(record.info);
  end.commit = op == kXactCommit || op == kXactCommitPrepared;
  end.prepared = op == kXactCommitPrepared || op == kXactAbortPrepared;
  end.xid = record.xid;

  ByteReader reader(record.main_data);
  bool valid = true;
  end.time = static_cast<int64_t>(reader.u64());
  if (record.info & kHasInfo) end.xinfo = reader.u32();
  if (end.xinfo & kHasDbInfo) reader.raw(8);
  if (end.xinfo & kHasSubxacts) {
    const size_t count = read_count(reader, sizeof(uint32_t), valid);
    end.subxids = read_xids(reader, count);
  }
  if (end.xinfo & kHasRelfilenodes) {
    const size_t count = read_count(reader, kRelSize, valid);
    end.dropped_rels.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      pg::RelTag rel;
      rel.spcnode = reader.u32();
      rel.dbnode = reader.u32();
      rel.relnode = reader.u32();
      end.dropped_rels.push_back(rel);
    }
  }
  if (pg_version >= 15 && (end.xinfo & kHasDroppedStats)) {
    const size_t count = read_count(reader, pg_version >= 18 ? 16 : 12, valid);
    end.dropped_stats.reserve(count);
    for (size_t i = 0; i < count; ++i) end.dropped_stats.push_back(read_stats(reader, pg_version));
  }
  if (end.commit && (end.xinfo & kHasInvals)) reader.raw(read_count(reader, kInvalSize, valid) * kInvalSize);
  if (end.xinfo & kHasTwophase) {
    end.xid = reader.u32();
    if (end.xinfo & kHasGid) end.gid = read_c_string(reader, record.main_data);
  } else if (end.prepared) {
    valid = false;
  }
  if (end.xinfo & kHasOrigin) {
    end.origin_id = record.origin_id;
    end.origin_lsn = reader.lsn();
    end.origin_time = static_cast<int64_t>(reader.u64());
    end.has_origin = true;
  }
  if (!valid || reader.failed()) return bad("end of transaction {}: {} bytes do not hold its parts", end.xid, record.main_data.size());
  return end;
}

Result<XactPrepare> parse_xact_prepare(const pg::DecodedRecord& record, int pg_version) {
  if (!is_xact(record) || xact_op(record.info) != kXactPrepare) return bad("not a PREPARE record");
  // xl_xact_prepare: magic, total_len, xid, database u32; prepared_at i64; owner, nsubxacts, … ; gidlen u16.
  const size_t gidlen_at = pg_version >= 15 ? 54 : 46;
  const size_t header_size = pg_version >= 15 ? 72 : 64;
  const ByteView data = record.main_data;
  if (data.size() < header_size) return bad("PREPARE of {} bytes", data.size());
  XactPrepare prepare;
  prepare.xid = load<uint32_t>(data.data() + 8);
  prepare.dbnode = load<uint32_t>(data.data() + 12);
  prepare.prepared_at = load<int64_t>(data.data() + 16);
  prepare.origin_id = record.origin_id;
  prepare.origin_lsn = Lsn(load<uint64_t>(data.data() + header_size - 16));  // origin_lsn, origin_timestamp end it
  prepare.state = data;
  const auto nsubxacts = load<int32_t>(data.data() + 28);
  const size_t gidlen = load<uint16_t>(data.data() + gidlen_at);
  const size_t gid_room = pg::max_align(static_cast<uint32_t>(gidlen));
  const size_t left = data.size() - header_size;
  if (nsubxacts < 0 || gid_room > left || static_cast<size_t>(nsubxacts) > (left - gid_room) / sizeof(uint32_t))
    return bad("PREPARE of transaction {}: {} bytes do not hold {} subtransactions", prepare.xid, data.size(), nsubxacts);
  prepare.gid = as_text(data.subspan(header_size, gidlen));
  prepare.gid = prepare.gid.substr(0, prepare.gid.find('\0'));
  ByteReader reader(data.subspan(header_size + gid_room));
  prepare.subxids = read_xids(reader, static_cast<size_t>(nsubxacts));
  return prepare;
}

Bytes twophase_file(ByteView state) {
  ByteWriter file;
  file.raw(state);
  file.u32(crc32c(state));
  return file.take();
}

std::string twophase_file_name(uint64_t full_xid, int pg_version) {
  if (pg_version >= 17) return fmt::format("{:016X}", full_xid);
  return fmt::format("{:08X}", static_cast<uint32_t>(full_xid));
}

Result<XactAssignment> parse_xact_assignment(const pg::DecodedRecord& record) {
  if (!is_xact(record) || xact_op(record.info) != kXactAssignment) return bad("not an ASSIGNMENT record");
  ByteReader reader(record.main_data);
  XactAssignment assignment;
  bool valid = true;
  assignment.top_xid = reader.u32();
  const size_t count = read_count(reader, sizeof(uint32_t), valid);
  assignment.subxids = read_xids(reader, count);
  if (!valid || reader.failed()) return bad("ASSIGNMENT of {} bytes", record.main_data.size());
  return assignment;
}

}  // namespace helium::redo
