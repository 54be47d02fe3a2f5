#include "pg/wal_segment.h"

#include <fmt/format.h>

#include "pg/constants.h"
#include "pg/wal_page.h"

namespace helium::pg {

Result<WalSegmentInfo> read_segment_info(ByteView segment) {
  ByteReader reader(segment);
  const uint16_t magic = reader.u16();
  const uint16_t info = reader.u16();
  WalSegmentInfo result;
  result.pg_timeline = reader.u32();
  result.start_lsn = reader.lsn();
  reader.raw(8);  // xlp_rem_len, padding
  result.system_identifier = reader.u64();
  const uint32_t segment_size = reader.u32();
  const uint32_t page_size = reader.u32();
  if (reader.failed()) return fail(ErrorCode::kTruncated, fmt::format("WAL segment: only {} bytes", segment.size()));
  result.pg_version = pg_version_of_wal_magic(magic);
  if (result.pg_version == 0 || (info & kXlpLongHeader) == 0 || wal_segment_offset(result.start_lsn) != 0) {
    return fail(ErrorCode::kCorrupt, "these bytes are not the start of a WAL segment of PostgreSQL 14 to 18");
  }
  if (segment_size != kWalSegmentSize || page_size != kWalPageSize) {
    return fail(ErrorCode::kCorrupt, fmt::format("WAL segment of {} bytes in pages of {}: only {} and {} are supported",
                                                 segment_size, page_size, kWalSegmentSize, kWalPageSize));
  }
  return result;
}

Result<Lsn> find_first_record(ByteView wal, Lsn start) {
  if (wal_page_offset(start) != 0) return fail(ErrorCode::kInvalid, to_string(start) + " is not the start of a WAL page");
  for (Lsn page = start; page - start < wal.size(); page = page + kWalPageSize) {
    const uint32_t header_size = wal_page_header_size(page);
    const ByteView bytes = wal.subspan(page - start);
    if (bytes.size() < header_size) break;
    const auto info = load<uint16_t>(bytes.data() + 2);
    const auto remaining = load<uint32_t>(bytes.data() + 16);
    if (pg_version_of_wal_magic(load<uint16_t>(bytes.data())) == 0 || Lsn(load<uint64_t>(bytes.data() + 8)) != page) {
      return fail(ErrorCode::kCorrupt, "no WAL page header at " + to_string(page));
    }
    const uint64_t skip = (info & kXlpFirstIsContrecord) != 0 ? (uint64_t{remaining} + 7) & ~uint64_t{7} : 0;
    if (header_size + skip < kWalPageSize) return page + (header_size + skip);
  }
  return fail(ErrorCode::kTruncated, "no WAL record begins in the bytes from " + to_string(start));
}

}  // namespace helium::pg
