// Goal: the data directory holds what PostgreSQL needs to start at X, and nothing leads outside of it.
// Method: one made from a handmade answer of the pageserver; the files are read back. That PostgreSQL starts from it is
// the integration tests' part.

#include "compute/data_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>

#include "io/durable_file.h"
#include "pg/constants.h"
#include "pg/wal_stream.h"

namespace helium::compute {
namespace {

namespace fs = std::filesystem;

class DataDirectoryTest : public testing::Test {
 protected:
  DataDirectoryTest() {
    char name[] = "/tmp/helium-datadir-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~DataDirectoryTest() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST(SafePath, StaysInside) {
  for (const char* good : {"PG_VERSION", "base/5/pg_filenode.map", "a..b/c"}) EXPECT_TRUE(is_safe_relative_path(good)) << good;
  for (const char* bad : {"", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", ".."}) EXPECT_FALSE(is_safe_relative_path(bad)) << bad;
}

TEST_F(DataDirectoryTest, EarlierLivesAreMovedAsideAndRemoved) {
  ASSERT_TRUE(make_empty_folders(folder_));
  ASSERT_TRUE(write_durable(folder_ / "pgdata" / "old", as_bytes("x")));
  ASSERT_TRUE(write_durable(folder_ / "cache" / "old", as_bytes("x")));
  ASSERT_TRUE(make_empty_folders(folder_));
  EXPECT_TRUE(fs::is_empty(folder_ / "pgdata"));
  EXPECT_TRUE(fs::is_empty(folder_ / "cache"));
  EXPECT_EQ(fs::status(folder_ / "pgdata").permissions(), fs::perms::owner_all);
  std::atomic<bool> stop = true;
  remove_trash(folder_, stop);
  EXPECT_TRUE(fs::exists(folder_ / "trash")) << "the next life goes on with it";
  stop = false;
  remove_trash(folder_, stop);
  EXPECT_FALSE(fs::exists(folder_ / "trash"));
}

TEST_F(DataDirectoryTest, WalSegmentsAreWholeFilesWithReservedSpace) {
  const Lsn x(2 * pg::kWalSegmentSize - 16);
  const Bytes wal(48, std::byte{7});  // runs into the next segment
  ASSERT_TRUE(write_wal_segments(folder_, pg::build_sparse_pieces(x, wal, 77, 15)));
  const std::vector<Bytes> wanted = pg::build_sparse_segments(x, wal, 77, 15);
  ASSERT_EQ(wanted.size(), 2u);
  for (uint64_t segno : {1, 2}) {
    const fs::path path = folder_ / pg::wal_segment_name(1, segno);
    const Result<Bytes> back = read_file(path);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, wanted[segno - 1]);
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_GE(static_cast<uint64_t>(status.st_blocks) * 512, pg::kWalSegmentSize);
  }
}

TEST_F(DataDirectoryTest, AnAnswerThatLeadsOutsideIsRefused) {
  for (const bool as_file : {false, true}) {
    wire::BootstrapReply bootstrap;
    bootstrap.pg_version = 15;
    if (as_file) {
      bootstrap.files.push_back({"../evil", 0600, {}});
    } else {
      bootstrap.folders.push_back("base/../../evil");
    }
    const fs::path pgdata = folder_ / (as_file ? "a" : "b");
    fs::create_directory(pgdata);
    const Status written = write_data_directory(pgdata, {bootstrap, {}, {}, 0});
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, ErrorCode::kInvalid);
    EXPECT_FALSE(fs::exists(folder_ / "evil"));
  }
}

TEST_F(DataDirectoryTest, TablespacesAreLinksOfTheAnswerAndNothingElse) {
  const auto link = [](std::string path, std::string_view location) {
    const ByteView bytes = as_bytes(location);
    return wire::BootstrapFile{std::move(path), S_IFLNK | 0777, Bytes(bytes.begin(), bytes.end())};
  };
  wire::BootstrapReply bootstrap;
  bootstrap.files = {{"PG_VERSION", 0600, {}}, link("pg_tblspc/16400", "/mnt/fast"), link("pg_tblspc/16401", "/b")};
  const auto tablespaces = tablespaces_of(bootstrap);
  ASSERT_TRUE(tablespaces) << tablespaces.error().message;
  EXPECT_EQ(*tablespaces, (std::vector<Tablespace>{{16400, "/mnt/fast"}, {16401, "/b"}}));
  for (const wire::BootstrapFile& bad :
       {link("pg_tblspc/16400", ""), link("pg_tblspc/16400", "relative"), link("pg_tblspc/16400", std::string_view("/a\0b", 4)),
        link("pg_tblspc/16400", "/" + std::string(1023, 'x')), link("base/5", "/a"), link("pg_tblspc/../x", "/a"),
        link("/etc/passwd", "/a")}) {
    bootstrap.files = {bad};
    EXPECT_FALSE(tablespaces_of(bootstrap)) << bad.path;
  }
}

// Rule 11: the checkpoint crosses a page at 1.4 % of all offsets, and now and then a segment.
TEST_F(DataDirectoryTest, TheStartCheckpointParsesAtEveryOffset) {
  for (uint64_t offset = 0; offset < pg::kWalPageSize; offset += 8) {
    const Lsn page(offset % 16 == 0 ? 0x3000000 : 0x4000000 - pg::kWalPageSize);
    if (offset != 0 && offset < pg::wal_page_header_size(page)) continue;
    wire::BootstrapReply bootstrap;
    bootstrap.pg_version = 15;
    bootstrap.system_identifier = 77;
    bootstrap.lsn = page + offset;
    bootstrap.prev_record_start = Lsn(page.bytes() - 200);
    bootstrap.checkpoint.next_full_xid = 12345;
    const pg::SyntheticCheckpoint checkpoint =
        make_start_checkpoint(bootstrap, PgSettings{.full_page_writes = true, .wal_level = 2}, 1795000000);
    EXPECT_TRUE(checkpoint.checkpoint.full_page_writes);
    EXPECT_EQ(checkpoint.checkpoint.wal_level, 2);
    EXPECT_EQ(checkpoint.checkpoint.redo, checkpoint.record_start);
    EXPECT_EQ(checkpoint.checkpoint.next_full_xid, 12345u);
    EXPECT_EQ(checkpoint.checkpoint.time, 1795000000);
    pg::WalStreamDecoder decoder(bootstrap.lsn);
    decoder.feed(checkpoint.wal);
    const auto record = decoder.next();
    ASSERT_TRUE(record && *record) << offset;
    EXPECT_EQ((*record)->end_lsn, checkpoint.end_lsn);
  }
}

}  // namespace
}  // namespace helium::compute
