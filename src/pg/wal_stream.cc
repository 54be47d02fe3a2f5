#include "pg/wal_stream.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"
#include "pg/constants.h"
#include "pg/wal_build.h"
#include "pg/wal_page.h"

namespace helium::pg {
namespace {

constexpr uint32_t kRecordLengthMax = 0x3FFFFFFF;  // MaxAllocSize: PostgreSQL refuses longer ones too
constexpr size_t kInfoAt = 16;                     // xl_info
constexpr size_t kRmgrAt = 17;                     // xl_rmid
constexpr size_t kCrcAt = 20;                      // xl_crc: the last field of the header
constexpr uint8_t kXlogSwitch = 0x40;
constexpr size_t kKeptCapacity = 1 << 20;          // what a long record leaves allocated

constexpr Lsn align8(Lsn lsn) { return Lsn((lsn.bytes() + 7) & ~uint64_t{7}); }

bool is_switch(ByteView record) {
  return load<uint8_t>(record.data() + kRmgrAt) == static_cast<uint8_t>(Rmgr::kXlog) &&
         (load<uint8_t>(record.data() + kInfoAt) & 0xF0) == kXlogSwitch;
}

}  // namespace

// A cursor walks over the fed bytes. Between records it stands at an aligned record end; inside one, `record` holds what
// the record has got so far. A record that lies on one page and was fed as a whole is used where it lies.
struct WalStreamDecoder::Impl {
  Impl(Lsn start, int pg_version)
      : cursor(start), record_end(start), magic(pg_version == 0 ? 0 : wal_page_magic(pg_version)) {}

  Lsn cursor;        // next byte to consume
  ByteView unread;   // bytes from `cursor` on: the caller's, or in `kept`
  Bytes kept;        // what was unread when next() wanted more

  Lsn record_end;    // of the last record returned
  Lsn last_start;    // of the last record returned
  uint64_t system_identifier = 0;  // from the first long header seen; later ones must agree
  uint16_t magic;                  // of the version that was asked for, or from the first page header seen; 0: neither

  // The record being put together.
  bool in_record = false;
  Lsn record_start;
  uint32_t total_len = 0;          // 0 until its first four bytes are there
  bool header_checked = false;
  Bytes record;
  std::optional<Error> error;

  ByteView rest() const { return unread; }
  void consume(size_t size) {
    unread = unread.subspan(size);
    cursor = cursor + size;
  }
  // The caller may let go of what was fed.
  void keep_unread() {
    if (unread.empty() || unread.data() + unread.size() == kept.data() + kept.size()) return;
    kept.assign(unread.begin(), unread.end());
    unread = kept;
  }
  void drop_record() {
    in_record = false;
    header_checked = false;
    total_len = 0;
    record.clear();
    if (record.capacity() > kKeptCapacity) record.shrink_to_fit();
  }
  std::unexpected<Error> corrupt(std::string text) {
    error = Error{ErrorCode::kCorrupt, std::move(text)};
    return std::unexpected(*error);
  }

  void feed(ByteView bytes) {
    if (unread.empty()) {
      unread = bytes;
      return;
    }
    Bytes together(unread.begin(), unread.end());
    together.insert(together.end(), bytes.begin(), bytes.end());
    kept = std::move(together);
    unread = kept;
  }
  void rewind() {
    unread = {};
    cursor = record_end;
    drop_record();
    error.reset();
  }

