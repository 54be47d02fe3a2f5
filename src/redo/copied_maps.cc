#include "redo/copied_maps.h"

#include <algorithm>

#include "pg/page.h"
#include "redo/heap_records.h"
#include "redo/side_effects.h"

namespace helium::redo {

namespace {

constexpr uint32_t kFirstNormalObjectId = 16384;  // databases from here on were made by CREATE DATABASE

bool may_be_copied(const VmPage& page) { return page.rel.dbnode >= kFirstNormalObjectId; }

Bytes all_unknown() {
  Bytes page(pg::kBlockSize);
  pg::page_init(page, 0);
  std::fill(page.begin() + pg::kPageHeaderSize, page.end(), std::byte{0xFF});
  return page;
}

// All bits of a map lie in the hole of an image that was logged as a standard page.
bool lacks_all_bits(const pg::BlockImage& image) {
  return image.hole_offset == pg::kPageHeaderSize && image.hole_length == pg::kBlockSize - pg::kPageHeaderSize;
}

bool is_visible_record(const pg::DecodedRecord& record) {
  return record.rmgr == static_cast<uint8_t>(pg::Rmgr::kHeap2) && (record.info & kHeapOpMask) == kHeap2Visible;
}

// Takes the bits off that the record sets or clears, whatever they were.
void forget_decided(const pg::DecodedRecord& record, const VmPage& page, Bytes& unknown) {
  if (unknown.empty()) return;
  if (!is_visible_record(record)) {
    RedoContext context;
    context.rel = page.rel;
    context.blkno = page.blkno;
    (void)redo_vm_side_effect(record, context, unknown);  // a malformed record decides nothing
    return;
  }
  const pg::BlockRef* heap = record.block(1);
  if (heap == nullptr || record.main_data.size() < kVisibleSize || vm_blkno_of(heap->blkno) != page.blkno) return;
  clear_vm_bits(unknown, heap->blkno, load<uint8_t>(record.main_data.data() + kVisibleFlagsAt));
}

}  // namespace

Bytes& CopiedMaps::find(const VmPage& page, const IsOlder& is_older) {
  auto known = pages_.find(page);
  if (known == pages_.end()) known = pages_.emplace(page, is_older(page) ? all_unknown() : Bytes()).first;
  return known->second;
}

void CopiedMaps::note(const pg::DecodedRecord& record, int pg_version, const IsOlder& is_older) {
  if (record.rmgr == static_cast<uint8_t>(pg::Rmgr::kDbase)) note_database(record, pg_version);
  if (record.rmgr == static_cast<uint8_t>(pg::Rmgr::kSmgr)) note_truncation(record);
  for (const pg::BlockRef& ref : record.blocks) {
    const VmPage page{ref.rel, ref.blkno};
    if (ref.rel.forknum != pg::Fork::kVm || !may_be_copied(page)) continue;
    if (ref.image && ref.image->apply)
      pages_[page] = lacks_all_bits(*ref.image) ? all_unknown() : Bytes();
    else
      forget_decided(record, page, find(page, is_older));
  }
  for_each_vm_effect(record, pg_version, [&](const VmPage& page) {
    if (may_be_copied(page)) forget_decided(record, page, find(page, is_older));
  });
}

// A copy by files takes what is unknown with it; what is dropped is forgotten.
void CopiedMaps::note_database(const pg::DecodedRecord& record, int pg_version) {
  const auto dbase = parse_dbase(record, pg_version);
  if (!dbase) return;
  if (dbase->op == DbaseOp::kDrop) {
    std::erase_if(pages_, [&](const auto& entry) {
      const pg::RelTag& rel = entry.first.rel;
      return rel.dbnode == dbase->dbnode && std::ranges::find(dbase->drop_spcnodes, rel.spcnode) != dbase->drop_spcnodes.end();
    });
  } else if (dbase->op == DbaseOp::kCreateFileCopy) {
    std::map<VmPage, Bytes> copies;
    for (const auto& [page, unknown] : pages_) {
      if (page.rel.dbnode != dbase->src_dbnode || page.rel.spcnode != dbase->src_spcnode) continue;
      VmPage copy = page;
      copy.rel.dbnode = dbase->dbnode;
      copy.rel.spcnode = dbase->spcnode;
      copies[copy] = unknown;
    }
    for (auto& [page, unknown] : copies) pages_[page] = std::move(unknown);
  }
}

// Map pages that are cut off come back empty.
void CopiedMaps::note_truncation(const pg::DecodedRecord& record) {
  const auto truncate = parse_smgr_truncate(record);
  if (!truncate || !truncate->vm) return;
  pg::RelTag map = truncate->rel;
  map.forknum = pg::Fork::kVm;
  const VmPage first_cut{map, vm_truncation(truncate->nblocks).nblocks};
  for (auto at = pages_.lower_bound(first_cut); at != pages_.end() && at->first.rel == map; ++at) at->second.clear();
}

ByteView CopiedMaps::unknown_bits(const VmPage& page) const {
  const auto known = pages_.find(page);
  return known == pages_.end() ? ByteView() : ByteView(known->second);
}

}  // namespace helium::redo
