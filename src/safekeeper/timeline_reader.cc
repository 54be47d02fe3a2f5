#include "safekeeper/timeline_reader.h"

#include <algorithm>

#include "pg/constants.h"

namespace helium::safekeeper {
namespace {

constexpr uint64_t kWindow = 1024 * 1024;  // requests to the store are of this size

}  // namespace

TimelineReader::TimelineReader(Timeline& timeline)
    : timeline_(timeline),
      local_(timeline.environment().disk, timeline.folder()),
      epoch_(timeline.files_epoch()) {}

void TimelineReader::rest() {
  local_.close();
  window_ = Bytes();
}

Status TimelineReader::read(Lsn start, MutableByteView bytes) {
  // Files that left and came back are other files: the old ones end where the timeline fell asleep.
  if (const uint64_t now = timeline_.files_epoch(); now != epoch_) {
    local_.close();
    epoch_ = now;
  }
  while (!bytes.empty()) {
    const uint64_t left = pg::kWalSegmentSize - pg::wal_segment_offset(start);
    const MutableByteView part = bytes.first(std::min<uint64_t>(bytes.size(), left));
    HELIUM_TRY(read_in_segment(start, part));
    start = start + part.size();
    bytes = bytes.subspan(part.size());
  }
  return {};
}

Status TimelineReader::read_in_segment(Lsn start, MutableByteView bytes) {
  Status got = local_.read(start, bytes);
  if (got || got.error().code != ErrorCode::kLsnTooOld) return got;
  const Lsn segment_end = pg::wal_segment_start(pg::wal_segment_number(start) + 1);
  if (segment_end <= timeline_.retention().backup_lsn) return read_from_store(start, bytes);
  // It sleeps, or it left between our look at the disk and the one at backup_lsn.
  HELIUM_TRY(timeline_.wake());
  got = local_.read(start, bytes);
  if (got || got.error().code != ErrorCode::kLsnTooOld) return got;
  if (segment_end <= timeline_.retention().backup_lsn) return read_from_store(start, bytes);
  return got;
}

Status TimelineReader::read_from_store(Lsn start, MutableByteView bytes) {
  const WalArchive* archive = timeline_.archive();
  if (archive == nullptr) {
    return fail(ErrorCode::kLsnTooOld, "this WAL is in the object store, and the safekeeper runs without --object-store");
  }
  while (!bytes.empty()) {
    if (start < window_start_ || start >= window_start_ + window_.size()) {
      const uint64_t segment_left = pg::kWalSegmentSize - pg::wal_segment_offset(start);
      window_.clear();  // nothing is there if the read fails
      Bytes piece(std::min(kWindow, segment_left));
      HELIUM_TRY(archive->read(start, piece));
      window_ = std::move(piece);
      window_start_ = start;
    }
    const uint64_t offset = start - window_start_;
    const size_t size = std::min<uint64_t>(bytes.size(), window_.size() - offset);
    std::copy_n(window_.begin() + static_cast<ptrdiff_t>(offset), size, bytes.begin());
    start = start + size;
    bytes = bytes.subspan(size);
  }
  return {};
}

}  // namespace helium::safekeeper
