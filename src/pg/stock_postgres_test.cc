// Our WAL and control file against the real thing: a throw-away cluster of the installed PostgreSQL 15.
// Skipped where that is not installed.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "pg/control_file.h"
#include "pg/testing.h"
#include "pg/wal_record.h"
#include "pg/wal_segment.h"

namespace helium::pg {
namespace {

namespace fs = std::filesystem;
constexpr const char* kBin = "/usr/lib/postgresql/15/bin";

struct Output {
  int status = -1;
  std::string text;
};

class StockPostgres : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(fmt::format("{}/initdb", kBin))) GTEST_SKIP() << "no PostgreSQL 15 in " << kBin;
    if (geteuid() == 0) as_user_ = "setpriv --reuid=postgres --regid=postgres --clear-groups ";
    char name[] = "/tmp/helium_pg_test_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    if (geteuid() == 0) {
      ASSERT_EQ(run(fmt::format("chown postgres:postgres {}", root_.string())).status, 0);
    }
    const Output made = server_tool(fmt::format("initdb -D {} -U postgres -A trust -N --locale=C -E UTF8", data().string()));
    ASSERT_EQ(made.status, 0) << made.text;
    std::ofstream(data() / "postgresql.conf", std::ios::app)
        << "listen_addresses = ''\nunix_socket_directories = '" << root_.string() << "'\nfsync = off\n"
        << "wal_level = logical\nmax_wal_size = '1GB'\nwal_keep_size = '1GB'\nautovacuum = off\n";
  }
  void TearDown() override {
    if (root_.empty()) return;
    if (running_) stop();
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }

  fs::path data() const { return root_ / "data"; }
  static Output run(const std::string& command) {
    Output output;
    FILE* pipe = popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return output;
    char buffer[4096];
    for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.text.append(buffer, got);
    output.status = pclose(pipe);
    return output;
  }
  Output server_tool(const std::string& command) const { return run(fmt::format("{}{}/{}", as_user_, kBin, command)); }
  // Without a pipe: the server would keep it open.
  Output start() {
    Output output;
    output.status = std::system(fmt::format("{}{}/pg_ctl -D {} -l {}/log -w -t 20 start > /dev/null 2>&1", as_user_, kBin,
                                            data().string(), root_.string())
                                    .c_str());
    running_ = output.status == 0;
    output.text = run(fmt::format("cat {}/log", root_.string())).text;
    return output;
  }
  void stop() {
    EXPECT_EQ(server_tool(fmt::format("pg_ctl -D {} -m fast -w stop", data().string())).status, 0);
    running_ = false;
  }
  Output sql(const std::string& statements) const {
    return run(fmt::format("{}/psql -h {} -U postgres -d postgres -qXAt -v ON_ERROR_STOP=1 -c \"{}\"", kBin,
                           root_.string(), statements));
  }

  static Bytes read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
  }
  // Over an existing file, or a new one with the owner of the data directory.
  void write(const fs::path& path, ByteView bytes) const {
    std::ofstream(path, std::ios::binary) << as_text(bytes);
    struct stat owner;
    ASSERT_EQ(stat(data().c_str(), &owner), 0);
    ASSERT_EQ(chown(path.c_str(), owner.st_uid, owner.st_gid), 0);
    ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  }
  fs::path segment_path(uint64_t segno) const { return data() / "pg_wal" / wal_segment_name(1, segno); }
  ControlFile control() const {
    auto file = ControlFile::parse(read(data() / "global/pg_control"), 15);
    EXPECT_TRUE(file) << file.error().message;
    return std::move(*file);
  }

  // All records from `start` to the end of WAL, by our decoder: "start length rmgr prev".
  std::vector<std::string> our_records(Lsn start, Lsn* end = nullptr) const {
    std::vector<std::string> lines;
    WalStreamDecoder decoder(start);
    for (uint64_t segno = wal_segment_number(start); fs::exists(segment_path(segno)); ++segno) {
      const Bytes bytes = read(segment_path(segno));
      decoder.feed(ByteView(bytes).subspan(decoder.fed_lsn() - wal_segment_start(segno)));
      while (true) {
        const auto view = decoder.next();
        if (!view || !*view) break;
        const auto record = decode_record((*view)->bytes, 15);
        EXPECT_TRUE(record) << record.error().message;
        lines.push_back(fmt::format("{} {} {} {}", (*view)->start_lsn.bytes(), (*view)->bytes.size(),
                                    rmgr_name(record->rmgr), record->prev_lsn.bytes()));
      }
    }
    if (end != nullptr) *end = decoder.record_end_lsn();
    return lines;
  }
  // The same by pg_waldump.
  std::vector<std::string> pg_waldump_records(Lsn start) const {
    std::vector<std::string> lines;
    std::istringstream dump(run(fmt::format("{}/pg_waldump -p {}/pg_wal -s {}", kBin, data().string(), to_string(start))).text);
    for (std::string line; std::getline(dump, line);) {
      char rmgr[32];
      unsigned length, lsn_high, lsn_low, prev_high, prev_low;
      if (sscanf(line.c_str(), "rmgr: %31s len (rec/tot): %*u/ %u, tx: %*u, lsn: %X/%X, prev %X/%X", rmgr, &length,
                 &lsn_high, &lsn_low, &prev_high, &prev_low) != 6) {
        continue;
      }
      for (char* c = rmgr; *c != 0; ++c) *c = static_cast<char>(tolower(*c));
      lines.push_back(fmt::format("{} {} {} {}", uint64_t{lsn_high} << 32 | lsn_low, length, rmgr,
                                  uint64_t{prev_high} << 32 | prev_low));
    }
    return lines;
  }

  // Makes the stopped cluster start from a checkpoint at x that never happened.
  void plant_checkpoint(Lsn x, Lsn prev_record_start) {
    ControlFile file = control();
    const auto built = build_shutdown_checkpoint(x, prev_record_start, file.checkpoint(), file.system_identifier(), 15);
    for (const auto& entry : fs::directory_iterator(data() / "pg_wal")) {
      if (entry.is_regular_file()) fs::remove(entry.path());
    }
    uint64_t segno = wal_segment_number(x);
    for (const Bytes& segment : build_sparse_segments(x, built.wal, file.system_identifier(), 15)) {
      write(segment_path(segno++), segment);
    }
    file.set_shutdown_checkpoint(built.record_start, built.checkpoint, 1763808000);
    write(data() / "global/pg_control", file.encode());
  }

  fs::path root_;
  std::string as_user_;
  bool running_ = false;
};

