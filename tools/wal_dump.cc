// wal_dump: prints the records of WAL segment files, one line each.
//
//   wal_dump 000000010000000000000001 [000000010000000000000002 …] [--start 0/14EDF40] [--end 0/1500000]
//   0/14EDF40 end 0/14EDF78 len 54 xid 731 prev 0/14EDF08 HEAP/INSERT blk 0: 1663/5/16384 7 data main 3
//
// Files must follow each other. Without --start, it begins at the first record that begins in the first file. It ends
// where no valid record follows: that is the normal end of WAL, said on stderr; --strict makes it exit 1 there.

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>

#include "io/durable_file.h"
#include "pg/wal_record.h"
#include "pg/wal_segment.h"
#include "pg/wal_stream.h"

using namespace helium;

namespace {

struct Options {
  std::vector<std::string> files;
  std::string start;
  std::string end;
  bool strict = false;
};

std::string describe(const pg::WalRecordView& view, const pg::DecodedRecord& record, int pg_version) {
  std::string line = fmt::format("{} end {} len {} xid {} prev {} {}", to_string(view.start_lsn), to_string(view.end_lsn),
                                 view.bytes.size(), record.xid, to_string(record.prev_lsn),
                                 pg::record_type_name(record.rmgr, record.info, pg_version));
  for (const pg::BlockRef& block : record.blocks) {
    line += fmt::format(" blk {}: {} {}", block.id, to_string(block.rel), block.blkno);
    if (block.will_init) line += " init";
    if (block.image) line += block.image->apply ? " image" : " check-image";
    if (block.has_data) line += " data";
  }
  if (!record.main_data.empty()) line += fmt::format(" main {}", record.main_data.size());
  return line;
}

Status check_image(const pg::DecodedRecord& record) {
  std::array<std::byte, pg::kBlockSize> page;
  for (const pg::BlockRef& block : record.blocks) {
    if (block.image) HELIUM_TRY(pg::restore_image(*block.image, page));
  }
  return {};
}

// Prints until the files end, `end` is reached or no valid record follows; returns why it ended early.
Result<std::optional<Error>> dump(const Options& options) {
  pg::WalSegmentInfo first;
  std::optional<pg::WalStreamDecoder> decoder;
  Lsn end = Lsn::max(), file_start;
  if (!options.end.empty()) {
    HELIUM_ASSIGN(end, parse_lsn(options.end));
  }
  for (const std::string& file : options.files) {
    HELIUM_ASSIGN(const Bytes bytes, read_file(file));
    auto info = pg::read_segment_info(bytes);
    if (!info) return fail(std::move(info).error().context(file));
    if (!decoder) {
      first = *info;
      auto start = options.start.empty() ? pg::find_first_record(bytes, info->start_lsn) : parse_lsn(options.start);
      if (!start) return fail(std::move(start).error().context(file));
      if (*start < info->start_lsn || *start - info->start_lsn > bytes.size()) {
        return fail(ErrorCode::kInvalid, fmt::format("--start {} does not lie in {}", to_string(*start), file));
      }
      decoder.emplace(*start);
    } else if (info->start_lsn != file_start + pg::kWalSegmentSize) {
      return fail(ErrorCode::kInvalid, fmt::format("{} does not follow the file before it", file));
    }
    file_start = info->start_lsn;
    decoder->feed(ByteView(bytes).subspan(decoder->fed_lsn() - file_start));
    while (true) {
      auto view = decoder->next();
      if (!view) return std::move(view).error();
      if (!*view) break;
      if ((*view)->start_lsn >= end) return std::nullopt;
      auto record = pg::decode_record((*view)->bytes, first.pg_version);
      if (!record) return fail(std::move(record).error().context(to_string((*view)->start_lsn)));
      fmt::print("{}\n", describe(**view, *record, first.pg_version));
      if (auto good = check_image(*record); !good) {
        return fail(std::move(good).error().context(to_string((*view)->start_lsn)));
      }
    }
  }
  return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Prints the records of PostgreSQL WAL segment files (14 to 18).");
  app.add_option("files", options.files, "segment files, in their order")->required()->check(CLI::ExistingFile);
  app.add_option("--start", options.start, "where a record begins, or ends; default: the first in the file");
  app.add_option("--end", options.end, "print no record that begins here or later");
  app.add_flag("--strict", options.strict, "exit 1 unless the files end with a whole record");
  CLI11_PARSE(app, argc, argv);

  const auto ended = dump(options);
  std::fflush(stdout);
  if (!ended) {
    fmt::print(stderr, "wal_dump: {}\n", ended.error().message);
    return 1;
  }
  if (*ended) {
    fmt::print(stderr, "end of WAL: {}\n", (*ended)->message);
    return options.strict ? 1 : 0;
  }
  return 0;
}
