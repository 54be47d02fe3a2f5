// What a safekeeper's folder holds, read from its files alone: for `safekeeper dump` and `safekeeper verify`.
//
// Works beside a running daemon as well: what looks damaged is looked at again, since WAL may be written or cut off
// meanwhile. Nothing is written, no lock is taken.
// Errors: kNotFound: no such folder or timeline, the text names what there is.

#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "safekeeper/control_file.h"
#include "safekeeper/wal_check.h"

namespace helium::safekeeper {

struct SegmentReport {
  std::string name;
  uint64_t segno = 0;
  uint64_t size = 0;
  uint32_t crc32c = 0;            // over the whole file
  std::string header;             // its long page header in words, or what is wrong with it
  Lsn first_record, last_record;  // starts of the first and last record that begin in it; invalid: none does
  uint64_t records = 0;
};

struct TimelineReport {
  std::filesystem::path folder;
  TenantTimelineId id;
  uint64_t control_size = 0;
  uint32_t control_version = 0;
  std::optional<ControlFile> control;
  std::string refused;  // why the control file cannot be read
  WalCheckResult wal;   // not looked at without a control file, or when evicted
  std::vector<SegmentReport> segments;
  std::vector<std::string> other_files;

  bool is_good() const { return control && !wal.damage; }
};

// Timelines of the data folder, those of deleted ones left out.
Result<std::vector<TenantTimelineId>> list_timelines(const std::filesystem::path& datadir);

struct Inspection {
  bool with_sums = false;  // reads every segment twice
  // Called now and then: how many segments are done, and of how many.
  std::function<void(size_t done, size_t all)> progress;
};
TimelineReport inspect_timeline(const std::filesystem::path& datadir, const TenantTimelineId& id,
                                const Inspection& inspection);

// Output, ended by a newline.
std::string to_text(const TimelineReport& report);          // all of it, with words for each field
std::string to_json(const TimelineReport& report);          // the same, for programs
std::string to_verdict(const TimelineReport& report);       // one line: good, or the first bad record
std::string verdicts_json(const std::vector<TimelineReport>& reports);

// `safekeeper dump …` and `safekeeper verify …`: nullopt when the arguments are neither; else the exit status: 0 good,
// 1 damaged or not found, 2 wrong usage.
std::optional<int> run_inspection(int argc, char** argv);

}  // namespace helium::safekeeper
