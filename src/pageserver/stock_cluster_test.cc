// Goal: what the pageserver makes of a cluster's WAL is what PostgreSQL has on its own disk.
// Method: a stock cluster starts from the very initdb image that a timeline was imported from, works, and stops. Its
// pg_wal goes through ingest, in the middle of which the pageserver's folder is copied as a kill -9 would leave it and
// opened again. Then every block of every fork, sizes and SLRU pages are compared with the cluster's files: hint bits
// and what PostgreSQL masks aside, but visibility maps and PD_ALL_VISIBLE in full. Every check image in the WAL is
// compared with our redo, too.

#include <fcntl.h>
#include <gtest/gtest.h>

#include "io/durable_file.h"
#include "pageserver/format.h"
#include "pageserver/bootstrap.h"
#include "pageserver/metrics.h"
#include "pageserver/stock_cluster.h"
#include "pageserver/tenants.h"
#include "pg/page.h"
#include "pg/wal_stream.h"
#include "redo/mask.h"

namespace helium::pageserver {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWorkload = R"(
create table plain(id int primary key, payload text);
insert into plain select g, repeat('x', g % 300) from generate_series(1, 3000) g;
update plain set payload = payload || 'y' where id % 3 = 0;
delete from plain where id % 7 = 0;
vacuum plain;
update plain set payload = 'z' where id between 100 and 140;
create table toasted(id serial, big text);
alter table toasted alter big set storage external;
insert into toasted(big) select repeat(md5(g::text), 200) from generate_series(1, 60) g;
create index on plain using hash(payload);
create table words(id int, tags int[], area box, name text);
insert into words select g, array[g, g % 10, g % 100], box(point(g, g), point(g + 1, g + 2)), md5(g::text)
  from generate_series(1, 2000) g;
create index on words using gin(tags);
create index on words using gist(area);
create index on words using spgist(name);
create index on words using brin(id);
insert into words select g, array[g, g % 10], box(point(g, g), point(g + 1, g + 2)), md5(g::text)
  from generate_series(2001, 3000) g;
delete from words where id % 5 = 0;
vacuum words;
-- subtransactions, savepoints, rows locked by several
begin; insert into plain values(100001, 'a'); savepoint s; insert into plain values(100002, 'b');
rollback to s; insert into plain values(100003, 'c'); commit;
begin; insert into plain values(100004, 'd'); rollback;
begin; select * from plain where id = 1 for share; savepoint t; select * from plain where id = 1 for update;
update plain set payload = 'multi' where id = 1; commit;
-- two-phase
create table in_doubt(id int);
begin; insert into in_doubt values(1); prepare transaction 'kept';
begin; insert into plain values(200002, 'q'); prepare transaction 'done'; commit prepared 'done';
begin; insert into plain values(200003, 'r'); prepare transaction 'gone'; rollback prepared 'gone';
-- truncation, drops, unlogged, sequences
create table shrinking(id int, filler text);
insert into shrinking select g, repeat('f', 500) from generate_series(1, 4000) g;
vacuum shrinking;
delete from shrinking where id > 300;
vacuum shrinking;
insert into shrinking select g, repeat('g', 500) from generate_series(1, 1000) g;
create table dropped(id int); insert into dropped select generate_series(1, 1000); drop table dropped;
create table emptied(id int primary key); insert into emptied select generate_series(1, 1000); truncate emptied;
insert into emptied values(1);
create unlogged table fleeting(id int primary key); insert into fleeting select generate_series(1, 1000);
create sequence counting; select nextval('counting') from generate_series(1, 100);
alter table plain add column extra int default 7;
cluster plain using plain_pkey;
vacuum full words;
vacuum (freeze) plain;
-- databases
create database by_wal strategy wal_log;
create database by_copy strategy file_copy;
create database short_lived strategy file_copy;
drop database short_lived;
)";

struct Kind {
  uint8_t rmgr = static_cast<uint8_t>(pg::Rmgr::kHeap);
};

