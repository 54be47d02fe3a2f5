#include "safekeeper/wal_archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/crc32c.h"
#include "pg/constants.h"
#include "pg/wal_segment.h"
#include "pg/wal_stream.h"

namespace helium::safekeeper {
namespace {

constexpr uint32_t kPgTimeline = 1;
constexpr std::string_view kPartialSuffix = ".partial";

template <typename T>
bool parse_number(std::string_view text, int base, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return !text.empty() && error == std::errc() && end == text.data() + text.size();
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text = text.substr(at + 1);
  }
}

}  // namespace

std::optional<uint64_t> parse_segment_name(std::string_view name) {
  if (name.size() != 24) return std::nullopt;
  uint64_t high = 0, low = 0;
  if (!parse_number(name.substr(8, 8), 16, high) || !parse_number(name.substr(16, 8), 16, low)) return std::nullopt;
  const uint64_t segno = high * (0x100000000ull / pg::kWalSegmentSize) + low;
  if (pg::wal_segment_name(kPgTimeline, segno) != name) return std::nullopt;
  return segno;
}

std::string to_string(const PartialName& name) {
  return fmt::format("{}_{}_{:016X}_{:016X}_{:08X}_sk{}{}", pg::wal_segment_name(kPgTimeline, name.segno), name.log_term,
                     name.flush_lsn.bytes(), name.commit_lsn.bytes(), name.crc, name.safekeeper_id, kPartialSuffix);
}

Result<PartialName> parse_partial_name(std::string_view text) {
  const auto wrong = [&] { return fail(ErrorCode::kCorrupt, fmt::format("'{}' is no name of a partial segment", text)); };
  if (!text.ends_with(kPartialSuffix)) return wrong();
  const auto parts = split(text.substr(0, text.size() - kPartialSuffix.size()), '_');
  if (parts.size() != 6 || !parts[5].starts_with("sk")) return wrong();
  PartialName name;
  const auto segno = parse_segment_name(parts[0]);
  uint64_t flush = 0, commit = 0;
  if (!segno || !parse_number(parts[1], 10, name.log_term) || !parse_number(parts[2], 16, flush) ||
      !parse_number(parts[3], 16, commit) || !parse_number(parts[4], 16, name.crc) ||
      !parse_number(parts[5].substr(2), 10, name.safekeeper_id)) {
    return wrong();
  }
  name.segno = *segno;
  name.flush_lsn = Lsn(flush);
  name.commit_lsn = Lsn(commit);
  if (pg::wal_segment_number(name.flush_lsn) != name.segno || to_string(name) != text) return wrong();
  return name;
}

WalArchive::WalArchive(std::shared_ptr<ObjectStore> store, const TenantTimelineId& timeline)
    : store_(std::move(store)),
      folder_(fmt::format("wal/{}/{}/", helium::to_string(timeline.tenant), helium::to_string(timeline.timeline))) {}

std::string WalArchive::segment_key(uint64_t segno) const {
  return folder_ + pg::wal_segment_name(kPgTimeline, segno);
}

std::string WalArchive::describe() const { return fmt::format("{} in {}", folder_, store_->describe()); }

Status WalArchive::put_segment(uint64_t segno, ByteView segment) {
  CHECK(segment.size() == pg::kWalSegmentSize);
  const std::string key = segment_key(segno);
  const Status put = store_->put(key, segment, PutMode::kIfAbsent);
  if (put || put.error().code != ErrorCode::kExists) return put;
  HELIUM_ASSIGN(const Bytes there, store_->get(key));
  if (std::ranges::equal(there, segment)) return {};
  const auto differs = std::ranges::mismatch(there, segment);
  return fail(ErrorCode::kCorrupt,
              fmt::format("object '{}' in {} has other bytes than this safekeeper's committed WAL, from offset {} on ({} "
                          "bytes there): compare both with pg_waldump, and move the wrong one away",
                          key, store_->describe(), differs.in1 - there.begin(), there.size()));
}

Result<bool> WalArchive::has_segment(uint64_t segno) const {
  const Result<uint64_t> size = store_->size(segment_key(segno));
  if (!size && size.error().code == ErrorCode::kNotFound) return false;
  if (!size) return fail(size.error());
  return *size == pg::kWalSegmentSize;
}