// Goal: every record that a server writes is seen as PostgreSQL itself sees it.
// Method: a load that touches all built-in index types, prepared transactions, switches and all image compressions.
TEST_F(StockPostgres, WeReadItsWalAsPgWaldumpDoes) {
  const Output started = start();
  ASSERT_EQ(started.status, 0) << started.text;
  const Output done = sql(
      "create table t(a int primary key, b text); insert into t select g, repeat(md5(g::text), 5) from "
      "generate_series(1, 2000) g; create index on t using hash (a); create index on t using gin "
      "(string_to_array(b, 'a')); create index on t using brin (a); create index on t using spgist (b); "
      "create index on t using gist (point(a, a));");
  ASSERT_EQ(done.status, 0) << done.text;
  for (const char* compression : {"pglz", "lz4", "zstd", "off"}) {
    const Output updated = sql(fmt::format("set wal_compression = {}; checkpoint; update t set b = b || 'x' where a % 10 = 0",
                                           compression));
    ASSERT_EQ(updated.status, 0) << updated.text;
  }
  ASSERT_EQ(sql("select pg_logical_emit_message(true, 'long', repeat('x', 100000)); select pg_switch_wal()").status, 0);
  ASSERT_EQ(sql("delete from t where a % 3 = 0; drop table t").status, 0);
  ASSERT_EQ(sql("create database other").status, 0);
  stop();
  const Lsn start(wal_segment_start(1) + kWalLongPageHeader);
  const auto ours = our_records(start), theirs = pg_waldump_records(start);
  EXPECT_GT(ours.size(), 20000u);
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) ASSERT_EQ(ours[i], theirs[i]) << "record " << i;
}

// Goal: a server starts from our checkpoint wherever X lies, and its WAL chains on from it.
TEST_F(StockPostgres, StartsFromASyntheticCheckpointAtAwkwardPlaces) {
  constexpr uint64_t kPage = kWalPageSize, kSegment = kWalSegmentSize;
  // Distance of x from a segment's start: a page's start, 8 bytes before a page's end, the record header torn, its data
  // torn, a segment's start, and over a segment's end.
  const uint64_t places[] = {5 * kPage, 9 * kPage - 8, 11 * kPage - 16, 13 * kPage - 56, kSegment, 2 * kSegment - 16};
  int round = 0;
  for (const uint64_t place : places) {
    ++round;
    const Lsn last = control().checkpoint_lsn();
    const Lsn x = wal_segment_start(wal_segment_number(last) + 1) + place;
    SCOPED_TRACE(::testing::Message() << "x " << to_string(x));
    plant_checkpoint(x, last);
    if (HasFatalFailure()) return;
    const Output started = start();
    ASSERT_EQ(started.status, 0) << started.text;
    EXPECT_EQ(started.text.find("not properly shut down"), std::string::npos) << "it went through recovery";
    const Output done = sql(fmt::format("create table t{} as select generate_series(1, 1000) a; checkpoint; "
                                        "insert into t{} values (5)", round, round));
    ASSERT_EQ(done.status, 0) << done.text;
    EXPECT_EQ(sql(fmt::format("select count(*) from t{}", round)).text, "1001\n");
    stop();

    const Lsn record = wal_record_start_after(x);
    Lsn end;
    const auto ours = our_records(record, &end), theirs = pg_waldump_records(record);
    EXPECT_GT(ours.size(), 1000u);
    ASSERT_EQ(ours, theirs);
    EXPECT_EQ(ours[0], fmt::format("{} 114 xlog {}", record.bytes(), last.bytes()));
    EXPECT_EQ(our_records(x), ours) << "the end of the record before is as good a start as its own";
    EXPECT_GT(end, control().checkpoint_lsn());
  }
}

}  // namespace
}  // namespace helium::pg