class Imported {
 public:
  explicit Imported(fs::path data_dir, bool check_redo) : data_dir_(std::move(data_dir)) {
    options_.data_dir = data_dir_;
    options_.timeline.check_redo = check_redo;
    options_.timeline.page_cache = std::make_shared<PageCache>(16 << 20);
    options_.timeline.metrics = std::make_shared<Metrics>();
    options_.timeline.checkpoint_distance_bytes = 4 << 20;
    reopen();
  }
  void reopen() {
    tenants_.reset();
    auto opened = Tenants::open(options_);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    tenants_ = std::move(*opened);
  }
  // As if the process had been killed: what is on disk now is all that is left.
  void reopen_a_copy_of_the_disk() {
    const fs::path copy = data_dir_.string() + ".copy";
    fs::remove_all(copy);
    fs::copy(data_dir_, copy, fs::copy_options::recursive);
    tenants_.reset();
    fs::remove_all(data_dir_);
    fs::rename(copy, data_dir_);
    reopen();
  }
  Tenants& tenants() { return *tenants_; }

 private:
  fs::path data_dir_;
  TenantsOptions options_;
  std::unique_ptr<Tenants> tenants_;
};

class StockClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!StockCluster::is_available()) GTEST_SKIP() << "needs Debian's postgresql-15";
    char folder[] = "/tmp/helium-pageserver-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  void TearDown() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  void run(const std::string& settings, bool expect_check_images) {
    Imported imported(folder_ / "ps", true);
    ASSERT_FALSE(HasFatalFailure());
    const TenantTimelineId id{random_id<TenantId>(), random_id<TimelineId>()};
    ASSERT_TRUE(imported.tenants().create_tenant(id.tenant).has_value());
    auto created = imported.tenants().create_timeline(id.tenant, {.id = id.timeline});
    ASSERT_TRUE(created.has_value()) << created.error().message;
    fs::path image;
    for (const auto& entry : fs::directory_iterator(folder_ / "ps" / "initdb_cache")) image = entry.path();

    StockCluster stock(image, "max_prepared_transactions=5\nautovacuum=off\n" + settings);
    stock.start();
    if (HasFailure()) return;
    stock.sql(kWorkload);
    stock.sql("create table more as select generate_series(1,1000) id; create index on more(id);", "by_copy");
    stock.sql("create table more as select generate_series(1,1000) id; create index on more(id);", "by_wal");
    stock.pgbench("-i -s 1 -q");
    stock.pgbench("-c 4 -j 2 -t 100 -n");
    stock.sql("vacuum (skip_locked); checkpoint;");
    stock.pgbench("-c 4 -j 2 -t 50 -n");
    for (const char* database : {"postgres", "by_copy", "by_wal", "template1"}) read_kinds(stock, database);
    by_wal_ = std::stoul(stock.sql("select oid from pg_database where datname = 'by_wal'"));
    const std::string commits = stock.sql("select txid_snapshot_xmax(txid_current_snapshot())");
    stock.stop();
    if (HasFailure()) return;

    std::shared_ptr<Timeline> timeline = *created;
    created = fail(ErrorCode::kInternal, "");
    feed(timeline, stock.data_dir(), 0.5);
    timeline.reset();
    imported.reopen_a_copy_of_the_disk();
    timeline = *imported.tenants().find(id);
    ASSERT_GT(timeline->last_record_lsn(), timeline->start_lsn());
    feed(timeline, stock.data_dir(), 1.0);
    if (HasFailure()) return;
    compare_relations(*timeline, stock.data_dir());
    compare_slrus(*timeline, stock.data_dir());
    compare_bootstrap(*timeline, stock.data_dir(), std::stoull(commits));

    uint64_t compared = 0;
    for (const auto& [type, count] : timeline->oracle()->counts()) {
      compared += count.compared;
      EXPECT_EQ(count.differences, 0u) << type << ": " << count.first_difference;
    }
    if (expect_check_images) {
      EXPECT_GT(compared, 1000u);
    }
    EXPECT_TRUE(timeline->checkpoint().has_value());
    EXPECT_EQ(timeline->disk_consistent_lsn(), timeline->last_record_lsn());
    // The same from layer files alone.
    timeline.reset();
    imported.reopen();
    timeline = *imported.tenants().find(id);
    compare_relations(*timeline, stock.data_dir());
  }

  void read_kinds(StockCluster& stock, const std::string& database) {
    const std::string rows = stock.sql(
        "select (select oid from pg_database where datname = current_database()), pg_relation_filenode(c.oid), relkind, "
        "coalesce(amname, '-') from pg_class c left join pg_am a on a.oid = c.relam "
        "where pg_relation_filenode(c.oid) is not null", database);
    size_t at = 0;
    while (at < rows.size()) {
      const size_t end = std::min(rows.find('\n', at), rows.size());
      char relkind = 0, am[64] = "";
      unsigned db = 0, node = 0;
      if (sscanf(rows.substr(at, end - at).c_str(), "%u|%u|%c|%63s", &db, &node, &relkind, am) == 4) {
        const std::map<std::string, pg::Rmgr> by_am = {{"btree", pg::Rmgr::kBtree}, {"hash", pg::Rmgr::kHash},
                                                       {"gin", pg::Rmgr::kGin},     {"gist", pg::Rmgr::kGist},
                                                       {"spgist", pg::Rmgr::kSpgist}, {"brin", pg::Rmgr::kBrin}};
        pg::Rmgr rmgr = pg::Rmgr::kHeap;
        if (relkind == 'S') rmgr = pg::Rmgr::kSeq;
        else if (const auto found = by_am.find(am); found != by_am.end()) rmgr = found->second;
        kinds_[{db, node}].rmgr = static_cast<uint8_t>(rmgr);
        kinds_[{0, node}].rmgr = static_cast<uint8_t>(rmgr);
      }
      at = end + 1;
    }
  }

  // WAL from where the timeline ends, up to a part of all.
  void feed(const std::shared_ptr<Timeline>& timeline, const fs::path& data_dir, double part) {
    const pg::ControlFile control = *pg::ControlFile::parse(*read_file(data_dir / "global" / "pg_control"), 15);
    const Lsn last_record = control.checkpoint_lsn();
    const Lsn from = timeline->start_lsn();
    const Lsn until(from.bytes() + static_cast<uint64_t>(part * static_cast<double>(last_record - from)));
    auto start = timeline->start_ingest();
    ASSERT_TRUE(start.has_value()) << start.error().message;
    pg::WalStreamDecoder decoder(*start);
    Bytes chunk;
    uint64_t records = 0;
    const auto begun = Clock::now();
    Lsn at = *start;
    while (true) {
      auto record = decoder.next();
      ASSERT_TRUE(record.has_value()) << record.error().message;
      if (!*record) {
        const fs::path path = data_dir / "pg_wal" / pg::wal_segment_name(1, pg::wal_segment_number(at));
        const auto segment = open_file(path, O_RDONLY);
        ASSERT_TRUE(segment.has_value()) << segment.error().message;
        const uint32_t offset = pg::wal_segment_offset(at);
        const uint32_t size = std::min<uint32_t>(64 * 1024, pg::kWalSegmentSize - offset);
        chunk.resize(size);
        ASSERT_TRUE(pread_exact(*segment, chunk, offset).has_value());
        decoder.feed(chunk);
        at = at + size;
        continue;
      }
      auto done = timeline->ingest(**record);
      ASSERT_TRUE(done.has_value()) << done.error().message;
      ASSERT_TRUE(timeline->freeze_if_due(Clock::now()).has_value());
      ++records;
      if ((*record)->start_lsn >= until) break;
    }
    EXPECT_GT(records, 100u);
    const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
    RecordProperty("ingest_mb_per_second", static_cast<int>(static_cast<double>(at - *start) / 1e6 / seconds));
    fprintf(stderr, "ingested %llu records, %.0f MB/s\n", static_cast<unsigned long long>(records),
            static_cast<double>(at - *start) / 1e6 / seconds);
    ASSERT_TRUE(timeline->store()->flush_and_wait().has_value());
  }

  static std::vector<std::string> relation_files(const fs::path& data_dir) {
    std::vector<std::string> files;
    std::vector<std::string> folders = {"global"};
    for (const std::string& database : databases(data_dir)) folders.push_back("base/" + database);
    for (const std::string& folder : folders)
      for (const auto& entry : fs::directory_iterator(data_dir / folder)) files.push_back(folder + "/" + entry.path().filename().string());
    return files;
  }

  void compare_relations(const Timeline& timeline, const fs::path& data_dir) {
    const Lsn lsn = timeline.last_record_lsn();
    uint64_t blocks = 0, differences = 0;
    std::map<pg::RelTag, bool> seen;
    for (const std::string& name : relation_files(data_dir)) {
      const auto file = pg::parse_rel_path(name);
      if (!file || file->rel.forknum == pg::Fork::kFsm) continue;
      seen[file->rel] = true;
      const Bytes content = *read_file(data_dir / name);
      const auto size = *timeline.reader().rel_size(file->rel, lsn);
      pg::RelTag init = file->rel;
      init.forknum = pg::Fork::kInit;
      if (!size) {
        // Unlogged main forks, and maps in which nothing was ever set, are not in the WAL.
        EXPECT_TRUE(content.empty() || *timeline.reader().rel_size(init, lsn) || is_unlogged_page(file->rel, content))
            << name << " is missing";
        continue;
      }
      const uint32_t stock_blocks = static_cast<uint32_t>(content.size() / pg::kBlockSize);
      EXPECT_LE(size->nblocks, stock_blocks) << name;
      for (uint32_t blkno = 0; blkno < stock_blocks; ++blkno) {
        const ByteView theirs = ByteView(content).subspan(blkno * pg::kBlockSize, pg::kBlockSize);
        if (blkno >= size->nblocks) {  // extended, never logged
          EXPECT_TRUE(is_unlogged_page(file->rel, theirs)) << name << " blk " << blkno << " is behind our end";
          continue;
        }
        ++blocks;
        const std::string difference = compare_block(timeline, file->rel, blkno, lsn, theirs);
        if (!difference.empty() && ++differences < 10) ADD_FAILURE() << name << " blk " << blkno << ": " << difference;
      }
    }
    EXPECT_EQ(differences, 0u);
    EXPECT_GT(blocks, 5000u);
    for (const std::string& database : databases(data_dir)) {
      const auto rels = timeline.reader().list_rels(pg::kDefaultTablespace, std::stoul(database), lsn);
      for (const auto& fork : *rels) EXPECT_TRUE(seen.contains(fork.rel)) << to_string(fork.rel) << " exists only in storage";
    }
  }

  static std::vector<std::string> databases(const fs::path& data_dir) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(data_dir / "base"))
      if (isdigit(entry.path().filename().string()[0])) names.push_back(entry.path().filename().string());
    return names;
  }
  // Made by extension alone: zeros, or a map page of which only the header was made.
  static bool is_unlogged_page(const pg::RelTag& rel, ByteView page) {
    page = page.first(pg::kBlockSize);
    if (rel.forknum != pg::Fork::kVm) return pg::page_all_zero(page);
    return std::all_of(page.begin() + 24, page.end(), [](std::byte b) { return b == std::byte{0}; });
  }

  std::string compare_block(const Timeline& timeline, const pg::RelTag& rel, uint32_t blkno, Lsn lsn, ByteView theirs) {
    auto page = timeline.reader().get_rel_page(rel, blkno, lsn);
    if (!page) return page.error().message;
    Bytes ours = page->to_bytes();
    Bytes stock(theirs.begin(), theirs.end());
    if (rel.forknum == pg::Fork::kVm) {
      const auto at = redo::compare_pages(ByteView(ours).subspan(24), ByteView(stock).subspan(24));
      // CREATE DATABASE with strategy WAL_LOG logs map pages as standard pages: their content is the "hole", and not in
      // the WAL. PostgreSQL itself loses those bits in a crash; they come back with the next VACUUM.
      if (!at || (is_unlogged_page(rel, ours) && rel.dbnode == by_wal_)) return {};
      return fmt::format("map byte {}: ours {:02x} stock {:02x}", *at + 24, (unsigned)ours[*at + 24], (unsigned)stock[*at + 24]);
    }
    const auto kind = kinds_.find({rel.dbnode, rel.relnode});
    const uint8_t rmgr = kind == kinds_.end() ? static_cast<uint8_t>(pg::Rmgr::kHeap) : kind->second.rmgr;
    // Not in the WAL: how far a sequence is inside its 32 pre-logged values, and SP-GiST's list of pages with room.
    if (rmgr == static_cast<uint8_t>(pg::Rmgr::kSeq)) return {};
    if (rmgr == static_cast<uint8_t>(pg::Rmgr::kSpgist) && blkno == 0) return {};
    if (rmgr == static_cast<uint8_t>(pg::Rmgr::kHeap) &&
        ((pg::page_flags(ours) ^ pg::page_flags(stock)) & pg::kPdAllVisible) != 0)
      return "PD_ALL_VISIBLE differs";
    for (Bytes* copy : {&ours, &stock})
      if (auto masked = redo::mask_page(rmgr, 0, rel, blkno, *copy); !masked) return masked.error().message;
    const auto at = redo::compare_pages(ours, stock);
    if (!at) return {};
    return fmt::format("byte {} ours {:02x} stock {:02x} (rmgr {}, our lsn {}, stock lsn {})", *at, (unsigned)ours[*at],
                       (unsigned)stock[*at], rmgr, pg::page_lsn(*page), pg::page_lsn(theirs));
  }

  void compare_slrus(const Timeline& timeline, const fs::path& data_dir) {
    const Lsn lsn = timeline.last_record_lsn();
    uint32_t pages = 0;
    const auto segments = timeline.reader().list_slru(lsn);
    for (const auto& fork : *segments) {
      const fs::path path = data_dir / to_string(fork.segment);
      auto content = read_file(path);
      ASSERT_TRUE(content.has_value()) << path << " exists only in storage";
      EXPECT_EQ(content->size(), fork.npages * size_t{pg::kBlockSize}) << path;
      for (uint32_t page = 0; page < fork.npages; ++page) {
        auto ours = timeline.reader().get_slru_page(fork.segment, page, lsn);
        ASSERT_TRUE(ours.has_value()) << ours.error().message;
        const auto at = redo::compare_pages(*ours, ByteView(*content).subspan(page * 8192, 8192));
        EXPECT_FALSE(at.has_value()) << path << " page " << page << " byte " << *at;
        ++pages;
      }
    }
    EXPECT_GE(pages, 3u);
  }

  // What a compute would start from is what pg_control says after the shutdown.
  void compare_bootstrap(const Timeline& timeline, const fs::path& data_dir, uint64_t next_xid) {
    const pg::ControlFile control = *pg::ControlFile::parse(*read_file(data_dir / "global" / "pg_control"), 15);
    auto reply = build_bootstrap(timeline, timeline.last_record_lsn());
    ASSERT_TRUE(reply.has_value()) << reply.error().message;
    EXPECT_EQ(reply->prev_record_start, control.checkpoint_lsn());
    EXPECT_EQ(reply->checkpoint, control.checkpoint());
    EXPECT_GE(reply->checkpoint.next_full_xid, next_xid);
    std::map<std::string, const Bytes*> files;
    for (const auto& file : reply->files) files[file.path] = &file.content;
    uint32_t compared = 0;
    for (const auto& [path, content] : files) {
      auto theirs = read_file(data_dir / path);
      ASSERT_TRUE(theirs.has_value()) << path << " exists only in storage";
      EXPECT_EQ(*content, *theirs) << path;
      ++compared;
    }
    EXPECT_GE(compared, 12u);
    uint32_t prepared = 0;
    for (const auto& entry : fs::directory_iterator(data_dir / "pg_twophase")) {
      EXPECT_TRUE(files.contains("pg_twophase/" + entry.path().filename().string())) << entry.path();
      ++prepared;
    }
    EXPECT_EQ(prepared, 1u);
    for (const std::string& database : databases(data_dir))
      EXPECT_TRUE(files.contains("base/" + database + "/pg_filenode.map")) << database;
  }

  fs::path folder_;
  std::map<std::pair<uint32_t, uint32_t>, Kind> kinds_;
  uint32_t by_wal_ = 0;
};

TEST_F(StockClusterTest, StoresTheSamePagesAsPostgresWithoutFullPageWrites) {
  run("full_page_writes=off\nwal_consistency_checking=all\n", true);
}

TEST_F(StockClusterTest, StoresTheSamePagesAsPostgresWithFullPageWritesAndCommitTimestamps) {
  run("full_page_writes=on\nwal_consistency_checking='gin,gist,hash,spgist,brin,generic'\n"
      "track_commit_timestamp=on\nwal_log_hints=on\nwal_compression=on\n", false);
}

}  // namespace
}  // namespace helium::pageserver