Status WalArchive::read(Lsn start, MutableByteView bytes) const {
  while (!bytes.empty()) {
    const uint32_t offset = pg::wal_segment_offset(start);
    const MutableByteView part = bytes.first(std::min<uint64_t>(bytes.size(), pg::kWalSegmentSize - offset));
    if (Status got = store_->get_range(segment_key(pg::wal_segment_number(start)), offset, part); !got) {
      Error error = std::move(got).error();
      if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kLsnTooOld;
      return fail(std::move(error).context(fmt::format("read WAL at {} from the store", helium::to_string(start))));
    }
    start = start + part.size();
    bytes = bytes.subspan(part.size());
  }
  return {};
}

Result<Lsn> WalArchive::end_of_segments(Lsn from) const {
  HELIUM_ASSIGN(const auto objects, store_->list(folder_));  // in order
  uint64_t next = pg::wal_segment_number(from);
  for (const ObjectInfo& object : objects) {
    const auto segno = parse_segment_name(std::string_view(object.key).substr(folder_.size()));
    if (segno && *segno == next && object.size == pg::kWalSegmentSize) ++next;
  }
  return pg::wal_segment_start(next);
}

Result<std::string> WalArchive::put_partial(PartialName name, ByteView content) {
  CHECK(content.size() == pg::wal_segment_offset(name.flush_lsn));
  name.crc = crc32c(content);
  const std::string text = to_string(name);
  HELIUM_TRY(store_->put(folder_ + text, content, PutMode::kReplace));
  HELIUM_TRY(get_partial(text));
  return text;
}

Result<Bytes> WalArchive::get_partial(std::string_view text) const {
  HELIUM_ASSIGN(const PartialName name, parse_partial_name(text));
  HELIUM_ASSIGN(Bytes content, store_->get(folder_ + std::string(text)));
  if (content.size() != pg::wal_segment_offset(name.flush_lsn) || crc32c(content) != name.crc) {
    return fail(ErrorCode::kCorrupt, fmt::format("object '{}{}' in {} is not what was put there: {} bytes, CRC {:08X}",
                                                 folder_, text, store_->describe(), content.size(), crc32c(content)));
  }
  return content;
}

Status WalArchive::remove_partials(uint64_t safekeeper_id, std::string_view keep) {
  HELIUM_ASSIGN(const auto objects, store_->list(folder_));
  for (const ObjectInfo& object : objects) {
    const std::string_view text = std::string_view(object.key).substr(folder_.size());
    const auto name = parse_partial_name(text);
    if (name && name->safekeeper_id == safekeeper_id && text != keep) HELIUM_TRY(store_->remove(object.key));
  }
  return {};
}

struct SegmentCheck::State {
  pg::WalStreamDecoder decoder;
};

SegmentCheck::SegmentCheck(Lsn timeline_start) : timeline_start_(timeline_start) {}
SegmentCheck::~SegmentCheck() = default;

Status SegmentCheck::check(uint64_t segno, ByteView segment) {
  CHECK(segment.size() == pg::kWalSegmentSize);
  const Lsn start = pg::wal_segment_start(segno);
  if (!state_ || state_->decoder.fed_lsn() != start) {
    state_.reset();
    Lsn first = timeline_start_;
    if (pg::wal_segment_number(timeline_start_) != segno) {
      const auto found = pg::find_first_record(segment, start);
      if (!found && found.error().code == ErrorCode::kTruncated) return {};  // all of it belongs to one long record
      if (!found) return fail(found.error());
      first = *found;
    }
    state_.reset(new State{pg::WalStreamDecoder(first)});
    segment = segment.subspan(first - start);
  }
  state_->decoder.feed(segment);
  while (true) {
    const auto record = state_->decoder.next();
    if (!record) {
      Error error{ErrorCode::kCorrupt,
                  fmt::format("WAL segment {} is damaged behind {}: {}", pg::wal_segment_name(kPgTimeline, segno),
                              helium::to_string(state_->decoder.record_end_lsn()), record.error().message)};
      state_.reset();
      return fail(std::move(error));
    }
    if (!*record) return {};
  }
}

}  // namespace helium::safekeeper
