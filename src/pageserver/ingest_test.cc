// Goal: what a record does beyond the blocks that it names: sizes, gaps, truncation, drops, databases, counters; and
// earlier lives of a block never shine through (rule 17).
// Method: records put together by hand, read back at each LSN.

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "pageserver/bootstrap.h"
#include "pageserver/test_timeline.h"
#include "redo/brin_page.h"
#include "redo/redo.h"
#include "redo/side_effects.h"

namespace helium::pageserver {
namespace {

class IngestRecords : public TestTimeline {};

TEST_F(IngestRecords, EachVersionOfAPageStaysReadable) {
  const Lsn first = ingest(full_page(kRel, 0, 1));
  const Lsn second = ingest(full_page(kRel, 0, 2));
  EXPECT_EQ(fill_of(kRel, 0, first), 1);
  EXPECT_EQ(fill_of(kRel, 0, second), 2);
  EXPECT_EQ(nblocks(kRel, kStart), std::nullopt);
  EXPECT_EQ(nblocks(kRel, first), 1u);
}

TEST_F(IngestRecords, AGapIsZeroAndTheBlockBehindTheEndIsNoPage) {
  const Lsn lsn = ingest(full_page(kRel, 10, 1));
  EXPECT_EQ(nblocks(kRel, lsn), 11u);
  for (uint32_t blkno = 0; blkno < 10; ++blkno) EXPECT_EQ(fill_of(kRel, blkno, lsn), 0);
  EXPECT_EQ(fill_of(kRel, 10, lsn), 1);
  EXPECT_EQ(timeline_->reader().get_rel_page(kRel, 11, lsn).error().code, ErrorCode::kNotFound);
}

TEST_F(IngestRecords, ALargeGapIsOneMarkerWhateverTheBlockNumber) {
  const Lsn lsn = ingest(full_page(kRel, 4'000'000'000u, 1));
  EXPECT_LT(timeline_->store()->open_bytes(), 1u << 20);
  EXPECT_EQ(nblocks(kRel, lsn), 4'000'000'001u);
  EXPECT_EQ(fill_of(kRel, 0, lsn), 0);
  EXPECT_EQ(fill_of(kRel, 3'999'999'999u, lsn), 0);
  EXPECT_EQ(fill_of(kRel, 4'000'000'000u, lsn), 1);
  EXPECT_FALSE(try_ingest(full_page(kRel, UINT32_MAX, 1)).has_value());
}

TEST_F(IngestRecords, ARefusedRecordLeavesNothingBehind) {
  const Lsn before = timeline_->last_record_lsn();
  EXPECT_FALSE(try_ingest(full_page(kRel, UINT32_MAX, 1)).has_value());
  EXPECT_EQ(timeline_->last_record_lsn(), before);
  const Lsn lsn = ingest(full_page(kRel, 0, 1));
  EXPECT_EQ(nblocks(kRel, lsn), 1u);
}

TEST_F(IngestRecords, ARecordThatDoesNotFollowTheLastOneIsRefused) {
  ingest(full_page(kRel, 0, 1));
  last_start_ = kStart + 8;
  const auto refused = try_ingest(full_page(kRel, 0, 2));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kCorrupt);
}

TEST_F(IngestRecords, PagesOfAnEarlierLifeDoNotShineThroughAfterTruncation) {
  for (uint32_t blkno = 0; blkno < 8; ++blkno) ingest(full_page(kRel, blkno, 9));
  const Lsn cut = ingest(smgr_truncate(kRel, 2));
  EXPECT_EQ(nblocks(kRel, cut), 2u);
  const Lsn grown = ingest(full_page(kRel, 6, 1));
  EXPECT_EQ(fill_of(kRel, 1, grown), 9);
  for (uint32_t blkno = 2; blkno < 6; ++blkno) EXPECT_EQ(fill_of(kRel, blkno, grown), 0) << blkno;
  EXPECT_EQ(fill_of(kRel, 6, grown), 1);
  EXPECT_EQ(timeline_->reader().get_rel_page(kRel, 7, grown).error().code, ErrorCode::kNotFound);
}

TEST_F(IngestRecords, PagesOfAnEarlierLifeDoNotShineThroughALargeGap) {
  for (const uint32_t blkno : {0u, 1u, 2u, 1500u}) ingest(full_page(kRel, blkno, 9));
  const Lsn before = timeline_->last_record_lsn();
  ingest(smgr_truncate(kRel, 1));
  const Lsn grown = ingest(full_page(kRel, 3000, 1));
  EXPECT_EQ(fill_of(kRel, 0, grown), 9);
  EXPECT_EQ(fill_of(kRel, 1, grown), 0);
  EXPECT_EQ(fill_of(kRel, 1500, grown), 0);
  const Lsn written = ingest(full_page(kRel, 1500, 3));
  EXPECT_EQ(fill_of(kRel, 1500, written), 3);
  EXPECT_EQ(fill_of(kRel, 1500, before), 9);
}

TEST_F(IngestRecords, ADroppedRelationIsGoneAndItsNumberStartsAnew) {
  ingest(smgr_create(kRel));
  ingest(full_page(kRel, 0, 9));
  const Lsn dropped = ingest(commit_that_drops(1001, kRel));
  EXPECT_EQ(nblocks(kRel, dropped), std::nullopt);
  const Lsn created = ingest(smgr_create(kRel));
  EXPECT_EQ(nblocks(kRel, created), 0u);
  const Lsn grown = ingest(full_page(kRel, 1, 1));
  EXPECT_EQ(fill_of(kRel, 0, grown), 0);
}

TEST_F(IngestRecords, FreeSpaceMapsAreNotKeptAndInitForksAre) {
  pg::RelTag fsm = kRel, init = kRel;
  fsm.forknum = pg::Fork::kFsm;
  init.forknum = pg::Fork::kInit;
  ingest(full_page(fsm, 0, 1));
  const Lsn lsn = ingest(full_page(init, 0, 1));
  EXPECT_EQ(nblocks(fsm, lsn), std::nullopt);
  EXPECT_EQ(nblocks(init, lsn), 1u);
}

TEST_F(IngestRecords, AFileCopiedDatabaseReadsItsSourceAsOfThatMoment) {
  ingest(full_page(kRel, 0, 1));
  ingest(full_page(kRel, 1, 2));
  // xl_dbase_create_file_copy_rec: db_id, tablespace_id, src_db_id, src_tablespace_id
  const Lsn copied = ingest(RecordBuilder(pg::Rmgr::kDbase, 0x00).main(words({77, 1663, 5, 1663})));
  const pg::RelTag copy{1663, 77, 16384, pg::Fork::kMain};
  ingest(full_page(kRel, 0, 8));  // the source goes on
  const Lsn later = ingest(smgr_truncate(kRel, 1));
  EXPECT_EQ(nblocks(copy, copied), 2u);
  EXPECT_EQ(fill_of(copy, 0, later), 1);
  EXPECT_EQ(fill_of(copy, 1, later), 2);
  // The copy has a life of its own.
  const Lsn changed = ingest(full_page(copy, 1, 3));
  EXPECT_EQ(fill_of(copy, 1, changed), 3);
  EXPECT_EQ(fill_of(copy, 1, later), 2);
  const Lsn cut = ingest(smgr_truncate(copy, 0));
  EXPECT_EQ(nblocks(copy, cut), 0u);
  const Lsn grown = ingest(full_page(copy, 1, 4));
  EXPECT_EQ(fill_of(copy, 0, grown), 0) << "the source must not shine through";
  // A copy of the copy.
  const Lsn again = ingest(RecordBuilder(pg::Rmgr::kDbase, 0x00).main(words({78, 1663, 77, 1663})));
  const pg::RelTag second{1663, 78, 16384, pg::Fork::kMain};
  EXPECT_EQ(fill_of(second, 1, again), 4);
  // xl_dbase_drop_rec: db_id, ntablespaces, tablespace_ids
  const Lsn dropped = ingest(RecordBuilder(pg::Rmgr::kDbase, 0x20).main(words({77, 1, 1663})));
  EXPECT_EQ(nblocks(copy, dropped), std::nullopt);
  EXPECT_EQ(fill_of(second, 1, dropped), 4) << "a copy outlives its source";
  EXPECT_TRUE(timeline_->reader().list_rels(1663, 77, dropped)->empty());
}

// A BRIN revmap page whose first entry is (block, 1).
Bytes revmap_page(uint16_t block, Lsn lsn) {
  Bytes page(pg::kBlockSize);
  redo::init_brin_page(page, redo::kBrinRevmapPage);
  store(page.data() + pg::kPageHeaderSize + 2, block);
  store<uint16_t>(page.data() + pg::kPageHeaderSize + 4, 1);
  pg::set_page_lsn(page, lsn);
  return page;
}
uint16_t revmap_entry(const Timeline& timeline, const pg::RelTag& rel, Lsn at) {
  const auto page = timeline.reader().get_rel_page(rel, 1, at);
  EXPECT_TRUE(page.has_value());
  return page ? load<uint16_t>(page->view().data() + pg::kPageHeaderSize + 2) : UINT16_MAX;
}

// CREATE DATABASE … STRATEGY wal_log leaves the entries of revmap pages out of its images.
TEST_F(IngestRecords, ACopiedRevmapHasTheEntriesOfThePageThatWasCopied) {
  const auto logged = [&](const pg::RelTag& rel, const Bytes& page) {
    return ingest(RecordBuilder(pg::Rmgr::kXlog, 0xB0).image(0, rel, 1, page));
  };
  const auto copied = [&](const pg::RelTag& rel, const Bytes& page) {
    return ingest(RecordBuilder(pg::Rmgr::kXlog, 0xB0).standard_image(0, rel, 1, page));
  };
  const pg::RelTag copy{1663, 77, 16384, pg::Fork::kMain}, stranger{1663, 78, 16384, pg::Fork::kMain};
  for (const uint32_t database : {77u, 78u})  // xl_dbase_create_wal_log_rec: db_id, tablespace_id
    ingest(RecordBuilder(pg::Rmgr::kDbase, 0x10).main(words({database, 1663})));
  logged(stranger, revmap_page(9, Lsn()));
  const Lsn first = logged(kRel, revmap_page(5, Lsn()));  // the page gets this record's LSN
  const Lsn made = copied(copy, revmap_page(5, first));
  EXPECT_EQ(revmap_entry(*timeline_, copy, made), 5);
  EXPECT_EQ(pg::page_lsn(timeline_->reader().get_rel_page(copy, 1, made)->view()), made);

  // The source goes on, the copy keeps what it got.
  const Lsn second = logged(kRel, revmap_page(6, Lsn()));
  EXPECT_EQ(revmap_entry(*timeline_, copy, second), 5);
  // No page has the LSN that the copied one had: nothing is made up.
  EXPECT_EQ(revmap_entry(*timeline_, copy, copied(copy, revmap_page(5, first + 8))), 0);
  EXPECT_EQ(revmap_entry(*timeline_, copy, copied(copy, revmap_page(5, Lsn()))), 0);
  // A copy that nobody has changed is as good as its source.
  const Lsn file_copied = ingest(RecordBuilder(pg::Rmgr::kDbase, 0x00).main(words({79, 1663, 5, 1663})));
  EXPECT_EQ(revmap_entry(*timeline_, {1663, 79, 16384, pg::Fork::kMain}, file_copied), 6);
  logged(kRel, revmap_page(7, Lsn()));
  EXPECT_EQ(revmap_entry(*timeline_, copy, copied(copy, revmap_page(6, second))), 6);
}

// Folders that a compute is given, and the files in them, as "path" or "path -> location".
std::vector<std::string> tablespace_part(const Timeline& timeline, Lsn lsn) {
  std::vector<std::string> all;
  const auto reply = build_bootstrap(timeline, lsn);
  if (!reply) return {reply.error().message};
  for (const std::string& folder : reply->folders)
    if (folder.starts_with("pg_tblspc")) all.push_back(folder);
  for (const wire::BootstrapFile& file : reply->files) {
    if (!file.path.starts_with("pg_tblspc")) continue;
    std::string text = file.path;
    if (S_ISLNK(file.mode)) text += " -> " + std::string(reinterpret_cast<const char*>(file.content.data()), file.content.size());
    all.push_back(text);
  }
  std::sort(all.begin(), all.end());
  return all;
}

TEST_F(IngestRecords, TablespacesAndTheFoldersInThemComeAndGo) {
  const auto create = [&](uint32_t oid, std::string_view path) {
    ByteWriter out;
    out.u32(oid);
    out.raw(as_bytes(path));
    out.u8(0);
    return ingest(RecordBuilder(pg::Rmgr::kTblspc, 0x00).main(out.view()));
  };
  using Lines = std::vector<std::string>;
  const std::string version = fmt::format("PG_15_{}", test_control_file().catalog_version());
  const std::string far = "pg_tblspc/16400/" + version, near = "pg_tblspc/16401/" + version;
  const Lsn created = create(16400, "/mnt/fast");
  create(16401, "");
  // The folder of a database comes with its first relation there, without PG_VERSION; a second one changes nothing.
  const pg::RelTag far_rel{16400, 5, 700, pg::Fork::kMain};
  ingest(smgr_create(far_rel));
  ingest(smgr_create({16400, 5, 701, pg::Fork::kInit}));
  ingest(full_page(far_rel, 0, 4));
  const Lsn used = timeline_->last_record_lsn();
  EXPECT_EQ(tablespace_part(*timeline_, created), (Lines{"pg_tblspc/16400 -> /mnt/fast", far}));
  EXPECT_EQ(tablespace_part(*timeline_, used), (Lines{"pg_tblspc/16400 -> /mnt/fast", far, far + "/5", near}));
  // A database with files in two tablespaces is copied folder by folder; only its own one has PG_VERSION.
  ingest(RecordBuilder(pg::Rmgr::kDbase, 0x00).main(words({6, 16401, 5, 1663})));
  const Lsn copied = ingest(RecordBuilder(pg::Rmgr::kDbase, 0x00).main(words({6, 16400, 5, 16400})));
  EXPECT_EQ(tablespace_part(*timeline_, copied),
            (Lines{"pg_tblspc/16400 -> /mnt/fast", far, far + "/5", far + "/6", near, near + "/6", near + "/6/PG_VERSION",
                   near + "/6/pg_filenode.map"}));
  EXPECT_EQ(fill_of({16400, 6, 700, pg::Fork::kMain}, 0, copied), 4);
  // ALTER DATABASE SET TABLESPACE: a copy under the same number, and the drop of the one folder that it leaves.
  ingest(RecordBuilder(pg::Rmgr::kDbase, 0x00).main(words({6, 1663, 6, 16401})));
  const Lsn moved = ingest(RecordBuilder(pg::Rmgr::kDbase, 0x20).main(words({6, 1, 16401})));
  EXPECT_EQ(tablespace_part(*timeline_, moved), (Lines{"pg_tblspc/16400 -> /mnt/fast", far, far + "/5", far + "/6", near}));
  // DROP DATABASE in both, then the tablespaces.
  const Lsn dropped = ingest(RecordBuilder(pg::Rmgr::kDbase, 0x20).main(words({6, 2, 1663, 16400})));
  EXPECT_EQ(tablespace_part(*timeline_, dropped), (Lines{"pg_tblspc/16400 -> /mnt/fast", far, far + "/5", near}));
  EXPECT_EQ(nblocks({16400, 6, 700, pg::Fork::kMain}, dropped), std::nullopt);
  ingest(RecordBuilder(pg::Rmgr::kTblspc, 0x10).main(words({16401})));
  const Lsn gone = ingest(RecordBuilder(pg::Rmgr::kTblspc, 0x10).main(words({16400})));
  EXPECT_EQ(tablespace_part(*timeline_, gone), Lines{});
  EXPECT_EQ(nblocks(far_rel, gone), std::nullopt);
  EXPECT_EQ(fill_of(far_rel, 0, dropped), 4) << "what was stays";
}

TEST_F(IngestRecords, EveryRecordsXidIsPastForEver) {
  // A record of any resource manager: here a logical message of a transaction that never ends (rule 12).
  ByteWriter message;
  message.u32(5);
  message.u32(0);
  message.u64(1);
  message.u64(1);
  message.u16(0x4100);
  const Lsn lsn = ingest(RecordBuilder(pg::Rmgr::kLogicalMsg, 0x00, 1234).main(message.view()));
  EXPECT_EQ(timeline_->start_point(lsn)->checkpoint.next_full_xid, 1235u);
}

TEST_F(IngestRecords, AnOnlineCheckpointRaisesCountersAndAShutdownCheckpointSetsThem) {
  ingest(commit(2000));
  pg::Checkpoint checkpoint = test_control_file().checkpoint();
  checkpoint.next_full_xid = 1500;
  checkpoint.next_oid = 99999;
  const Lsn online =
      ingest(RecordBuilder(pg::Rmgr::kXlog, 0x10).main(pg::encode_checkpoint(checkpoint, 15)));
  EXPECT_EQ(timeline_->start_point(online)->checkpoint.next_full_xid, 2001u);
  EXPECT_NE(timeline_->start_point(online)->checkpoint.next_oid, 99999u) << "nextOid is NEXTOID's";
  const Lsn next_oid = ingest(RecordBuilder(pg::Rmgr::kXlog, 0x30).main(words({24576})));
  EXPECT_EQ(timeline_->start_point(next_oid)->checkpoint.next_oid, 24576u);
  checkpoint.next_full_xid = 3000;
  const Lsn shutdown =
      ingest(RecordBuilder(pg::Rmgr::kXlog, 0x00).main(pg::encode_checkpoint(checkpoint, 15)));
  EXPECT_EQ(timeline_->start_point(shutdown)->checkpoint, checkpoint);
}

TEST_F(IngestRecords, ARelationMapIsReplaced) {
  ByteWriter update;
  update.u32(5);
  update.u32(1663);
  update.u32(512);
  update.raw(Bytes(512, std::byte{9}));
  const Lsn lsn = ingest(RecordBuilder(pg::Rmgr::kRelmap, 0x00).main(update.view()));
  const auto map = timeline_->store()->get_latest(layer::Key::relmap(1663, 5), lsn);
  EXPECT_EQ((*map)->bytes.to_bytes(), Bytes(512, std::byte{9}));
}

TEST_F(IngestRecords, ClogPagesComeWithTheirFirstRecordAndSegmentsGoWithTruncation) {
  ByteWriter zero_page;
  zero_page.u32(0);  // pageno
  ingest(RecordBuilder(pg::Rmgr::kClog, 0x00).main(zero_page.view()));
  const Lsn committed = ingest(commit(1001));
  const pg::SlruSegment segment{pg::SlruKind::kClog, 0};
  auto page = timeline_->reader().get_slru_page(segment, 0, committed);
  ASSERT_TRUE(page.has_value()) << page.error().message;
  EXPECT_EQ(static_cast<int>(page->view()[1001 / 4]) >> (1001 % 4 * 2) & 3, 1) << "committed";
  EXPECT_EQ(timeline_->reader().get_slru_page(segment, 1, committed).error().code, ErrorCode::kNotFound);
  // xl_clog_truncate: pageno, oldestXact, oldestXactDb
  ingest(RecordBuilder(pg::Rmgr::kClog, 0x00).main(words({40})));
  const Lsn cut = ingest(RecordBuilder(pg::Rmgr::kClog, 0x10).main(words({40, 40 * 32768, 5})));
  EXPECT_EQ(*timeline_->reader().slru_size(segment, cut), std::nullopt);
  EXPECT_EQ(*timeline_->reader().slru_size({pg::SlruKind::kClog, 1}, cut), 9u);
  EXPECT_EQ(timeline_->start_point(cut)->checkpoint.oldest_xid, 40u * 32768);
}

TEST_F(IngestRecords, ABusyPagesHistoryStaysShort) {
  ingest(RecordBuilder(pg::Rmgr::kClog, 0x00).main(words({0})));
  Lsn lsn;
  for (uint32_t xid = 1000; xid < 3000; ++xid) lsn = ingest(commit(xid));
  const pg::SlruSegment segment{pg::SlruKind::kClog, 0};
  const auto versions = timeline_->store()->get_versions(layer::Key::slru_block(segment, 0), lsn);
  EXPECT_LE(versions->size(), HotPages::kChain);
  const auto page = timeline_->reader().get_slru_page(segment, 0, lsn);
  for (uint32_t xid = 1000; xid < 3000; ++xid)
    ASSERT_EQ(static_cast<int>(page->view()[xid / 4]) >> (xid % 4 * 2) & 3, 1) << xid;
}

TEST_F(IngestRecords, CommitTimestampsComeAndGoWithTheirSetting) {
  // xl_parameter_change; the fixture's control file tracks commit timestamps.
  const auto parameters = [](uint8_t track) {
    ByteWriter out;
    for (const uint32_t value : {100u, 8u, 10u, 5u, 64u, 1u}) out.u32(value);
    out.u8(0);
    out.u8(track);
    out.u16(0);
    return RecordBuilder(pg::Rmgr::kXlog, 0x60).main(out.view());
  };
  const Lsn committed = ingest(commit(1001));
  const auto segments = [&](Lsn at) { return timeline_->reader().list_slru(pg::SlruKind::kCommitTs, at)->size(); };
  EXPECT_EQ(segments(committed), 1u);
  const Lsn off = ingest(parameters(0));
  EXPECT_EQ(segments(off), 0u);
  EXPECT_EQ(segments(ingest(commit(1002))), 0u);
  const Lsn on = ingest(parameters(1));
  EXPECT_EQ(segments(on), 1u);
  EXPECT_EQ(timeline_->start_point(on)->checkpoint.oldest_commit_ts_xid, 1003u);
}

TEST_F(IngestRecords, ARecordWithoutABaseIsAnErrorForItsPageAlone) {
  // A heap insert into a page that nobody initialised: refused when read, with record and LSN in the message.
  const Lsn other = ingest(full_page(kRel, 0, 5));
  (void)other;
  const Lsn lsn = ingest(RecordBuilder(pg::Rmgr::kHeap, 0x00, 1001)
                             .block(0, kRel, 1, false, Bytes(16, std::byte{1}))
                             .main(Bytes(3, std::byte{1})));
  const auto page = timeline_->reader().get_rel_page(kRel, 1, lsn);
  ASSERT_FALSE(page.has_value());
  EXPECT_EQ(page.error().code, ErrorCode::kRedo) << page.error().message;
  EXPECT_NE(page.error().message.find("1663/5/16384"), std::string::npos);
  EXPECT_NE(page.error().message.find(to_string(lsn)), std::string::npos);
  EXPECT_EQ(fill_of(kRel, 0, lsn), 5);
  // It stays refused until a record rebuilds the page.
  const Lsn rebuilt = ingest(full_page(kRel, 1, 6));
  EXPECT_EQ(fill_of(kRel, 1, rebuilt), 6);
}

TEST_F(IngestRecords, CountersSurviveFreezeAndReopening) {
  ASSERT_TRUE(timeline_->announce_history({{1, kStart}, {3, kStart}}).has_value());
  ingest(full_page(kRel, 0, 1));
  const Lsn lsn = ingest(commit(4321));
  ASSERT_TRUE(timeline_->checkpoint().has_value());
  const TenantTimelineId id = timeline_->id();
  timeline_.reset();
  auto store = layer::TimelineStore::open(folder_ / "root", {});
  ASSERT_TRUE(store.has_value()) << store.error().message;
  timeline_ = *Timeline::attach(id, *store, nullptr, options());
  EXPECT_EQ(timeline_->last_record_lsn(), lsn);
  EXPECT_EQ(timeline_->latest_term(), 3u);
  EXPECT_EQ(timeline_->start_point(lsn)->checkpoint.next_full_xid, 4322u);
  EXPECT_EQ(*timeline_->start_ingest(), lsn);
  ingest(full_page(kRel, 0, 2));
}

TEST_F(IngestRecords, AStreamThatDisagreesWithWhatWeHaveIsRefused) {
  ASSERT_TRUE(timeline_->announce_history({{1, kStart}}).has_value());
  const Lsn first = ingest(commit(1001));
  ingest(commit(1002));
  EXPECT_FALSE(timeline_->announce_history({{1, kStart}, {2, first}}).has_value());
  EXPECT_TRUE(timeline_->announce_history({{1, kStart}, {2, timeline_->last_record_lsn()}}).has_value());
  EXPECT_EQ(timeline_->latest_term(), 2u);
}

// Its commit_lsn is behind ours, and a term began between the two.
TEST_F(IngestRecords, ASafekeeperThatLagsIsWaitedFor) {
  ASSERT_TRUE(timeline_->announce_history({{1, kStart}}).has_value());
  const Lsn first = ingest(commit(1001));
  const TermHistory ours{{1, kStart}, {3, first}};
  ASSERT_TRUE(timeline_->announce_history(ours).has_value());
  ingest(commit(1002));

  const auto lagging = timeline_->announce_history({{1, kStart}});
  ASSERT_TRUE(lagging.has_value()) << lagging.error().message;
  EXPECT_FALSE(*lagging) << "its WAL is not taken";
  const auto adopted = timeline_->announce_history({{1, kStart}, {2, first}});
  ASSERT_TRUE(adopted.has_value()) << "a term that died: " << adopted.error().message;
  EXPECT_FALSE(*adopted);
  EXPECT_FALSE(timeline_->announce_history({{1, kStart}, {4, first}}).has_value()) << "what we hold was written over";
  const auto longer = timeline_->announce_history(ours);
  ASSERT_TRUE(longer.has_value());
  EXPECT_TRUE(*longer);
}

}  // namespace
}  // namespace helium::pageserver
