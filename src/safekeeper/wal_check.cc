#include "safekeeper/wal_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "pg/constants.h"
#include "pg/wal_page.h"
#include "pg/wal_segment.h"
#include "safekeeper/wal_storage.h"

namespace helium::safekeeper {
namespace {

constexpr size_t kChunk = 1024 * 1024;

class Checker {
 public:
  Checker(const WalToCheck& wal, const ReadWal& read, const std::function<void(const pg::WalRecordView&)>& seen)
      : wal_(wal), read_(read), seen_(seen), decoder_(wal.first) {
    result_.first = result_.end = wal.first;
  }

  WalCheckResult run() {
    if (begin()) walk();
    return std::move(result_);
  }

 private:
  // False: it is over, with or without damage.
  bool begin() {
    if (!check_segment_header(pg::wal_segment_start(pg::wal_segment_number(wal_.first)))) return false;
    if (pg::wal_segment_offset(wal_.first) != 0) return true;
    const std::optional<Lsn> start = find_start();
    if (!start) return false;
    result_.first = result_.end = *start;
    decoder_ = pg::WalStreamDecoder(*start);
    return true;
  }

  // The first record that begins at or behind a segment's start.
  std::optional<Lsn> find_start() {
    Bytes page(pg::kWalPageSize);
    for (Lsn at = wal_.first;; at = at + page.size()) {
      if (!read_or_note(at, page)) return std::nullopt;
      const auto found = pg::find_first_record(page, at);
      if (found) return *found;
      if (found.error().code == ErrorCode::kTruncated) continue;  // a long record fills the page
      if (at < wal_.synced) note(at, found.error().message);
      return std::nullopt;
    }
  }

  void walk() {
    Bytes chunk;
    while (true) {
      const Lsn at = decoder_.fed_lsn();
      if (pg::wal_segment_offset(at) == 0 && !check_segment_header(at)) return;
      chunk.resize(std::min<uint64_t>(kChunk, pg::kWalSegmentSize - pg::wal_segment_offset(at)));
      if (!read_or_note(at, chunk)) return;
      decoder_.feed(chunk);
      if (!take_records()) return;
    }
  }

  bool take_records() {
    while (true) {
      const auto record = decoder_.next();
      if (!record) {
        on_end(record.error().message);
        return false;
      }
      if (!*record) return true;
      result_.end = (*record)->end_lsn;
      result_.last_record = (*record)->start_lsn;
      ++result_.records;
      if (seen_) seen_(**record);
    }
  }

  // No record follows: right at the end, damage before it.
  void on_end(const std::string& why) {
    const Lsn end = result_.end;
    if (end < wal_.synced) {
      note(end, fmt::format("{}, though WAL was synced up to {}", why, to_string(wal_.synced)));
    } else if (const auto behind = find_wal_behind(end, read_)) {
      note(end, fmt::format("{}, though there is WAL at {}", why, to_string(*behind)));
    }
  }

  bool check_segment_header(Lsn start) {
    std::array<std::byte, pg::kWalLongPageHeader> header;
    if (!read_or_note(start, header)) return false;
    if (start >= wal_.synced && std::ranges::all_of(header, [](std::byte b) { return b == std::byte{0}; })) {
      on_end("the segment holds zeros only");
      return false;
    }
    const auto info = pg::read_segment_info(header);
    std::string what;
    if (!info) {
      what = info.error().message;
    } else if (info->start_lsn != start) {
      what = fmt::format("its header says that it begins at {}", to_string(info->start_lsn));
    } else if (info->pg_version != wal_.pg_version) {
      what = fmt::format("its header is of PostgreSQL {}, the timeline of {}", info->pg_version, wal_.pg_version);
    } else if (info->system_identifier != wal_.system_id) {
      what = fmt::format("its header names system identifier {}, the timeline has {}", info->system_identifier,
                         wal_.system_id);
    }
    if (what.empty()) return true;
    if (start < wal_.synced) {
      note(start, fmt::format("segment header: {}", what));
    } else {
      on_end(what);
    }
    return false;
  }

  bool read_or_note(Lsn at, MutableByteView bytes) {
    const Status got = read_(at, bytes);
    if (got) return true;
    if (got.error().code != ErrorCode::kLsnTooOld) {
      note(at, got.error().message);
    } else if (at < wal_.synced) {
      note(at, fmt::format("the segment is missing, though WAL was synced up to {}", to_string(wal_.synced)));
    }
    return false;
  }

  void note(Lsn lsn, std::string what) { result_.damage = WalDamage{lsn, std::move(what)}; }

  const WalToCheck& wal_;
  const ReadWal& read_;
  const std::function<void(const pg::WalRecordView&)>& seen_;
  pg::WalStreamDecoder decoder_;
  WalCheckResult result_;
};

// Where the record at `start` would end if its length is to be believed: the next page must continue it by as much.
Lsn claimed_end(Lsn start, const ReadWal& read) {
  std::array<std::byte, 4> length;
  const Lsn header = pg::wal_record_start_after(start);
  if (!read(header, length)) return start;
  const uint64_t total = load<uint32_t>(length.data());
  const uint64_t room = pg::kWalPageSize - pg::wal_page_offset(header);
  if (total <= room) return start;
  std::array<std::byte, pg::kWalShortPageHeader> page;
  if (!read(header + room, page)) return start;
  if (pg::pg_version_of_wal_magic(load<uint16_t>(page.data())) == 0 ||
      Lsn(load<uint64_t>(page.data() + 8)) != header + room || load<uint32_t>(page.data() + 16) != total - room) {
    return start;
  }
  const uint64_t pages = total / (pg::kWalPageSize - pg::kWalLongPageHeader) + 1;
  return header + total + pages * pg::kWalLongPageHeader;
}

}  // namespace

WalCheckResult check_wal(const WalToCheck& wal, const ReadWal& read,
                         const std::function<void(const pg::WalRecordView&)>& seen) {
  return Checker(wal, read, seen).run();
}

std::optional<Lsn> find_wal_behind(Lsn record_end, const ReadWal& read) {
  // A long record may be torn although most of it was synced: what counts is what lies behind where it would end.
  const uint64_t first = claimed_end(record_end, read).bytes() + kMaxUnsyncedBytes + pg::kWalPageSize - 1;
  std::array<std::byte, 16> header;
  for (Lsn page(first - first % pg::kWalPageSize); read(page, header); page = page + pg::kWalPageSize) {
    if (pg::pg_version_of_wal_magic(load<uint16_t>(header.data())) != 0 &&
        Lsn(load<uint64_t>(header.data() + 8)) == page) {
      return page;
    }
  }
  return std::nullopt;
}

std::string wal_place_name(Lsn lsn) {
  return fmt::format("segment {} offset {}", pg::wal_segment_name(1, pg::wal_segment_number(lsn)),
                     pg::wal_segment_offset(lsn));
}

}  // namespace helium::safekeeper
