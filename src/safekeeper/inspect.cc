#include "safekeeper/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/crc32c.h"
#include "io/disk.h"
#include "pg/constants.h"
#include "pg/wal_page.h"
#include "pg/wal_segment.h"
#include "safekeeper/wal_storage.h"

namespace helium::safekeeper {
namespace {

namespace fs = std::filesystem;

constexpr int kRounds = 5;  // a running daemon may change files under our eyes

std::optional<uint64_t> segment_number(const std::string& name) {
  if (name.size() != 24 || !name.starts_with("00000001")) return std::nullopt;
  if (name.find_first_not_of("0123456789ABCDEF") != std::string::npos) return std::nullopt;
  const uint64_t high = std::stoull(name.substr(8, 8), nullptr, 16), low = std::stoull(name.substr(16, 8), nullptr, 16);
  return high * ((uint64_t{1} << 32) / pg::kWalSegmentSize) + low;
}

std::string describe_header(ByteView page) {
  if (std::ranges::all_of(page, [](std::byte b) { return b == std::byte{0}; })) return "zeros: nothing written yet";
  const auto info = pg::read_segment_info(page);
  if (!info) return info.error().message;
  const auto flags = load<uint16_t>(page.data() + 2);
  std::string text = fmt::format("PostgreSQL {}, timeline {}, system id {}, begins at {}", info->pg_version,
                                 info->pg_timeline, info->system_identifier, to_string(info->start_lsn));
  if (flags & pg::kXlpFirstIsContrecord) {
    text += fmt::format(", continues a record with {} bytes", load<uint32_t>(page.data() + 16));
  }
  return text;
}

void read_control(Disk& disk, TimelineReport& report) {
  report.control.reset();
  report.refused.clear();
  const Result<Bytes> file = disk.read_all(report.folder / kControlFileName);
  if (!file) {
    report.refused = file.error().message;
    return;
  }
  report.control_size = file->size();
  if (file->size() >= 8) report.control_version = load<uint32_t>(file->data() + 4);
  Result<ControlFile> control = decode_control_file(*file);
  if (control) report.control = std::move(*control);
  else report.refused = control.error().message;
}

void list_files(Disk& disk, TimelineReport& report) {
  report.segments.clear();
  report.other_files.clear();
  const auto files = disk.list_folder(report.folder);
  if (!files) return;
  for (const Disk::Entry& file : *files) {
    if (const auto segno = segment_number(file.name)) {
      report.segments.push_back({.name = file.name, .segno = *segno, .size = file.size});
    } else if (file.name != kControlFileName) {
      report.other_files.push_back(file.name);
    }
  }
  std::ranges::sort(report.segments, {}, &SegmentReport::segno);
}

void read_segments(Disk& disk, TimelineReport& report, bool with_sums) {
  for (SegmentReport& segment : report.segments) {
    std::array<std::byte, pg::kWalLongPageHeader> header;
    const Status got = disk.read(report.folder / segment.name, 0, header);
    segment.header = got ? describe_header(header) : got.error().message;
    if (!with_sums) continue;
    if (const Result<Bytes> content = disk.read_all(report.folder / segment.name)) segment.crc32c = crc32c(*content);
  }
}

void check(const std::shared_ptr<Disk>& disk, TimelineReport& report, const Inspection& inspection) {
  const ControlFile& control = *report.control;
  std::map<uint64_t, SegmentReport*> by_number;
  for (SegmentReport& segment : report.segments) by_number[segment.segno] = &segment;
  WalReader reader(disk, report.folder);
  uint64_t current = 0;
  size_t done = 0;
  const auto read = [&](Lsn at, MutableByteView bytes) -> Status {
    if (const uint64_t segno = pg::wal_segment_number(at); segno > current) {
      current = segno;
      if (inspection.progress) inspection.progress(done++, report.segments.size());
    }
    return reader.read(at, bytes);
  };
  const auto seen = [&](const pg::WalRecordView& record) {
    const auto found = by_number.find(pg::wal_segment_number(record.start_lsn));
    if (found == by_number.end()) return;
    SegmentReport& segment = *found->second;
    if (segment.records++ == 0) segment.first_record = record.start_lsn;
    segment.last_record = record.start_lsn;
  };
  report.wal = check_wal({.first = std::max(control.local_start_lsn, control.acceptor.start_lsn),
                          .synced = control.flushed_lsn,
                          .pg_version = static_cast<int>(control.pg_version),
                          .system_id = control.system_id},
                         read, seen);
  for (const SegmentReport& segment : report.segments) {
    if (report.wal.damage || segment.size == pg::kWalSegmentSize) continue;
    report.wal.damage = WalDamage{pg::wal_segment_start(segment.segno),
                                  fmt::format("the segment has {} bytes instead of {}", segment.size, pg::kWalSegmentSize)};
  }
}

}  // namespace

Result<std::vector<TenantTimelineId>> list_timelines(const fs::path& datadir) {
  const auto disk = real_disk();
  std::vector<TenantTimelineId> all;
  HELIUM_ASSIGN(const auto tenants, disk->list_folders(datadir));
  for (const std::string& tenant : tenants) {
    const auto tenant_id = parse_tenant_id(tenant);
    if (!tenant_id) continue;
    HELIUM_ASSIGN(const auto timelines, disk->list_folders(datadir / tenant));
    for (const std::string& timeline : timelines) {
      const auto timeline_id = parse_timeline_id(timeline);
      if (timeline_id && !disk->exists(datadir / tenant / (timeline + ".deleted"))) all.push_back({*tenant_id, *timeline_id});
    }
  }
  std::ranges::sort(all);
  return all;
}

TimelineReport inspect_timeline(const fs::path& datadir, const TenantTimelineId& id, const Inspection& inspection) {
  const auto disk = real_disk();
  TimelineReport report;
  report.folder = datadir / to_string(id.tenant) / to_string(id.timeline);
  report.id = id;
  for (int round = 0; round < kRounds; ++round) {
    const std::optional<WalDamage> before = std::move(report.wal.damage);
    read_control(*disk, report);
    list_files(*disk, report);
    report.wal = {};
    if (!report.control || report.control->evicted) break;
    check(disk, report, inspection);
    if (!report.wal.damage || report.wal.damage == before) break;  // twice the same: it is not a daemon at work
  }
  read_segments(*disk, report, inspection.with_sums);
  return report;
}

}  // namespace helium::safekeeper
