#include "pageserver/values.h"

#include "base/pg_version.h"

namespace helium::pageserver {
namespace {

constexpr uint8_t kHasZeroRanges = 1;
constexpr uint8_t kIsCopy = 2;
constexpr uint16_t kMetadataVersion = 1;

std::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::kCorrupt, "decode " + std::string(what) + ": malformed value");
}

void put(ByteWriter& out, const IngestState& state, int pg_version) {
  out.lsn(state.last_record_start);
  out.lsn(state.last_record_lsn);
  out.blob(pg::encode_checkpoint(state.checkpoint, pg_version));
  out.u32(static_cast<uint32_t>(state.history.size()));
  for (const TermSwitch& entry : state.history) {
    out.u64(entry.term);
    out.lsn(entry.lsn);
  }
}

Result<IngestState> get_ingest_state(ByteReader& in, int pg_version) {
  IngestState state;
  state.last_record_start = in.lsn();
  state.last_record_lsn = in.lsn();
  const ByteView checkpoint = in.blob();
  const uint32_t entries = in.u32();
  for (uint32_t i = 0; i < entries && !in.failed(); ++i) {
    const uint64_t term = in.u64();
    state.history.push_back({term, in.lsn()});
  }
  if (in.failed()) return malformed("ingest state");
  HELIUM_ASSIGN(state.checkpoint, pg::decode_checkpoint(checkpoint, pg_version));
  return state;
}

}  // namespace

Bytes encode(const RelSizeValue& value) {
  ByteWriter out;
  out.u32(value.nblocks);
  out.u8((value.has_zero_ranges ? kHasZeroRanges : 0) | (value.copied_from ? kIsCopy : 0));
  if (value.copied_from) {
    out.u32(value.copied_from->spcnode);
    out.u32(value.copied_from->dbnode);
    out.lsn(value.copied_from->lsn);
    out.u32(value.copied_from->nblocks);
  }
  return out.take();
}

Bytes encode(DbDirValue value) {
  return value == DbDirValue::kWholeDatabase ? Bytes{} : Bytes{std::byte{1}};
}

bool is_whole_database(ByteView bytes) { return bytes.empty(); }

Result<RelSizeValue> decode_rel_size(ByteView bytes) {
  ByteReader in(bytes);
  RelSizeValue value;
  value.nblocks = in.u32();
  const uint8_t flags = in.u8();
  value.has_zero_ranges = flags & kHasZeroRanges;
  if (flags & kIsCopy) {
    RelSizeValue::CopiedFrom from;
    from.spcnode = in.u32();
    from.dbnode = in.u32();
    from.lsn = in.lsn();
    from.nblocks = in.u32();
    value.copied_from = from;
  }
  if (!in.done() || (flags & ~(kHasZeroRanges | kIsCopy)) != 0) return malformed("relation size");
  return value;
}

Bytes encode(const ZeroRangeValue& value) {
  ByteWriter out;
  out.u32(value.end);
  return out.take();
}

Result<ZeroRangeValue> decode_zero_range(ByteView bytes) {
  ByteReader in(bytes);
  ZeroRangeValue value{in.u32()};
  if (!in.done()) return malformed("zero range");
  return value;
}

Bytes encode(const SlruSizeValue& value) {
  ByteWriter out;
  out.u32(value.npages);
  return out.take();
}

Result<SlruSizeValue> decode_slru_size(ByteView bytes) {
  ByteReader in(bytes);
  SlruSizeValue value{in.u32()};
  if (!in.done()) return malformed("SLRU segment size");
  return value;
}

Bytes encode(const ReplOriginValue& value) {
  ByteWriter out;
  out.lsn(value.remote_lsn);
  out.lsn(value.local_lsn);
  return out.take();
}

Result<ReplOriginValue> decode_repl_origin(ByteView bytes) {
  ByteReader in(bytes);
  ReplOriginValue value;
  value.remote_lsn = in.lsn();
  value.local_lsn = in.lsn();
  if (!in.done()) return malformed("replication origin");
  return value;
}

Bytes encode(const AuxFileValue& value) {
  ByteWriter out;
  out.lsn(value.local_lsn);
  out.text(value.path);
  out.raw(value.content);
  return out.take();
}

Result<AuxFileValue> decode_aux_file(ByteView bytes) {
  ByteReader in(bytes);
  AuxFileValue value;
  value.local_lsn = in.lsn();
  value.path = in.text();
  const ByteView content = in.raw(in.remaining());
  if (in.failed()) return malformed("auxiliary file");
  value.content.assign(content.begin(), content.end());
  return value;
}

Bytes encode(const WalPosition& value) {
  ByteWriter out;
  out.lsn(value.record_start);
  out.u64(value.next_full_xid);
  out.u32(value.next_multi);
  out.u32(value.next_multi_offset);
  out.u64(static_cast<uint64_t>(value.time));
  return out.take();
}

Result<WalPosition> decode_wal_position(ByteView bytes) {
  ByteReader in(bytes);
  WalPosition value;
  value.record_start = in.lsn();
  value.next_full_xid = in.u64();
  value.next_multi = in.u32();
  value.next_multi_offset = in.u32();
  value.time = static_cast<int64_t>(in.u64());
  if (!in.done()) return malformed("WAL position");
  return value;
}

Bytes encode(const TimelineMetadata& value) {
  ByteWriter out;
  out.u16(kMetadataVersion);
  out.u16(static_cast<uint16_t>(value.pg_version));
  out.u64(value.system_identifier);
  out.u8(value.state.has_value());
  if (value.state) put(out, *value.state, value.pg_version);
  return out.take();
}

Result<TimelineMetadata> decode_timeline_metadata(ByteView bytes) {
  ByteReader in(bytes);
  if (const uint16_t version = in.u16(); !in.failed() && version != kMetadataVersion)
    return fail(ErrorCode::kTooNew, "decode timeline metadata: version " + std::to_string(version) + ", we know " +
                                        std::to_string(kMetadataVersion));
  TimelineMetadata value;
  value.pg_version = in.u16();
  value.system_identifier = in.u64();
  const uint8_t has_state = in.u8();
  if (in.failed() || has_state > 1 || !is_supported_pg_version(value.pg_version))
    return malformed("timeline metadata");
  if (has_state) {
    HELIUM_ASSIGN(value.state, get_ingest_state(in, value.pg_version));
  }
  if (!in.done()) return malformed("timeline metadata");
  return value;
}

}  // namespace helium::pageserver
