// Redo of RM_BRIN_ID: summaries on regular pages, the map from heap ranges to them (revmap), the metapage.
// Source: PostgreSQL 15 brin_xlog.c, brin_xlog.h, brin_page.h; the same in 14 to 18.

#include "redo/brin_page.h"
#include "redo/index_tuple.h"
#include "redo/rmgr_redo.h"

namespace helium::redo {

namespace {

// BrinMetaPageData, behind the page header: magic u32, version u32, pages per range u32, last revmap page u32.
constexpr uint32_t kMetaSize = 16;
constexpr size_t kLastRevmapPageAt = pg::kPageHeaderSize + 12;
// A revmap page is an array of TIDs between header and special area.
constexpr uint32_t kRevmapItems = (pg::kBlockSize - pg::kPageHeaderSize - kBrinSpecialSize) / kTidSize;  // 1360

Status need_page_type(MutableByteView page, uint16_t type) {
  HELIUM_ASSIGN(const std::byte* const special, special_area(page, kBrinSpecialSize));
  const auto found = load<uint16_t>(special + kBrinPageTypeAt);
  if (found != type) return bad("page type {:#x}, {:#x} expected", found, type);
  return {};
}

// xl_brin_createidx: pages per range u32, version u16.
Status redo_create(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_will_init(true));
  HELIUM_TRY(redo.need_main(6));
  init_brin_page(redo.page, kBrinMetaPage);
  std::byte* meta = redo.page.data() + pg::kPageHeaderSize;
  store(meta, uint32_t{0xA8109CFA});
  store(meta + 4, uint32_t{redo.main<uint16_t>(4)});
  store(meta + 8, redo.main<uint32_t>(0));
  pg::set_page_lower(redo.page, pg::kPageHeaderSize + kMetaSize);
  redo.stamp();
  return {};
}

// The revmap's entry of the heap block's range becomes (blkno, offset).
Status set_revmap(const BlockRedo& redo, uint32_t pages_per_range, uint32_t heap_blkno, uint32_t blkno, uint16_t offset) {
  HELIUM_TRY(need_page_type(redo.page, kBrinRevmapPage));
  if (pages_per_range == 0) return bad("ranges of 0 pages");
  const uint32_t index = heap_blkno / pages_per_range % kRevmapItems;
  set_tid(redo.page.data() + pg::kPageHeaderSize + index * kTidSize, blkno, offset);
  redo.stamp();
  return {};
}

// xl_brin_insert, at `at`: heap block u32, pages per range u32, offset number u16. Block 0: the summary's page, with
// the summary as data; block 1: the revmap.
Status redo_insert(const BlockRedo& redo, size_t at) {
  HELIUM_TRY(redo.need_main(at + 10));
  const auto offset = redo.main<uint16_t>(at + 8);
  if (redo.ref.id == 1) {
    const pg::BlockRef* regular = redo.record.block(0);
    if (regular == nullptr) return bad("no block 0");
    return set_revmap(redo, redo.main<uint32_t>(at + 4), redo.main<uint32_t>(at), regular->blkno, offset);
  }
  const bool init = (redo.record.info & kBrinInitPage) != 0;
  HELIUM_TRY(redo.need_will_init(init));
  if (init) init_brin_page(redo.page, kBrinRegularPage);
  HELIUM_TRY(need_page_type(redo.page, kBrinRegularPage));
  HELIUM_TRY(add_item(redo.page, redo.ref.data, offset, AddMode::kOverwrite));
  redo.stamp();
  return {};
}

Status remove_summary(const BlockRedo& redo, uint16_t offset) {
  HELIUM_TRY(need_page_type(redo.page, kBrinRegularPage));
  HELIUM_TRY(delete_index_item_keep_numbers(redo.page, offset));
  redo.stamp();
  return {};
}

// xl_brin_update: old offset number u16, padding, xl_brin_insert. Blocks 0 and 1 as in an insert, 2: the old page.
Status redo_update(const BlockRedo& redo) {
  if (redo.ref.id < 2) return redo_insert(redo, 4);
  HELIUM_TRY(redo.need_main(2));
  return remove_summary(redo, redo.main<uint16_t>(0));
}

// xl_brin_samepage_update: offset number u16. Block data: the summary.
Status redo_samepage_update(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(2));
  HELIUM_TRY(need_page_type(redo.page, kBrinRegularPage));
  HELIUM_TRY(overwrite_index_item(redo.page, redo.main<uint16_t>(0), redo.ref.data));
  redo.stamp();
  return {};
}

// xl_brin_revmap_extend: the new revmap page u32. Block 0: the metapage, 1: the new revmap page.
Status redo_revmap_extend(const BlockRedo& redo) {
  if (redo.ref.id == 1) {
    HELIUM_TRY(redo.need_will_init(true));
    init_brin_page(redo.page, kBrinRevmapPage);
  } else {
    HELIUM_TRY(redo.need_main(4));
    HELIUM_TRY(need_page_type(redo.page, kBrinMetaPage));
    store(redo.page.data() + kLastRevmapPageAt, redo.main<uint32_t>(0));
    pg::set_page_lower(redo.page, pg::kPageHeaderSize + kMetaSize);
  }
  redo.stamp();
  return {};
}

// xl_brin_desummarize: pages per range u32, heap block u32, offset number u16. Block 0: the revmap, 1: the regular page.
Status redo_desummarize(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(10));
  if (redo.ref.id == 1) return remove_summary(redo, redo.main<uint16_t>(8));
  return set_revmap(redo, redo.main<uint32_t>(0), redo.main<uint32_t>(4), kNoBlock, 0);
}

}  // namespace

Status redo_brin(const BlockRedo& redo) {
  const uint8_t op = redo.record.info & kBrinOpMask;
  const uint8_t blocks = op == kBrinCreateIndex || op == kBrinSamepageUpdate ? 1 : op == kBrinUpdate ? 3 : 2;
  if (redo.ref.id >= blocks) return bad("block {} has no meaning", redo.ref.id);
  switch (op) {
    case kBrinCreateIndex: return redo_create(redo);
    case kBrinInsert: return redo_insert(redo, 0);
    case kBrinUpdate: return redo_update(redo);
    case kBrinSamepageUpdate: return redo_samepage_update(redo);
    case kBrinRevmapExtend: return redo_revmap_extend(redo);
    case kBrinDesummarize: return redo_desummarize(redo);
    default: return bad("an unknown record type");
  }
}

}  // namespace helium::redo
