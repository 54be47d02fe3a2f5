#include "compute/local_wal.h"

#include <fcntl.h>

#include <algorithm>

#include "io/durable_file.h"
#include "pg/constants.h"

namespace helium::compute {

Status LocalWal::open_segment(uint64_t segno) {
  if (segment_ && segno_ == segno) return {};
  segment_.reset();
  HELIUM_ASSIGN(segment_, open_file(folder_ / pg::wal_segment_name(1, segno), O_RDONLY));
  segno_ = segno;
  return {};
}

Status LocalWal::read(Lsn from, MutableByteView bytes) {
  while (!bytes.empty()) {
    HELIUM_TRY(open_segment(pg::wal_segment_number(from)));
    const uint32_t offset = pg::wal_segment_offset(from);
    const size_t take = std::min<size_t>(bytes.size(), pg::kWalSegmentSize - offset);
    HELIUM_TRY(pread_exact(segment_, bytes.first(take), offset));
    bytes = bytes.subspan(take);
    from = from + take;
  }
  return {};
}

}  // namespace helium::compute
