#include "pageserver/page_reader.h"

#include "pageserver/format.h"

#include <algorithm>

#include "redo/redo.h"

namespace helium::pageserver {
namespace {

using layer::Key;
using layer::KeyRange;
using layer::SharedBytes;
using layer::ValueKind;
using layer::Version;

// Databases copied from copied databases: each step is one more look at an older database.
constexpr int kMaxCopyDepth = 256;
constexpr uint8_t kHeap2Visible = 0x40;  // XLOG_HEAP2_VISIBLE, the one record whose redo depends on logged hints

SharedBytes zero_page() {
  static const SharedBytes page = SharedBytes::copy_of(Bytes(pg::kBlockSize));
  return page;
}

}  // namespace

PageReader::PageReader(std::shared_ptr<layer::TimelineStore> store, int pg_version, std::shared_ptr<PageCache> cache)
    : store_(std::move(store)), pg_version_(pg_version), cache_(std::move(cache)), cache_id_(cache_->new_timeline()) {}

Result<std::optional<RelSizeValue>> PageReader::rel_size(const pg::RelTag& rel, Lsn at) const {
  HELIUM_ASSIGN(const auto version, store_->get_latest(Key::rel_size(rel), at));
  if (!version || version->kind == ValueKind::kTombstone) return std::nullopt;
  HELIUM_ASSIGN(RelSizeValue value, decode_rel_size(version->bytes));
  return value;
}

Result<std::optional<uint32_t>> PageReader::slru_size(const pg::SlruSegment& segment, Lsn at) const {
  HELIUM_ASSIGN(const auto version, store_->get_latest(Key::slru_size(segment), at));
  if (!version || version->kind == ValueKind::kTombstone) return std::nullopt;
  HELIUM_ASSIGN(const SlruSizeValue value, decode_slru_size(version->bytes));
  return value.npages;
}

Result<SharedBytes> PageReader::get_rel_page(const pg::RelTag& rel, uint32_t blkno, Lsn at) const {
  HELIUM_ASSIGN(const auto size, rel_size(rel, at));
  if (!size) return fail(ErrorCode::kNotFound, "relation " + to_string(rel) + " does not exist at " + to_string(at));
  return get_rel_page(rel, *size, blkno, at);
}

Result<SharedBytes> PageReader::get_rel_page(const pg::RelTag& rel, const RelSizeValue& size, uint32_t blkno,
                                             Lsn at) const {
  auto page = get_rel_page(rel, size, blkno, at, 0);
  if (!page)
    return fail(std::move(page).error().context(fmt::format("get page {} blk {} at {}", rel, blkno, at)));
  return page;
}

Result<SharedBytes> PageReader::get_rel_page(const pg::RelTag& rel, const RelSizeValue& size, uint32_t blkno, Lsn at,
                                             int depth) const {
  if (blkno >= size.nblocks)
    return fail(ErrorCode::kNotFound, fmt::format("the fork has only {} blocks", size.nblocks));
  HELIUM_ASSIGN(const Floor floor, floor_of(rel, size, blkno, at, depth));
  return rebuild(Key::rel_block(rel, blkno), at, floor,
                 [&](const pg::DecodedRecord& record, Lsn lsn, MutableByteView page) {
                   return redo_rel(record, lsn, rel, blkno, page);
                 });
}

Result<PageReader::Floor> PageReader::floor_of(const pg::RelTag& rel, const RelSizeValue& size, uint32_t blkno, Lsn at,
                                               int depth) const {
  Floor floor;
  if (size.copied_from && blkno < size.copied_from->nblocks) {
    const RelSizeValue::CopiedFrom from = *size.copied_from;
    floor.lsn = from.lsn + 1;
    floor.base = [this, rel, blkno, from, depth]() -> Result<SharedBytes> {
      if (depth >= kMaxCopyDepth) return fail(ErrorCode::kCorrupt, "database copies are nested too deeply");
      const pg::RelTag source{from.spcnode, from.dbnode, rel.relnode, rel.forknum};
      HELIUM_ASSIGN(const auto source_size, rel_size(source, from.lsn));
      if (!source_size)
        return fail(ErrorCode::kCorrupt, fmt::format("{} does not exist at {}, but was copied", source, from.lsn));
      return get_rel_page(source, *source_size, blkno, from.lsn, depth + 1);
    };
  }
  if (size.has_zero_ranges) {
    Status decoded;
    HELIUM_TRY(store_->scan_latest(KeyRange::rel_zero_ranges(rel), at, [&](const Key& key, const Version& version) {
      if (key.blkno() > blkno) return false;
      auto range = decode_zero_range(version.bytes);
      if (!range) {
        decoded = fail(std::move(range).error());
        return false;
      }
      if (blkno < range->end && version.lsn >= floor.lsn) {
        floor.lsn = version.lsn;
        floor.base = [] { return Result<SharedBytes>(zero_page()); };
      }
      return true;
    }));
    HELIUM_TRY(decoded);
  }
  return floor;
}

Result<SharedBytes> PageReader::get_slru_page(const pg::SlruSegment& segment, uint32_t page, Lsn at) const {
  HELIUM_ASSIGN(const auto npages, slru_size(segment, at));
  const auto context = [&](Error error) {
    return fail(std::move(error).context(fmt::format("get page {} page {} at {}", segment, page, at)));
  };
  if (!npages) return context({ErrorCode::kNotFound, "the segment does not exist"});
  if (page >= *npages) return context({ErrorCode::kNotFound, fmt::format("the segment has only {} pages", *npages)});
  auto rebuilt = rebuild(Key::slru_block(segment, page), at, Floor{},
                         [&](const pg::DecodedRecord& record, Lsn lsn, MutableByteView bytes) {
                           return redo_slru(record, lsn, segment, page, bytes);
                         });
  if (!rebuilt) return context(std::move(rebuilt).error());
  return rebuilt;
}

Result<Bytes> PageReader::page_of_key(const Key& key, Lsn at) const {
  if (key.kind() == layer::KeyKind::kSlruBlock) {
    HELIUM_ASSIGN(const SharedBytes page, get_slru_page(key.slru_segment(), key.blkno(), at));
    return page.to_bytes();
  }
  if (key.kind() != layer::KeyKind::kRelBlock) return fail(ErrorCode::kInvalid, to_string(key) + " is no page");
  HELIUM_ASSIGN(const SharedBytes page, get_rel_page(key.rel(), key.blkno(), at));
  return page.to_bytes();
}

// Newest first, the versions end with a base; from there, or from the newest cached page, redo runs forward.
Result<SharedBytes> PageReader::rebuild(const Key& key, Lsn at, const Floor& floor, const Redo& redo) const {
  HELIUM_ASSIGN(std::vector<Version> versions, store_->get_versions(key, at));
  while (!versions.empty() && versions.back().lsn < floor.lsn) versions.pop_back();

  SharedBytes base;
  size_t applied = versions.size();  // versions [0, applied) are still to be applied to `base`
  for (size_t i = 0; i < versions.size(); ++i) {
    if (versions[i].kind == ValueKind::kRecord) {
      if (SharedBytes cached = cache_->find({cache_id_, key, versions[i].lsn}); !cached.empty()) {
        base = std::move(cached);
        applied = i;
        break;
      }
      continue;
    }
    if (versions[i].kind == ValueKind::kImage) {
      if (versions[i].bytes.size() != pg::kBlockSize)
        return fail(ErrorCode::kCorrupt, fmt::format("an image of {} bytes at {}", versions[i].bytes.size(),
                                                     versions[i].lsn));
      base = versions[i].bytes;
    } else if (versions[i].kind == ValueKind::kZeroPage) {
      base = zero_page();
    } else {
      return fail(ErrorCode::kCorrupt, fmt::format("a page has a {} as version", to_string(versions[i].kind)));
    }
    applied = i;
    break;
  }
  if (base.empty()) {
    if (!versions.empty() && versions.back().will_init) {
      base = zero_page();
    } else if (floor.base) {
      HELIUM_ASSIGN(base, floor.base());
    } else {
      return fail(ErrorCode::kCorrupt, versions.empty()
                                           ? "storage has no version of this block (it is not zero, it is missing)"
                                           : fmt::format("its history begins at {} without a base", versions.back().lsn));
    }
  }
  if (applied == 0) return base;

  Bytes page = base.to_bytes();
  pg::DecodedRecord record;
  for (size_t i = applied; i-- > 0;) {
    const Version& version = versions[i];
    if (auto decoded = pg::decode_record(version.bytes, pg_version_, record); !decoded)
      return fail(std::move(decoded).error().context(fmt::format("record that ends at {}", version.lsn)));
    if (auto done = redo(record, version.lsn, page); !done)
      return fail(std::move(done).error().context(fmt::format(
          "redo {} that ends at {}", pg::record_type_name(record.rmgr, record.info, pg_version_), version.lsn)));
  }
  SharedBytes rebuilt = SharedBytes::copy_of(page);
  cache_->insert({cache_id_, key, versions[0].lsn}, rebuilt);
  return rebuilt;
}

Status PageReader::redo_rel(const pg::DecodedRecord& record, Lsn lsn, const pg::RelTag& rel, uint32_t blkno,
                            MutableByteView page) const {
  redo::RedoContext context;
  context.record_end_lsn = lsn;
  context.pg_version = pg_version_;
  context.blkno = blkno;
  context.rel = rel;
  if (record.rmgr == static_cast<uint8_t>(pg::Rmgr::kHeap2) && (record.info & 0x70) == kHeap2Visible) {
    HELIUM_ASSIGN(context.data_checksums_or_wal_log_hints, hints_logged_at(lsn));
  }
  for (const pg::BlockRef& ref : record.blocks)
    if (ref.rel == rel && ref.blkno == blkno) return redo::redo_block_in_place(record, ref, context, page);
  if (rel.forknum == pg::Fork::kVm) return redo::redo_vm_side_effect(record, context, page);
  return fail(ErrorCode::kCorrupt, "the record does not name this block");
}

Status PageReader::redo_slru(const pg::DecodedRecord& record, Lsn lsn, const pg::SlruSegment& segment,
                             uint32_t page_in_segment, MutableByteView page) const {
  redo::RedoContext context;
  context.record_end_lsn = lsn;
  context.pg_version = pg_version_;
  return redo::redo_slru_page(record, segment, page_in_segment, context, page);
}

Result<bool> PageReader::hints_logged_at(Lsn lsn) const {
  HELIUM_ASSIGN(const auto version, store_->get_latest(Key::control_file(), lsn));
  if (!version) return fail(ErrorCode::kCorrupt, "the timeline has no control file");
  {
    std::lock_guard lock(hints_mutex_);
    if (hints_version_ == version->lsn) return hints_value_;
  }
  HELIUM_ASSIGN(const pg::ControlFile control, pg::ControlFile::parse(version->bytes, pg_version_));
  const bool logged = control.data_checksums() || control.wal_log_hints();
  std::lock_guard lock(hints_mutex_);
  hints_version_ = version->lsn;
  hints_value_ = logged;
  return logged;
}

Result<pg::ControlFile> PageReader::control_file(Lsn at) const {
  HELIUM_ASSIGN(const auto version, store_->get_latest(Key::control_file(), at));
  if (!version) return fail(ErrorCode::kCorrupt, "the timeline has no control file at " + to_string(at));
  return pg::ControlFile::parse(version->bytes, pg_version_);
}

Result<std::vector<PageReader::RelFork>> PageReader::list_rels(uint32_t spcnode, uint32_t dbnode, Lsn at) const {
  return list_rels(KeyRange::rel_sizes(spcnode, dbnode), at);
}

Result<std::vector<PageReader::RelFork>> PageReader::list_all_rels(Lsn at) const {
  return list_rels(KeyRange::all_of(layer::KeyKind::kRelSize), at);
}

Result<std::vector<PageReader::RelFork>> PageReader::list_rels(const KeyRange& sizes, Lsn at) const {
  std::vector<RelFork> rels;
  Status decoded;
  HELIUM_TRY(store_->scan_latest(sizes, at, [&](const Key& key, const Version& version) {
    auto size = decode_rel_size(version.bytes);
    if (!size) {
      decoded = fail(std::move(size).error().context(to_string(key)));
      return false;
    }
    rels.push_back({key.rel(), *size});
    return true;
  }));
  HELIUM_TRY(decoded);
  return rels;
}

Result<std::vector<PageReader::SlruFork>> PageReader::list_slru(pg::SlruKind kind, Lsn at) const {
  std::vector<SlruFork> segments;
  Status decoded;
  HELIUM_TRY(store_->scan_latest(KeyRange::slru_sizes(kind), at, [&](const Key& key, const Version& version) {
    auto size = decode_slru_size(version.bytes);
    if (!size) {
      decoded = fail(std::move(size).error().context(to_string(key)));
      return false;
    }
    segments.push_back({key.slru_segment(), size->npages});
    return true;
  }));
  HELIUM_TRY(decoded);
  return segments;
}

Result<std::vector<PageReader::SlruFork>> PageReader::list_slru(Lsn at) const {
  std::vector<SlruFork> all;
  for (int kind = 0; kind < pg::kSlruKindCount; ++kind) {
    HELIUM_ASSIGN(const auto segments, list_slru(static_cast<pg::SlruKind>(kind), at));
    all.insert(all.end(), segments.begin(), segments.end());
  }
  return all;
}

}  // namespace helium::pageserver
