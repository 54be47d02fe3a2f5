#include "safekeeper/wal_storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "pg/constants.h"
#include "pg/wal_build.h"
#include "safekeeper/wal_check.h"

namespace helium::safekeeper {
namespace {

constexpr uint32_t kPgTimeline = 1;
constexpr size_t kChunk = 1024 * 1024;

const Bytes& zero_chunk() {
  static const Bytes zeros(kChunk);
  return zeros;
}

// The end of the last byte in [from, end) of the file that is not zero; `from` if all are.
Result<uint64_t> last_nonzero(const OpenFile& file, uint64_t from, uint64_t end) {
  Bytes chunk(kChunk);
  for (uint64_t hi = end; hi > from;) {
    const uint64_t lo = std::max<uint64_t>(from, hi > kChunk ? hi - kChunk : 0);
    const MutableByteView part(chunk.data(), hi - lo);
    HELIUM_TRY(file.read_at(lo, part));
    if (std::memcmp(part.data(), zero_chunk().data(), part.size()) != 0) {
      size_t i = part.size();
      while (part[i - 1] == std::byte{0}) --i;
      return lo + i;
    }
    hi = lo;
  }
  return from;
}

}  // namespace

std::filesystem::path segment_path(const std::filesystem::path& folder, uint64_t segno) {
  return folder / pg::wal_segment_name(kPgTimeline, segno);
}

Status WalStorage::create(Disk& disk, const std::filesystem::path& folder, Lsn start, uint64_t system_id,
                          int pg_version) {
  const std::vector<pg::WalPiece> headers = pg::build_sparse_pieces(start, {}, system_id, pg_version);
  std::vector<Disk::Piece> pieces;
  for (const pg::WalPiece& header : headers) pieces.push_back({pg::wal_segment_offset(header.at), header.bytes});
  return create_segment(disk, folder, pg::wal_segment_number(start), pieces);
}

// Whole, synced, then under its name.
Status WalStorage::create_segment(Disk& disk, const std::filesystem::path& folder, uint64_t segno,
                                  std::span<const Disk::Piece> pieces) {
  const std::filesystem::path path = segment_path(folder, segno);
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  if (Status filled = disk.create_filled(temporary, pieces, pg::kWalSegmentSize); !filled) {
    return fail(std::move(filled).error().context(fmt::format("create WAL segment '{}'", path.string())));
  }
  HELIUM_TRY(disk.rename(temporary, path));
  return disk.sync_folder(folder);
}

Result<std::unique_ptr<WalStorage>> WalStorage::open(std::shared_ptr<Disk> disk, const std::filesystem::path& folder,
                                                     const Recovery& recovery) {
  std::unique_ptr<WalStorage> storage(new WalStorage(std::move(disk), folder, recovery.verify_lsn, recovery.pg_version));
  if (recovery.is_exact) {
    storage->decoder_ = pg::WalStreamDecoder(recovery.flushed_lsn, recovery.pg_version);
    storage->end_of_bytes_ = recovery.flushed_lsn;
    storage->verify_lsn_ = recovery.verify_lsn;
  } else {
    HELIUM_TRY(storage->recover(recovery));
  }
  HELIUM_TRY(storage->sync_recovered(recovery.flushed_lsn));
  return storage;
}

Status WalStorage::recover(const Recovery& recovery) {
  verify_lsn_ = recovery.verify_lsn;
  Bytes chunk(kChunk);
  std::string stopped_by = "the file ends";
  for (bool more = true; more;) {
    const Lsn at = decoder_.fed_lsn();
    const auto file = disk_->open_file(segment_path(folder_, pg::wal_segment_number(at)), Disk::Access::kRead);
    if (!file) {
      if (file.error().code != ErrorCode::kNotFound) return fail(file.error());
      if (at == recovery.verify_lsn && pg::wal_segment_offset(at) != 0) {
        return fail(ErrorCode::kCorrupt, fmt::format("damaged WAL in '{}': {} is missing", folder_.string(),
                                                     wal_place_name(at)));
      }
      break;
    }
    const uint32_t offset = pg::wal_segment_offset(at);
    const MutableByteView part(chunk.data(), std::min<uint64_t>(kChunk, pg::kWalSegmentSize - offset));
    if (Status got = (*file)->read_at(offset, part); !got) {
      return fail(ErrorCode::kCorrupt, fmt::format("damaged WAL in '{}': {}: {}", folder_.string(), wal_place_name(at),
                                                   got.error().message));
    }
    decoder_.feed(part);
    while (true) {
      const auto record = decoder_.next();
      if (!record) {
        stopped_by = record.error().message;
        more = false;
        break;
      }
      if (!*record) break;
      const Lsn end = (*record)->end_lsn;
      if (pg::wal_segment_number(end) > pg::wal_segment_number(verify_lsn())) verify_lsn_ = end;
    }
  }
  decoder_.rewind();
  end_of_bytes_ = decoder_.record_end_lsn();
  if (end_of_bytes_ < recovery.flushed_lsn && !planted(Bug::kDamageIsATear)) {
    return fail(ErrorCode::kCorrupt, fmt::format("damaged WAL in '{}': {}: no valid record at {}, though WAL was synced "
                                                 "up to {} ({})",
                                                 folder_.string(), wal_place_name(end_of_bytes_), to_string(end_of_bytes_),
                                                 to_string(recovery.flushed_lsn), stopped_by));
  }
  return check_no_wal_behind(end_of_bytes_);
}

// A process that was killed may have left WAL in the page cache only, and names too: what recovery has found is said to
// be flushed from now on.
Status WalStorage::sync_recovered(Lsn flushed_lsn) {
  if (planted(Bug::kRecoveryNotSynced)) return {};
  if (end_of_bytes_ > flushed_lsn) {
    const uint64_t last = pg::wal_segment_number(Lsn(end_of_bytes_.bytes() - 1));
    for (uint64_t segno = pg::wal_segment_number(flushed_lsn); segno <= last; ++segno) {
      HELIUM_ASSIGN(const auto segment, disk_->open_file(segment_path(folder_, segno), Disk::Access::kReadWrite));
      segment->sync();
    }
  }
  return disk_->sync_folder(folder_);
}

Status WalStorage::check_no_wal_behind(Lsn record_end) const {
  WalReader reader(disk_, folder_);
  const auto behind = find_wal_behind(record_end, [&](Lsn at, MutableByteView bytes) { return reader.read(at, bytes); });
  if (!behind) return {};
  return fail(ErrorCode::kCorrupt, fmt::format("damaged WAL in '{}': {}: no valid record at {}, though there is WAL at {}",
                                               folder_.string(), wal_place_name(record_end), to_string(record_end),
                                               to_string(*behind)));
}

Status WalStorage::open_segment(uint64_t segno) {
  if (segment_number_ == segno) return {};
  if (segment_number_) sync();  // what was written to the one before
  segment_number_.reset();
  const std::filesystem::path path = segment_path(folder_, segno);
  auto file = disk_->open_file(path, Disk::Access::kReadWrite);
  if (!file && file.error().code == ErrorCode::kNotFound) {
    const std::lock_guard lock(create_mutex_);
    if (!disk_->exists(path)) HELIUM_TRY(create_segment(*disk_, folder_, segno, {}));
    file = disk_->open_file(path, Disk::Access::kReadWrite);
  }
  if (!file) return fail(std::move(file).error());
  segment_ = std::move(*file);
  segment_number_ = segno;
  return {};
}

Status WalStorage::write(ByteView bytes) {
  while (!bytes.empty()) {
    if (Status opened = open_segment(pg::wal_segment_number(end_of_bytes_)); !opened) {
      drop_tail();
      return opened;
    }
    const uint32_t offset = pg::wal_segment_offset(end_of_bytes_);
    const ByteView part = bytes.first(std::min<uint64_t>(bytes.size(), pg::kWalSegmentSize - offset));
    if (Status written = segment_->write_at(offset, part); !written) {
      const std::string place = wal_place_name(end_of_bytes_);
      if (dirty_end_) dirty_end_ = std::max(*dirty_end_, end_of_bytes_ + part.size());  // some of it may be there
      drop_tail();
      return fail(std::move(written).error().context(fmt::format("write WAL at {}", place)));
    }
    written_ += part.size();
    end_of_bytes_ = end_of_bytes_ + part.size();
    if (dirty_end_) dirty_end_ = std::max(*dirty_end_, end_of_bytes_);
    HELIUM_TRY(parse(part));
    bytes = bytes.subspan(part.size());
  }
  return {};
}

Status WalStorage::parse(ByteView bytes) {
  decoder_.feed(bytes);
  while (true) {
    const auto record = decoder_.next();
    if (!record) {
      drop_tail();
      return fail(ErrorCode::kCorrupt, fmt::format("what the proposer sent is no WAL: {}", record.error().message));
    }
    if (!*record) return {};
    const Lsn end = (*record)->end_lsn;
    if (pg::wal_segment_number(end) > pg::wal_segment_number(verify_lsn())) verify_lsn_ = end;
  }
}

void WalStorage::sync() {
  const PendingSync pending = begin_sync();
  run_sync(pending);
  finish_sync(pending);
}

WalStorage::PendingSync WalStorage::begin_sync() const {
  return {.segment = unsynced_bytes() > 0 ? segment_ : nullptr,
          .record_end = record_end(),
          .written = written_,
          .truncations = truncations_};
}

void WalStorage::run_sync(const PendingSync& pending) {
  if (!pending.segment || planted(Bug::kAckBeforeFsync)) return;
  const std::lock_guard lock(sync_mutex_);
  pending.segment->sync();
}

std::optional<Lsn> WalStorage::finish_sync(const PendingSync& pending) {
  synced_ = std::max(synced_, pending.written);
  if (pending.truncations != truncations_) return std::nullopt;
  return pending.record_end;
}

void WalStorage::drop_tail() {
  decoder_.rewind();
  end_of_bytes_ = decoder_.record_end_lsn();
}

Status WalStorage::truncate(Lsn to) {
  CHECK(to <= record_end());
  sync();
  ++truncations_;
  const std::optional<Lsn> dirty_end = dirty_end_;
  if (to < record_end()) {
    decoder_ = pg::WalStreamDecoder(to, pg_version_);
    verify_lsn_ = std::min(verify_lsn(), to);
  }
  drop_tail();
  dirty_end_.reset();  // if this fails, nobody knows what is left: the next attempt looks
  HELIUM_TRY(remove_segments_behind(pg::wal_segment_number(to)));
  HELIUM_TRY(zero_behind(to, dirty_end));
  dirty_end_ = to;
  return {};
}

Status WalStorage::erase_tail() {
  if (dirty_end_ == record_end()) return {};
  return truncate(record_end());
}

// Their names vanish durably before anything can be appended again. All that there are: an earlier attempt may have left
// a hole.
Status WalStorage::remove_segments_behind(uint64_t segno) {
  const std::lock_guard lock(create_mutex_);
  const std::string last = pg::wal_segment_name(kPgTimeline, segno);
  HELIUM_ASSIGN(const auto files, disk_->list_folder(folder_));
  bool removed = false;
  for (const Disk::Entry& file : files) {
    if (file.name.size() != last.size() || file.name <= last) continue;
    HELIUM_TRY(disk_->remove_file(folder_ / file.name));
    removed = true;
  }
  if (removed) HELIUM_TRY(disk_->sync_folder(folder_));
  prepared_segment_ = 0;
  wanted_segment_ = 0;
  return {};
}

// From the end downwards and synced often: whenever the power goes, what is left is old WAL, a torn piece that is shorter
// than recovery takes for damage, and zeros.
Status WalStorage::zero_behind(Lsn to, std::optional<Lsn> dirty_end) {
  const uint64_t segno = pg::wal_segment_number(to);
  if (!disk_->exists(segment_path(folder_, segno))) return {};
  HELIUM_TRY(open_segment(segno));
  const uint64_t from = pg::wal_segment_offset(to);
  uint64_t end = pg::kWalSegmentSize;
  if (dirty_end && *dirty_end < pg::wal_segment_start(segno + 1)) {
    end = std::max<uint64_t>(from, *dirty_end < to ? 0 : pg::wal_segment_offset(*dirty_end));
  } else {
    HELIUM_ASSIGN(end, last_nonzero(*segment_, from, pg::kWalSegmentSize));
  }
  if (planted(Bug::kNoTruncation)) return {};
  if (!dirty_end) {
    const std::lock_guard lock(sync_mutex_);
    segment_->sync();  // zeros that a killed process wrote may not be on the disk yet
  }
  while (from < end) {
    const uint64_t part = std::min<uint64_t>(kChunk, end - from);
    end -= part;
    HELIUM_TRY(segment_->write_at(end, ByteView(zero_chunk()).first(part)));
    const std::lock_guard lock(sync_mutex_);
    segment_->sync();
  }
  return {};
}

bool WalStorage::wants_next_segment() {
  if (pg::wal_segment_offset(end_of_bytes_) < pg::kWalSegmentSize / 2) return false;
  const uint64_t next = pg::wal_segment_number(end_of_bytes_) + 1;
  return wanted_segment_.exchange(next) != next;
}

Status WalStorage::prepare_next_segment() {
  const uint64_t next = wanted_segment_;
  if (next == 0 || prepared_segment_ == next) return {};
  const std::lock_guard lock(create_mutex_);
  if (wanted_segment_ != next) return {};
  if (!disk_->exists(segment_path(folder_, next))) HELIUM_TRY(create_segment(*disk_, folder_, next, {}));
  prepared_segment_ = next;
  return {};
}

void WalReader::close() {
  segment_.reset();
  segment_number_.reset();
}

Status WalReader::read(Lsn start, MutableByteView bytes) {
  while (!bytes.empty()) {
    const uint64_t segno = pg::wal_segment_number(start);
    if (segment_number_ != segno) {
      segment_number_.reset();
      auto file = disk_->open_file(segment_path(folder_, segno), Disk::Access::kRead);
      if (!file) {
        Error error = std::move(file).error();
        if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kLsnTooOld;
        return fail(std::move(error));
      }
      segment_ = std::move(*file);
      segment_number_ = segno;
    }
    const uint32_t offset = pg::wal_segment_offset(start);
    const MutableByteView part = bytes.first(std::min<uint64_t>(bytes.size(), pg::kWalSegmentSize - offset));
    HELIUM_TRY(segment_->read_at(offset, part));
    start = start + part.size();
    bytes = bytes.subspan(part.size());
  }
  return {};
}

}  // namespace helium::safekeeper
