#include "pg/wal_build.h"

#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"
#include "pg/constants.h"
#include "pg/wal_page.h"

namespace helium::pg {
namespace {

constexpr uint32_t kPgTimeline = 1;  // Helium's computes never promote: PostgreSQL's own timeline stays 1
constexpr uint8_t kCheckpointShutdown = 0x00;
constexpr uint8_t kIdDataLong = 254;   // XLR_BLOCK_ID_DATA_LONG
constexpr uint8_t kIdDataShort = 255;  // XLR_BLOCK_ID_DATA_SHORT

struct Magic {
  int pg_version;
  uint16_t magic;
};
constexpr Magic kMagics[] = {{14, 0xD10D}, {15, 0xD110}, {16, 0xD113}, {17, 0xD116}, {18, 0xD118}};

}  // namespace

int pg_version_of_wal_magic(uint16_t magic) {
  for (const Magic& known : kMagics)
    if (known.magic == magic) return known.pg_version;
  return 0;
}

uint16_t wal_page_magic(int pg_version) {
  const auto* known = std::ranges::find(kMagics, pg_version, &Magic::pg_version);
  CHECK(known != std::end(kMagics));
  return known->magic;
}

Bytes encode_wal_page_header(const WalPageHeader& header) {
  const bool at_segment_start = wal_segment_offset(header.page_lsn) == 0;
  CHECK(wal_page_offset(header.page_lsn) == 0);
  ByteWriter out;
  out.u16(wal_page_magic(header.pg_version));
  out.u16((header.remaining_len > 0 ? kXlpFirstIsContrecord : 0) | (at_segment_start ? kXlpLongHeader : 0));
  out.u32(kPgTimeline);
  out.lsn(header.page_lsn);
  out.u32(header.remaining_len);
  out.zeros(4);
  if (at_segment_start) {
    out.u64(header.system_identifier);
    out.u32(kWalSegmentSize);
    out.u32(kWalPageSize);
  }
  CHECK(out.size() == wal_page_header_size(header.page_lsn));
  return out.take();
}

Bytes build_record(uint8_t rmgr, uint8_t info, uint32_t xid, Lsn prev, ByteView main_data) {
  ByteWriter out;
  out.u32(0);  // xl_tot_len, below
  out.u32(xid);
  out.lsn(prev);
  out.u8(info);
  out.u8(rmgr);
  out.u16(0);
  out.u32(0);  // xl_crc, below
  if (main_data.size() > UINT8_MAX) {
    out.u8(kIdDataLong);
    out.u32(static_cast<uint32_t>(main_data.size()));
  } else if (!main_data.empty()) {
    out.u8(kIdDataShort);
    out.u8(static_cast<uint8_t>(main_data.size()));
  }
  out.raw(main_data);
  out.patch_u32(0, static_cast<uint32_t>(out.size()));
  // The checksum covers what follows the header, then the header up to the checksum itself.
  constexpr size_t kCrcAt = kWalRecordHeader - sizeof(uint32_t);
  const ByteView record = out.view();
  out.patch_u32(kCrcAt, Crc32c().add(record.subspan(kWalRecordHeader)).add(record.first(kCrcAt)).value());
  return out.take();
}

Bytes lay_out_record(Lsn at, ByteView record, uint64_t system_identifier, int pg_version, Lsn* end) {
  CHECK(at.bytes() % 8 == 0);
  ByteWriter out;
  const auto position = [&] { return at + out.size(); };
  size_t done = 0;
  while (done < record.size()) {
    if (wal_page_offset(position()) == 0) {
      const uint32_t remaining = done == 0 ? 0 : static_cast<uint32_t>(record.size() - done);
      out.raw(encode_wal_page_header({position(), system_identifier, remaining, pg_version}));
    }
    const size_t room = kWalPageSize - wal_page_offset(position());
    const size_t part = std::min(room, record.size() - done);
    out.raw(record.subspan(done, part));
    done += part;
  }
  out.zeros((8 - position().bytes() % 8) % 8);
  *end = position();
  return out.take();
}

SyntheticCheckpoint build_shutdown_checkpoint(Lsn x, Lsn prev_record_start, Checkpoint checkpoint,
                                              uint64_t system_identifier, int pg_version) {
  SyntheticCheckpoint result;
  result.record_start = wal_record_start_after(x);
  checkpoint.redo = result.record_start;  // of a shutdown checkpoint: nothing to replay
  checkpoint.this_tli = kPgTimeline;
  checkpoint.prev_tli = kPgTimeline;
  checkpoint.oldest_active_xid = 0;  // only online checkpoints carry one
  result.checkpoint = checkpoint;
  const Bytes record = build_record(static_cast<uint8_t>(Rmgr::kXlog), kCheckpointShutdown, 0, prev_record_start,
                                    encode_checkpoint(checkpoint, pg_version));
  result.wal = lay_out_record(x, record, system_identifier, pg_version, &result.end_lsn);
  return result;
}

std::vector<WalPiece> build_sparse_pieces(Lsn x, ByteView wal, uint64_t system_identifier, int pg_version) {
  std::vector<WalPiece> pieces;
  const Lsn segment_start = wal_segment_start(wal_segment_number(x));
  // Readers that start at x's page skip to x, as if a record from an earlier page ended there.
  const Lsn page_start(x.bytes() - wal_page_offset(x));
  if (segment_start != page_start) {
    pieces.push_back({segment_start, encode_wal_page_header({segment_start, system_identifier, 0, pg_version})});
  }
  // At a segment's start `wal` brings the header itself; without any, a reader still wants to know whose segment it is.
  if (page_start != x || (page_start == segment_start && wal.empty())) {
    const uint32_t header_size = wal_page_header_size(page_start);
    const uint32_t in_page = wal_page_offset(x);
    CHECK(in_page == 0 || in_page >= header_size);
    const uint32_t remaining = in_page == 0 ? 0 : in_page - header_size;
    pieces.push_back({page_start, encode_wal_page_header({page_start, system_identifier, remaining, pg_version})});
  }
  // `wal`, cut where segments meet.
  for (Lsn at = x; !wal.empty();) {
    const size_t part = std::min<size_t>(kWalSegmentSize - wal_segment_offset(at), wal.size());
    pieces.push_back({at, Bytes(wal.begin(), wal.begin() + static_cast<ptrdiff_t>(part))});
    wal = wal.subspan(part);
    at = at + part;
  }
  return pieces;
}

std::vector<Bytes> build_sparse_segments(Lsn x, ByteView wal, uint64_t system_identifier, int pg_version) {
  std::vector<Bytes> segments;
  const uint64_t first = wal_segment_number(x);
  for (const WalPiece& piece : build_sparse_pieces(x, wal, system_identifier, pg_version)) {
    const uint64_t index = wal_segment_number(piece.at) - first;
    while (segments.size() <= index) segments.emplace_back(kWalSegmentSize);
    std::ranges::copy(piece.bytes, segments[index].begin() + wal_segment_offset(piece.at));
  }
  return segments;
}

}  // namespace helium::pg