  Result<std::optional<WalRecordView>> next();
  Result<bool> read_page_header();
  Result<bool> gather();
  std::optional<ByteView> whole_record_here() const;
  Status check_record_header(ByteView bytes);
  Result<std::optional<WalRecordView>> finish(ByteView bytes);
};



// At a page's start: true when its header has been read (now, or there is none to read), false for "more bytes".
Result<bool> WalStreamDecoder::Impl::read_page_header() {
  if (wal_page_offset(cursor) != 0) return true;
  const bool segment_start = wal_segment_offset(cursor) == 0;
  const uint32_t size = wal_page_header_size(cursor);
  if (rest().size() < size) return false;

  const std::byte* header = rest().data();
  const auto page_magic = load<uint16_t>(header);
  const auto info = load<uint16_t>(header + 2);
  const auto page_lsn = load<uint64_t>(header + 8);
  const auto remaining = load<uint32_t>(header + 16);
  const int page_version = pg_version_of_wal_magic(page_magic);
  if (page_version == 0) {
    return corrupt(fmt::format("WAL page at {}: magic number {:04X} is wrong", to_string(cursor), page_magic));
  }
  if (magic != 0 && page_magic != magic) {
    return corrupt(fmt::format("WAL page at {}: is of PostgreSQL {}, this is WAL of {}: magic number {:04X} is wrong",
                               to_string(cursor), page_version, pg_version_of_wal_magic(magic), page_magic));
  }
  if ((info & ~kXlpAllFlags) != 0 || segment_start != ((info & kXlpLongHeader) != 0)) {
    return corrupt(fmt::format("WAL page at {}: flags {:04X} are wrong", to_string(cursor), info));
  }
  if (Lsn(page_lsn) != cursor) {
    return corrupt(fmt::format("WAL page at {}: says that it is the page at {}", to_string(cursor), to_string(Lsn(page_lsn))));
  }
  if (segment_start) {
    const auto system_id = load<uint64_t>(header + 24);
    if (load<uint32_t>(header + 32) != kWalSegmentSize || load<uint32_t>(header + 36) != kWalPageSize) {
      return corrupt(fmt::format("WAL page at {}: segment or page size is not the supported one", to_string(cursor)));
    }
    if (system_identifier != 0 && system_id != system_identifier) {
      return corrupt(fmt::format("WAL page at {}: system identifier {} follows {}", to_string(cursor), system_id,
                                 system_identifier));
    }
    system_identifier = system_id;
  }
  const bool continues = (info & kXlpFirstIsContrecord) != 0;
  if (in_record && (info & kXlpFirstIsOverwriteContrecord) != 0) {
    drop_record();  // its rest was never written; PostgreSQL went on here after a crash
  }
  if (in_record) {
    const uint64_t missing = total_len - record.size();
    if (!continues || remaining != missing) {
      return corrupt(fmt::format("WAL page at {}: continues with {} bytes, the record at {} needs {}", to_string(cursor),
                                 continues ? remaining : 0, to_string(record_start), missing));
    }
  } else if (continues) {
    return corrupt(fmt::format("WAL page at {}: continues a record that began before", to_string(cursor)));
  }
  magic = page_magic;
  consume(size);
  return true;
}

// Appends to the record what this page has of it. True when the record is whole.
Result<bool> WalStreamDecoder::Impl::gather() {
  while (true) {
    const uint32_t left_on_page = kWalPageSize - wal_page_offset(cursor);
    const size_t known_len = total_len != 0 ? total_len : sizeof(uint32_t);
    const size_t take = std::min<size_t>({left_on_page, known_len - record.size(), rest().size()});
    record.insert(record.end(), rest().begin(), rest().begin() + static_cast<ptrdiff_t>(take));
    consume(take);
    if (total_len == 0 && record.size() == sizeof(uint32_t)) {
      total_len = load<uint32_t>(record.data());
      if (total_len < kWalRecordHeader || total_len > kRecordLengthMax) {
        return corrupt(fmt::format("WAL record at {}: length {} is impossible", to_string(record_start), total_len));
      }
      continue;
    }
    if (total_len != 0 && !header_checked && record.size() >= kWalRecordHeader) {
      HELIUM_TRY(check_record_header(record));
      header_checked = true;
    }
    return total_len != 0 && record.size() == total_len;
  }
}

// The record that begins at the cursor, if all of it and its padding are unread and on this page.
std::optional<ByteView> WalStreamDecoder::Impl::whole_record_here() const {
  if (unread.size() < kWalRecordHeader) return std::nullopt;
  const auto length = load<uint32_t>(unread.data());
  const uint64_t left_on_page = kWalPageSize - wal_page_offset(cursor);
  if (length < kWalRecordHeader || length > left_on_page || align8(cursor + length) - cursor > unread.size()) {
    return std::nullopt;
  }
  const ByteView bytes = unread.first(length);
  if (is_switch(bytes)) return std::nullopt;
  return bytes;
}

Status WalStreamDecoder::Impl::check_record_header(ByteView bytes) {
  const Lsn prev(load<uint64_t>(bytes.data() + 8));
  const auto rmgr = load<uint8_t>(bytes.data() + kRmgrAt);
  if (rmgr > kLastBuiltinRmgr && rmgr < kFirstCustomRmgr) {
    return corrupt(fmt::format("WAL record at {}: resource manager {} does not exist", to_string(record_start), rmgr));
  }
  if (last_start.is_valid() ? prev != last_start : prev >= record_start) {
    return corrupt(fmt::format("WAL record at {}: names {} as the record before it, which is at {}", to_string(record_start),
                               to_string(prev), to_string(last_start)));
  }
  return {};
}

// The record is whole and consumed: checks it, then runs to its aligned end, or its segment's for a switch.
Result<std::optional<WalRecordView>> WalStreamDecoder::Impl::finish(ByteView bytes) {
  const uint32_t crc =
      Crc32c().add(bytes.subspan(kWalRecordHeader)).add(bytes.first(kCrcAt)).value();
  if (crc != load<uint32_t>(bytes.data() + kCrcAt)) {
    return corrupt(fmt::format("WAL record at {}: checksum mismatch", to_string(record_start)));
  }
  Lsn end = align8(cursor);
  if (is_switch(bytes) && wal_segment_offset(end) != 0) end = wal_segment_start(wal_segment_number(end) + 1);
  // What lies in between means nothing (zeros, mostly), but a record ends only where its WAL has been seen.
  const uint64_t skip = std::min<uint64_t>(end - cursor, rest().size());
  consume(skip);
  if (cursor != end) return std::nullopt;

  last_start = record_start;
  record_end = end;
  in_record = false;
  return WalRecordView{record_start, end, bytes};
}

Result<std::optional<WalRecordView>> WalStreamDecoder::Impl::next() {
  if (error) return std::unexpected(*error);
  if (!in_record) {
    drop_record();  // the one returned last
    const uint32_t offset = wal_page_offset(cursor);
    if (cursor.bytes() % 8 != 0 || (offset != 0 && offset < wal_page_header_size(cursor))) {
      return corrupt(fmt::format("{} is no place where a WAL record can begin", to_string(cursor)));
    }
  }
  // A whole record that waits for the end of its padding or segment must not take a page's start for its own.
  while (!(in_record && total_len != 0 && record.size() == total_len)) {
    HELIUM_ASSIGN(const bool on_page, read_page_header());
    if (!on_page) return std::nullopt;
    if (!in_record) {
      if (rest().empty()) {
        return std::nullopt;
      }
      record_start = cursor;
      if (const std::optional<ByteView> here = whole_record_here()) {
        HELIUM_TRY(check_record_header(*here));
        consume(here->size());
        return finish(*here);
      }
      in_record = true;
    }
    HELIUM_ASSIGN(const bool whole, gather());
    if (whole) break;
    if (wal_page_offset(cursor) != 0) return std::nullopt;
  }
  return finish(record);
}

WalStreamDecoder::WalStreamDecoder(Lsn start, int pg_version) : impl_(std::make_unique<Impl>(start, pg_version)) {}
WalStreamDecoder::~WalStreamDecoder() = default;
WalStreamDecoder::WalStreamDecoder(WalStreamDecoder&&) noexcept = default;
WalStreamDecoder& WalStreamDecoder::operator=(WalStreamDecoder&&) noexcept = default;

void WalStreamDecoder::feed(ByteView bytes) { impl_->feed(bytes); }
Result<std::optional<WalRecordView>> WalStreamDecoder::next() {
  Result<std::optional<WalRecordView>> record = impl_->next();
  if (!record || !*record) impl_->keep_unread();
  return record;
}
void WalStreamDecoder::rewind() { impl_->rewind(); }
Lsn WalStreamDecoder::fed_lsn() const { return impl_->cursor + impl_->rest().size(); }
Lsn WalStreamDecoder::record_end_lsn() const { return impl_->record_end; }
Lsn WalStreamDecoder::last_record_start() const { return impl_->last_start; }

}  // namespace helium::pg
