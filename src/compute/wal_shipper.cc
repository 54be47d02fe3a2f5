#include "compute/wal_shipper.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "pg/constants.h"

namespace helium::compute {
namespace {

constexpr size_t kReadSize = 1024 * 1024;
constexpr uint32_t kRecordLengthMax = 1u << 30;  // XLogRecordMaxSize is below

// PostgreSQL's flush target lies in the last page that it wrote, so only there may a record be incomplete.
bool must_be_complete(Lsn record_end, Lsn written_upto) {
  return record_end + pg::kWalPageSize <= written_upto;
}

}  // namespace

Lsn record_end_of(Lsn record_start, uint32_t total_len) {
  Lsn at = record_start;
  uint64_t left = total_len;
  const uint64_t on_first_page = pg::kWalPageSize - pg::wal_page_offset(at);
  if (left > on_first_page) {
    at = at + on_first_page;
    left -= on_first_page;
    while (true) {
      const uint32_t header = pg::wal_page_header_size(at);
      const uint64_t room = pg::kWalPageSize - header;
      if (left <= room) {
        at = at + header;
        break;
      }
      left -= room;
      at = at + pg::kWalPageSize;
    }
  }
  return Lsn((at.bytes() + left + 7) & ~uint64_t{7});
}

WalShipper::WalShipper(Options options)
    : options_(std::move(options)),
      wal_(options_.wal_folder),
      decoder_(options_.start, options_.pg_version),
      shipped_(options_.start.bytes()) {}

WalShipper::~WalShipper() { stop(); }

void WalShipper::start() {
  thread_ = std::thread([this] { run(); });
}

void WalShipper::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void WalShipper::run() {
  while (!stopping_) {
    const Written written = options_.wait(seen_seq_);
    if (written.seq <= seen_seq_) continue;
    if (Status shipped = ship(written); !shipped) {
      options_.on_damaged(shipped.error());
      return;
    }
    if (options_.on_progress) options_.on_progress(written.written_upto);
  }
}

Result<std::optional<WalShipper::NextRecord>> WalShipper::next_record(Lsn from, Lsn written_upto) {
  const Lsn record_start = pg::wal_record_start_after(from);
  if (record_start + sizeof(uint32_t) > written_upto) return std::nullopt;
  std::byte field[sizeof(uint32_t)];
  HELIUM_TRY(wal_.read(record_start, field));
  const auto total_len = load<uint32_t>(field);
  if (total_len < pg::kWalRecordHeader || total_len > kRecordLengthMax) {
    if (must_be_complete(record_start + pg::kWalRecordHeader, written_upto)) {
      return fail(ErrorCode::kCorrupt, fmt::format("no WAL record at {} although PostgreSQL wrote up to {}",
                                                   to_string(record_start), to_string(written_upto)));
    }
    return std::nullopt;
  }
  const Lsn end = record_end_of(record_start, total_len);
  if (end > written_upto) return std::nullopt;
  return NextRecord{end, std::min<uint64_t>(std::max<uint64_t>(end - from, kReadSize), written_upto - from)};
}

WalShipper::Parsed WalShipper::parse(ByteView bytes) {
  decoder_.rewind();
  decoder_.feed(bytes);
  while (true) {
    Result<std::optional<pg::WalRecordView>> record = decoder_.next();
    if (!record) return {decoder_.record_end_lsn(), std::move(record).error()};
    if (!*record) return {decoder_.record_end_lsn(), std::nullopt};
  }
}

Result<bool> WalShipper::ship_some(Lsn written_upto) {
  const Lsn from = shipped_lsn();
  if (written_upto <= from) return false;
  HELIUM_ASSIGN(const std::optional<NextRecord> next, next_record(from, written_upto));
  if (!next) return false;

  // A switch record runs on to its segment's end, which its length does not say: read again, as far as that takes.
  const uint64_t written = written_upto - from;
  const uint64_t with_segment = std::min<uint64_t>(written, next->read_size + uint64_t{pg::kWalSegmentSize});
  for (const uint64_t size : {uint64_t{next->read_size}, with_segment}) {
    buffer_.resize(size);
    HELIUM_TRY(wal_.read(from, buffer_));
    Parsed parsed = parse(buffer_);
    if (parsed.end != from) {
      options_.append(from, ByteView(buffer_).first(parsed.end - from));
      shipped_.store(parsed.end.bytes(), std::memory_order_release);
      return true;
    }
    if (parsed.error) {
      if (!must_be_complete(next->end, written_upto)) return false;
      return fail(std::move(*parsed.error).context("parse the WAL that PostgreSQL wrote"));
    }
  }
  return false;
}

Status WalShipper::ship(const Written& written) {
  while (!stopping_) {
    HELIUM_ASSIGN(const bool more, ship_some(written.written_upto));
    if (!more) break;
  }
  if (buffer_.capacity() > 16 * kReadSize) Bytes().swap(buffer_);
  seen_seq_ = written.seq;
  remember(written.seq, shipped_lsn());
  return {};
}

void WalShipper::remember(uint64_t seq, Lsn position) {
  {
    const std::lock_guard lock(mutex_);
    if (!waiting_.empty() && waiting_.back().position == position) {
      waiting_.back().seq = seq;
    } else {
      waiting_.push_back({seq, position});
    }
  }
  release(options_.commit_lsn());
}

void WalShipper::on_commit(Lsn commit_lsn) { release(commit_lsn); }

void WalShipper::release(Lsn commit_lsn) {
  const std::lock_guard lock(mutex_);
  uint64_t flushed = 0;
  while (!waiting_.empty() && waiting_.front().position <= commit_lsn) {
    flushed = waiting_.front().seq;
    waiting_.pop_front();
  }
  if (flushed != 0) options_.publish_flushed(flushed);
}

}  // namespace helium::compute
