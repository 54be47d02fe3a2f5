// redo_oracle: replays a pg_wal directory through our redo and compares it with PostgreSQL's check images.
//
//   redo_oracle --wal DIR [--base DATADIR] [--final DATADIR] [--start LSN] [--pg-version N] [--hints] [--commit-ts]
//               [--fuzz-seeds DIR]
//
// Exit code: 0 when nothing differs and nothing was refused, 1 when something was, 2 for a bad call.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "pg/control_file.h"
#include "redo/block_types.h"
#include "redo/oracle.h"

namespace helium::redo {
namespace {

struct Arguments {
  std::string wal, base, final_directory, start, fuzz_seeds;
  OracleOptions options;
};

Result<pg::ControlFile> read_control_file(const std::string& data_directory, int pg_version) {
  std::ifstream file(data_directory + "/global/pg_control", std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  return pg::ControlFile::parse(as_bytes(text), pg_version);
}

// One input of redo_fuzz per record type, as small as the first of 20 allows.
struct FuzzSeeds {
  std::filesystem::path directory;
  std::map<std::string, std::pair<int, size_t>> seen;  // type → count, size of the smallest

  void add(std::string type, const PageBytes& page, ByteView record) {
    auto& [count, smallest] = seen[type];
    if (count++ >= 20 || (smallest != 0 && record.size() >= smallest)) return;
    smallest = record.size();
    std::replace(type.begin(), type.end(), '/', '_');
    std::ofstream file(directory / type, std::ios::binary);
    file.put(1);  // version 15
    file.write(reinterpret_cast<const char*>(page.data()), static_cast<std::streamsize>(page.size()));
    file.write(reinterpret_cast<const char*>(record.data()), static_cast<std::streamsize>(record.size()));
  }
};

void print_types_without_comparison(const Oracle& oracle, int pg_version) {
  std::string missing;
  size_t count = 0;
  const std::vector<std::string> types = native_block_types(pg_version);
  for (const std::string& type : types) {
    const auto known = oracle.counts().find(type);
    if (known != oracle.counts().end() && known->second.compared > 0) continue;
    missing += (count++ == 0 ? "" : ", ") + type;
  }
  fmt::print("{} of {} native kinds of blocks compared; not in this run: {}\n\n", types.size() - count, types.size(),
             missing.empty() ? "none" : missing);
}

Result<bool> run(Arguments arguments) {
  FuzzSeeds seeds{arguments.fuzz_seeds, {}};
  if (!arguments.fuzz_seeds.empty()) {
    std::filesystem::create_directories(seeds.directory);
    arguments.options.on_redo = [&](const std::string& type, const pg::BlockRef&, const PageBytes& page, ByteView record) {
      seeds.add(type, page, record);
    };
  }
  std::optional<Lsn> start;
  if (!arguments.base.empty()) {
    arguments.options.base = arguments.base;
    HELIUM_ASSIGN(const pg::ControlFile control, read_control_file(arguments.base, arguments.options.pg_version));
    arguments.options.data_checksums_or_wal_log_hints |= control.data_checksums() || control.wal_log_hints();
    arguments.options.track_commit_timestamp |= control.track_commit_timestamp();
    start = control.checkpoint_lsn();
  }
  if (!arguments.start.empty()) {
    HELIUM_ASSIGN(start, parse_lsn(arguments.start));
  }
  Oracle oracle(arguments.options);
  HELIUM_ASSIGN(const OracleRun wal, replay_wal_directory(oracle, arguments.wal, start));
  fmt::print("{} records from {} to {}\n\n{}\n", wal.records, to_string(wal.start), to_string(wal.end),
             format_counts(oracle.counts()));
  print_types_without_comparison(oracle, arguments.options.pg_version);
  OracleCounts sum = oracle.total();
  bool right = wal.records > 0 && sum.differences == 0 && sum.refused == 0;
  if (!arguments.final_directory.empty()) {
    const auto final_counts = oracle.compare_with(arguments.final_directory);
    fmt::print("{}\n", format_counts(final_counts));
    for (const auto& [kind, counts] : final_counts) right = right && counts.differences == 0;
  }
  return right;
}

}  // namespace
}  // namespace helium::redo

int main(int argc, char** argv) {
  helium::redo::Arguments arguments;
  CLI::App app{"Compares Helium's redo with the check images in a stock cluster's WAL (wal_consistency_checking=all)."};
  app.add_option("--wal", arguments.wal, "pg_wal directory")->required();
  app.add_option("--base", arguments.base, "copy of the data directory from before the WAL, cleanly stopped");
  app.add_option("--final", arguments.final_directory, "data directory after the WAL, cleanly stopped");
  app.add_option("--start", arguments.start, "LSN of the first record; default: the base's checkpoint");
  app.add_option("--pg-version", arguments.options.pg_version, "major version");
  app.add_option("--fuzz-seeds", arguments.fuzz_seeds, "directory for inputs of redo_fuzz, one per record type");
  app.add_flag("--hints", arguments.options.data_checksums_or_wal_log_hints, "data checksums or wal_log_hints are on");
  app.add_flag("--commit-ts", arguments.options.track_commit_timestamp, "track_commit_timestamp is on");
  CLI11_PARSE(app, argc, argv);
  const auto right = helium::redo::run(arguments);
  if (!right) {
    fmt::print(stderr, "redo_oracle: {}\n", right.error().message);
    return 2;
  }
  return *right ? 0 : 1;
}
