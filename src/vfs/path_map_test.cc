#include "vfs/path_map.h"

#include <gtest/gtest.h>

#include <string>

namespace helium::vfs {
namespace {

std::string shown(const char* text) {
  const MappedPath path = map_path(text);
  static constexpr const char* kKinds[] = {"plain", "rel", "slru", "wal", "rel dir", "slru dir", "tablespace", "wal temp"};
  std::string result = kKinds[static_cast<int>(path.kind)];
  if (path.kind == PathKind::kPlain) return result;
  char name[kCachePathMax];
  format_cache_path(path, name);
  return result + " " + name;
}

TEST(PathMap, BlocksAreKnownByTheirNames) {
  EXPECT_EQ(shown("base/5/16384"), "rel base/5/16384");
  EXPECT_EQ(shown("base/5/16384.1"), "rel base/5/16384.1");
  EXPECT_EQ(shown("base/5/16384_vm.12"), "rel base/5/16384_vm.12");
  EXPECT_EQ(shown("base/4294967295/4294967295_init.131071"), "rel base/4294967295/4294967295_init.131071");
  EXPECT_EQ(shown("./base//5///1_fsm"), "rel base/5/1_fsm");
  EXPECT_EQ(shown("global/1262"), "rel global/1262");
  EXPECT_EQ(shown("global"), "rel dir global");
  EXPECT_EQ(shown("base/5/"), "rel dir base/5");
  EXPECT_EQ(shown("pg_xact/0000"), "slru pg_xact/0000");
  EXPECT_EQ(shown("pg_xact/1ABCD"), "slru pg_xact/1ABCD");
  EXPECT_EQ(shown("pg_multixact/members/00FF"), "slru pg_multixact/members/00FF");
  EXPECT_EQ(shown("pg_multixact/offsets/"), "slru dir pg_multixact/offsets");
  EXPECT_EQ(shown("pg_commit_ts"), "slru dir pg_commit_ts");
}

TEST(PathMap, WalAndTablespacesAreKnown) {
  const MappedPath wal = map_path("pg_wal/000000010000000A000000FE");
  EXPECT_EQ(wal.kind, PathKind::kWalFile);
  EXPECT_EQ(wal.wal_log, 0xAu);
  EXPECT_EQ(wal.segno, 0xFEu);
  EXPECT_EQ(map_path("pg_wal/xlogtemp.4711").kind, PathKind::kWalTemp);
  for (const char* text : {"pg_tblspc/16400", "./pg_tblspc//16400/"}) EXPECT_EQ(map_path(text).kind, PathKind::kTablespaceLink) << text;
  EXPECT_EQ(map_path("pg_tblspc/16400").spcnode, 16400u);
  EXPECT_EQ(shown("pg_tblspc/16400/PG_15_202209061/5"), "rel dir pg_tblspc/16400/PG_/5");
  EXPECT_EQ(shown("pg_tblspc/16400/PG_15_202209061/5/1_vm.2"), "rel pg_tblspc/16400/PG_/5/1_vm.2");
  // The longest name there is.
  EXPECT_EQ(shown("pg_tblspc/4294967295/PG_15_202209061/4294967295/4294967295_init.4294967295"),
            "rel pg_tblspc/4294967295/PG_/4294967295/4294967295_init.4294967295");
  const MappedPath rel = map_path("pg_tblspc/16400/PG_15_202209061/5/16384");
  EXPECT_EQ(rel.spcnode, 16400u);
  EXPECT_EQ(rel.dbnode, 5u);
  EXPECT_EQ(rel.relnode, 16384u);
}

TEST(PathMap, EverythingElseStaysWhereItIs) {
  for (const char* text :
       {"", ".", "./", "/", "base", "base/", "base/5/t3_16384", "base/5/PG_VERSION", "base/5/pg_filenode.map", "base/05/1",
        "base/5/016384", "base/0/1", "base/5/0", "base/5/1_", "base/5/1_foo", "base/5/1.", "base/5/1.0", "base/5/1.01",
        "base/5/1_vm_vm", "base/5/4294967296", "base/5/../5/1", "base/5/1/", "base/5x/1", "global/pg_control", "globalx/1",
        "pg_xact/00", "pg_xact/000g", "pg_xact/000a", "pg_xact/0000000", "pg_xactx", "pg_multixact", "pg_wal/xlogtemp.", "pg_wal/xlogtemp.1x",
        "pg_wal/000000010000000000000001.partial", "pg_wal/00000001000000000000000", "pg_wal", "pg_tblspc",
        "pg_tblspc/0", "pg_tblspc/16400x", "pg_tblspc/16400PG_15/5/1", "pg_tblspc/16400/5/1", "pg_tblspc/16400/PG_15_202209061",
        "pg_tblspc/16400/PG_15_202209061/", "pg_tblspc/16400/PG_15_202209061/0/1", "pg_tblspc/16400/PG_15_202209061/pgsql_tmp",
        "pg_tblspc/16400/PG_15_202209061/5/PG_VERSION", "pg_tblspc/16400/PG_15_202209061/5/t3_1", "pg_tblspc/1663/PG_15_1/5/1",
        "pg_tblspc/1664/PG_15_1/5/1", "postgresql.conf", "pgsql_tmp", "..", "../base/5/1"})
    EXPECT_EQ(shown(text), "plain") << text;
}

}  // namespace
}  // namespace helium::vfs
