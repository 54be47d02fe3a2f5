#include "compute/auxiliary_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/log.h"
#include "compute/local_wal.h"
#include "compute/wal_shipper.h"
#include "io/durable_file.h"
#include "pg/constants.h"
#include "pg/origin_file.h"
#include "pg/slot_file.h"
#include "pg/wal_build.h"

namespace helium::compute {
namespace {

namespace fs = std::filesystem;

// The statistics come last: they count as long as nothing goes on behind them.
constexpr const char* kFolders[] = {"pg_logical/snapshots", "pg_logical/mappings", "pg_replslot", "pg_stat"};

std::vector<std::string> auxiliary_paths(const fs::path& pgdata) {
  std::vector<std::string> paths;
  for (const char* folder : kFolders) {
    std::vector<std::string> found;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(pgdata / folder, error)) {
      std::string path = fmt::format("{}/{}", folder, entry.path().filename().string());
      if (entry.is_directory(error)) path += "/state";
      if (pg::auxiliary_kind(path) != pg::AuxiliaryKind::kNone) found.push_back(std::move(path));
    }
    std::ranges::sort(found);
    paths.insert(paths.end(), found.begin(), found.end());
  }
  return paths;
}

// The file's bytes, unless they are in WAL, or no file is there, or it is too large.
Result<std::optional<Bytes>> not_yet_told(const fs::path& pgdata, const std::string& path) {
  struct stat file {};
  if (::stat((pgdata / path).c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return std::nullopt;
  if (pg::is_auxiliary_mark(file.st_mtim, file.st_size)) return std::nullopt;
  const uint32_t most = pg::auxiliary_size_max(pg::auxiliary_kind(path));
  if (file.st_size > most) {
    log::warn("a file is too large to be kept", {{"file", path}, {"bytes", file.st_size}, {"limit", most}});
    return std::nullopt;
  }
  HELIUM_ASSIGN(Bytes content, read_file(pgdata / path));
  return content;
}

}  // namespace

pg::AuxiliaryKey auxiliary_key(const pg::ControlFile& control, const TimelineId& timeline) {
  return pg::auxiliary_key(control.mock_authentication_nonce(), std::as_bytes(std::span(timeline.bytes)));
}

Result<SlotNeeds> take_slots(wire::BootstrapReply& bootstrap) {
  SlotNeeds needs;
  std::vector<wire::BootstrapFile> kept;
  for (wire::BootstrapFile& file : bootstrap.files) {
    if (pg::auxiliary_kind(file.path) == pg::AuxiliaryKind::kSlot) {
      const Result<pg::SlotFile> slot = pg::decode_slot_file(file.content);
      if (!slot) return fail(Error(slot.error()).context(fmt::format("use '{}' of the timeline", file.path)));
      if (!slot->persistent) continue;
      ++needs.slots;
      needs.logical = needs.logical || slot->logical();
      if (slot->restart_lsn.is_valid()) needs.wal_from = std::min(needs.wal_from.value_or(Lsn::max()), slot->restart_lsn);
    }
    kept.push_back(std::move(file));
  }
  bootstrap.files = std::move(kept);
  return needs;
}

Status check_auxiliary_path(const std::string& path, size_t size) {
  const auto below = [&](std::string_view folder) { return path.starts_with(folder); };
  if ((!below("pg_replslot/") && !below("pg_logical/") && !below("pg_stat/")) || path == pg::kOriginFile) return {};
  const pg::AuxiliaryKind kind = pg::auxiliary_kind(path);
  if (kind == pg::AuxiliaryKind::kNone)
    return fail(ErrorCode::kInvalid, fmt::format("the pageserver names a file '{}'", path));
  if (size > pg::auxiliary_size_max(kind))
    return fail(ErrorCode::kInvalid, fmt::format("the pageserver's file '{}' has {} bytes", path, size));
  return {};
}

Result<LastWal> build_last_wal(const fs::path& pgdata, Lsn end_of_wal, int pg_version, const TimelineId& timeline) {
  HELIUM_ASSIGN(const Bytes control_bytes, read_file(pgdata / "global" / "pg_control"));
  HELIUM_ASSIGN(const pg::ControlFile control, pg::ControlFile::parse(control_bytes, pg_version));
  LastWal last{{}, end_of_wal, 0};
  if (!control.is_shut_down()) return last;

  // Records are chained by their starts: the last one must be the shutdown checkpoint.
  Lsn prev = control.checkpoint_lsn();
  std::byte length[sizeof(uint32_t)];
  LocalWal wal(pgdata / "pg_wal");
  HELIUM_TRY(wal.read(prev, length));
  if (record_end_of(prev, load<uint32_t>(length)) != end_of_wal)
    return fail(ErrorCode::kCorrupt, fmt::format("WAL ends at {}, but not with the shutdown checkpoint at {}",
                                                 to_string(end_of_wal), to_string(prev)));

  const pg::AuxiliaryKey key = auxiliary_key(control, timeline);
  for (const std::string& path : auxiliary_paths(pgdata)) {
    HELIUM_ASSIGN(const std::optional<Bytes> content, not_yet_told(pgdata, path));
    if (!content) continue;
    const Bytes record = pg::build_record(static_cast<uint8_t>(pg::Rmgr::kLogicalMsg), 0, 0, prev,
                                          pg::encode_auxiliary_message({path, false, *content}, key));
    prev = pg::wal_record_start_after(last.end);
    const Bytes laid_out = pg::lay_out_record(last.end, record, control.system_identifier(), pg_version, &last.end);
    last.wal.insert(last.wal.end(), laid_out.begin(), laid_out.end());
    ++last.files;
  }
  return last;
}

}  // namespace helium::compute
