// For tests: a timeline of its own in a temporary folder, and WAL records put together by hand.

#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "base/crc32c.h"
#include "base/source_dir.h"
#include "pageserver/timeline.h"
#include "pg/constants.h"
#include "pg/page.h"

namespace helium::pageserver {

inline const pg::RelTag kRel{1663, 5, 16384, pg::Fork::kMain};

inline pg::ControlFile test_control_file() {
  std::ifstream file(source_path("tests/compat/pg15/pg_control.bin"), std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return *pg::ControlFile::parse(as_bytes(text), 15);
}

// One record's bytes, as in WAL but without page headers.
class RecordBuilder {
 public:
  RecordBuilder(pg::Rmgr rmgr, uint8_t info, uint32_t xid = 0) : rmgr_(rmgr), info_(info), xid_(xid) {}

  // A block with data and no image.
  RecordBuilder& block(uint8_t id, const pg::RelTag& rel, uint32_t blkno, bool will_init, ByteView data = {}) {
    add_block(id, rel, blkno, (will_init ? 0x40 : 0) | (data.empty() ? 0 : 0x20), data);
    data_.raw(data);
    return *this;
  }
  // A block that may have data, and an image for checking only, uncompressed and without a hole.
  RecordBuilder& checked_block(uint8_t id, const pg::RelTag& rel, uint32_t blkno, bool will_init, ByteView data,
                               ByteView page) {
    headers_.u8(id);
    headers_.u8(static_cast<uint8_t>(rel.forknum) | (will_init ? 0x40 : 0) | (data.empty() ? 0 : 0x20) | 0x10);
    headers_.u16(static_cast<uint16_t>(data.size()));
    headers_.u16(static_cast<uint16_t>(page.size()));
    headers_.u16(0);  // hole_offset
    headers_.u8(0);   // neither a hole nor BKPIMAGE_APPLY
    add_place(rel, blkno);
    data_.raw(page);
    data_.raw(data);
    return *this;
  }
  // A block with an uncompressed image without a hole, to be applied.
  RecordBuilder& image(uint8_t id, const pg::RelTag& rel, uint32_t blkno, ByteView page) {
    headers_.u8(id);
    headers_.u8(static_cast<uint8_t>(rel.forknum) | 0x10);
    headers_.u16(0);
    headers_.u16(static_cast<uint16_t>(page.size()));
    headers_.u16(0);     // hole_offset
    headers_.u8(0x02);   // BKPIMAGE_APPLY
    add_place(rel, blkno);
    data_.raw(page);
    return *this;
  }
  // The same without what lies between pd_lower and pd_upper, as which CREATE DATABASE logs each page.
  RecordBuilder& standard_image(uint8_t id, const pg::RelTag& rel, uint32_t blkno, ByteView page) {
    const uint16_t lower = pg::page_lower(page), upper = pg::page_upper(page);
    headers_.u8(id);
    headers_.u8(static_cast<uint8_t>(rel.forknum) | 0x10);
    headers_.u16(0);
    headers_.u16(static_cast<uint16_t>(pg::kBlockSize - (upper - lower)));
    headers_.u16(lower);       // hole_offset
    headers_.u8(0x02 | 0x01);  // BKPIMAGE_APPLY, BKPIMAGE_HAS_HOLE
    add_place(rel, blkno);
    data_.raw(page.first(lower));
    data_.raw(page.subspan(upper));
    return *this;
  }
  // Replayed from a replication origin.
  RecordBuilder& origin(uint16_t id) {
    headers_.u8(253);
    headers_.u16(id);
    return *this;
  }
  RecordBuilder& main(ByteView bytes) {
    main_.assign(bytes.begin(), bytes.end());
    return *this;
  }
  Bytes build(Lsn prev) const {
    ByteWriter out;
    out.u32(0);
    out.u32(xid_);
    out.lsn(prev);
    out.u8(info_);
    out.u8(static_cast<uint8_t>(rmgr_));
    out.u16(0);
    out.u32(0);
    out.raw(headers_.view());
    if (!main_.empty()) {
      out.u8(254);
      out.u32(static_cast<uint32_t>(main_.size()));
    }
    out.raw(data_.view());
    out.raw(main_);
    out.patch_u32(0, static_cast<uint32_t>(out.size()));
    const uint32_t crc =
        Crc32c().add(out.view().subspan(24)).add(out.view().first(20)).value();
    out.patch_u32(20, crc);
    return out.take();
  }

 private:
  void add_block(uint8_t id, const pg::RelTag& rel, uint32_t blkno, uint8_t flags, ByteView data) {
    headers_.u8(id);
    headers_.u8(static_cast<uint8_t>(rel.forknum) | flags);
    headers_.u16(static_cast<uint16_t>(data.size()));
    add_place(rel, blkno);
  }
  void add_place(const pg::RelTag& rel, uint32_t blkno) {
    headers_.u32(rel.spcnode);
    headers_.u32(rel.dbnode);
    headers_.u32(rel.relnode);
    headers_.u32(blkno);
  }

  pg::Rmgr rmgr_;
  uint8_t info_;
  uint32_t xid_;
  ByteWriter headers_;
  ByteWriter data_;
  Bytes main_;
};

// Main data from numbers: u32 by u32.
inline Bytes words(std::initializer_list<uint32_t> values) {
  ByteWriter out;
  for (const uint32_t value : values) out.u32(value);
  return out.take();
}

class TestTimeline : public testing::Test {
 protected:
  static constexpr Lsn kStart{0x1000028};

  void SetUp() override {
    char folder[] = "/tmp/helium-timeline-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    timeline_ = create_root();
    next_start_ = kStart;
    ASSERT_TRUE(timeline_->start_ingest().has_value());
  }
  void TearDown() override {
    timeline_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  TimelineOptions options() const {
    TimelineOptions options;
    options.page_cache = cache_;
    return options;
  }

  std::shared_ptr<Timeline> create_root() {
    const pg::ControlFile control = test_control_file();
    pg::Checkpoint checkpoint = control.checkpoint();
    checkpoint.next_full_xid = 1000;
    layer::CreateOptions create;
    create.timeline_id = root_id_.timeline;
    create.start_lsn = kStart;
    auto store = layer::TimelineStore::create(folder_ / "root", std::move(create));
    EXPECT_TRUE(store.has_value());
    auto import = *(*store)->begin_import();
    const auto add = [&](const layer::Key& key, const Bytes& bytes) {
      EXPECT_TRUE(import->add(key, layer::ValueKind::kData, bytes).has_value());
    };
    const Lsn record_start(kStart.bytes() - 0x78);
    add(layer::Key::control_file(), control.encode());
    add(layer::Key::checkpoint(), pg::encode_checkpoint(checkpoint, 15));
    add(layer::Key::wal_position(), encode(WalPosition{record_start, 1000, checkpoint.next_multi, 0, 0}));
    add(layer::Key::db_dir(1663, 5), {});
    add(layer::Key::relmap(1663, 5), Bytes(512, std::byte{7}));
    TimelineMetadata metadata{15, 4711, IngestState{record_start, kStart, checkpoint, {}}};
    EXPECT_TRUE(import->finish(encode(metadata)).has_value());
    last_start_ = record_start;
    return *Timeline::attach(root_id_, *store, nullptr, options());
  }

  std::shared_ptr<Timeline> branch(const std::shared_ptr<Timeline>& ancestor, const Timeline::BranchPoint& point,
                                   const std::string& name) {
    TimelineMetadata metadata{15, ancestor->system_identifier(), std::nullopt};
    if (point.start) metadata.state = IngestState{point.start->record_start, point.lsn, point.start->checkpoint, {}};
    layer::CreateOptions create;
    create.timeline_id = random_id<TimelineId>();
    create.start_lsn = point.lsn;
    create.ancestor = ancestor->store();
    create.ancestor_lsn = point.lsn;
    create.metadata = encode(metadata);
    auto store = layer::TimelineStore::create(folder_ / name, std::move(create));
    EXPECT_TRUE(store.has_value()) << store.error().message;
    return *Timeline::attach({ancestor->id().tenant, random_id<TimelineId>()}, *store, ancestor, options());
  }

  // Ingests one record behind the last one; where it ends.
  Lsn ingest(const RecordBuilder& record) {
    const auto end = try_ingest(record);
    EXPECT_TRUE(end.has_value()) << end.error().message;
    return end.value_or(Lsn());
  }
  Result<Lsn> try_ingest(const RecordBuilder& record) {
    const Bytes bytes = record.build(last_start_);
    const Lsn end = next_start_ + ((bytes.size() + 7) & ~size_t{7});
    HELIUM_TRY(timeline_->ingest({next_start_, end, bytes}));
    last_start_ = next_start_;
    next_start_ = end;
    return end;
  }

  // Records of which tests need many.
  static RecordBuilder full_page(const pg::RelTag& rel, uint32_t blkno, uint8_t fill) {
    Bytes page(pg::kBlockSize, std::byte{fill});
    return RecordBuilder(pg::Rmgr::kXlog, 0xB0).image(0, rel, blkno, page);
  }
  static RecordBuilder smgr_create(const pg::RelTag& rel) {
    return RecordBuilder(pg::Rmgr::kSmgr, 0x10)
        .main(words({rel.spcnode, rel.dbnode, rel.relnode, static_cast<uint32_t>(rel.forknum)}));
  }
  static RecordBuilder smgr_truncate(const pg::RelTag& rel, uint32_t nblocks) {
    return RecordBuilder(pg::Rmgr::kSmgr, 0x20)
        .main(words({nblocks, rel.spcnode, rel.dbnode, rel.relnode, 7}));
  }
  // A commit without anything else: xact_time.
  static RecordBuilder commit(uint32_t xid) {
    return RecordBuilder(pg::Rmgr::kXact, 0x00, xid).main(Bytes(8, std::byte{1}));
  }
  // xact_time, xinfo with HAS_RELFILENODES, one relation.
  static RecordBuilder commit_that_drops(uint32_t xid, const pg::RelTag& rel) {
    ByteWriter out;
    out.u64(1);
    out.u32(1u << 2);
    out.u32(1);
    out.u32(rel.spcnode);
    out.u32(rel.dbnode);
    out.u32(rel.relnode);
    return RecordBuilder(pg::Rmgr::kXact, 0x80, xid).main(out.view());
  }

  std::optional<uint32_t> nblocks(const pg::RelTag& rel, Lsn at) const {
    const auto size = timeline_->reader().rel_size(rel, at);
    EXPECT_TRUE(size.has_value());
    if (!size || !*size) return std::nullopt;
    return (*size)->nblocks;
  }
  // The last byte of the page (the head has an LSN); -1 for an error.
  int fill_of(const pg::RelTag& rel, uint32_t blkno, Lsn at) const {
    const auto page = timeline_->reader().get_rel_page(rel, blkno, at);
    return page ? static_cast<int>(page->view().back()) : -1;
  }

  const TenantTimelineId root_id_{random_id<TenantId>(), random_id<TimelineId>()};
  std::filesystem::path folder_;
  std::shared_ptr<PageCache> cache_ = std::make_shared<PageCache>(4 << 20);
  std::shared_ptr<Timeline> timeline_;
  Lsn last_start_;
  Lsn next_start_;
};

}  // namespace helium::pageserver
