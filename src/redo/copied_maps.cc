#include "redo/copied_maps.h"

#include <algorithm>

#include "pg/page.h"
#include "redo/brin_page.h"
#include "redo/side_effects.h"

namespace helium::redo {

namespace {

constexpr uint32_t kFirstNormalObjectId = 16384;  // databases from here on were made by CREATE DATABASE

// Where a map has its content: behind the header, before the special area (which a visibility map has not).
std::span<std::byte> content(Bytes& page) {
  return std::span(page).subspan(pg::kPageHeaderSize, pg::page_special(page) - pg::kPageHeaderSize);
}

Bytes full_page(bool is_visibility_map) {
  Bytes page(pg::kBlockSize);
  is_visibility_map ? pg::page_init(page, 0) : init_brin_page(page, kBrinRevmapPage);
  std::ranges::fill(content(page), std::byte{0xFF});
  return page;
}

// All content of a map lies in the hole of an image that was logged as a standard page's.
bool lacks_content(const pg::BlockImage& image, uint32_t special_size) {
  return image.hole_offset == pg::kPageHeaderSize && image.hole_length == pg::kBlockSize - pg::kPageHeaderSize - special_size;
}

bool is_revmap_without_content(const pg::BlockImage& image) {
  if (!lacks_content(image, kBrinSpecialSize)) return false;
  Bytes page(pg::kBlockSize);
  return pg::restore_image(image, page) && is_brin_revmap_page(page);
}

}  // namespace

Bytes& CopiedMaps::find(const MapPage& page, const IsOlder& is_older) {
  auto known = full_.find(page);
  if (known == full_.end())
    known = full_.emplace(page, is_older(page) ? full_page(page.rel.forknum == pg::Fork::kVm) : Bytes()).first;
  return known->second;
}

void CopiedMaps::note(const pg::DecodedRecord& record, int pg_version, Lsn record_end_lsn, const IsOlder& is_older) {
  if (record.rmgr == static_cast<uint8_t>(pg::Rmgr::kDbase)) note_database(record, pg_version);
  if (record.rmgr == static_cast<uint8_t>(pg::Rmgr::kSmgr)) note_truncation(record);
  RedoContext context;
  context.record_end_lsn = record_end_lsn;
  context.pg_version = pg_version;
  // What redo refuses decides nothing.
  for (const pg::BlockRef& ref : record.blocks) {
    if (ref.rel.dbnode < kFirstNormalObjectId) continue;
    const MapPage page{ref.rel, ref.blkno};
    if (ref.image && ref.image->apply) {
      note_image(page, *ref.image);
    } else if (ref.rel.forknum == pg::Fork::kVm || is_brin_revmap_block(record, ref)) {
      context.rel = ref.rel;
      context.blkno = ref.blkno;
      if (Bytes& full = find(page, is_older); !full.empty()) (void)redo_block(record, ref, context, full);
    }
  }
  for_each_vm_effect(record, pg_version, [&](const VmPage& vm) {
    if (vm.rel.dbnode < kFirstNormalObjectId) return;
    context.rel = vm.rel;
    context.blkno = vm.blkno;
    if (Bytes& full = find({vm.rel, vm.blkno}, is_older); !full.empty()) (void)redo_vm_side_effect(record, context, full);
  });
}

void CopiedMaps::note_image(const MapPage& page, const pg::BlockImage& image) {
  if (page.rel.forknum == pg::Fork::kVm) {
    full_[page] = lacks_content(image, 0) ? full_page(true) : Bytes();
  } else if (page.rel.forknum == pg::Fork::kMain) {
    if (is_revmap_without_content(image))
      full_[page] = full_page(false);
    else if (const auto known = full_.find(page); known != full_.end())
      known->second.clear();
  }
}

// A copy by files takes what is unknown with it; what is dropped is forgotten.
void CopiedMaps::note_database(const pg::DecodedRecord& record, int pg_version) {
  const auto dbase = parse_dbase(record, pg_version);
  if (!dbase) return;
  if (dbase->op == DbaseOp::kDrop) {
    std::erase_if(full_, [&](const auto& entry) {
      const pg::RelTag& rel = entry.first.rel;
      return rel.dbnode == dbase->dbnode && std::ranges::find(dbase->drop_spcnodes, rel.spcnode) != dbase->drop_spcnodes.end();
    });
  } else if (dbase->op == DbaseOp::kCreateFileCopy) {
    std::map<MapPage, Bytes> copies;
    for (const auto& [page, full] : full_) {
      if (page.rel.dbnode != dbase->src_dbnode || page.rel.spcnode != dbase->src_spcnode) continue;
      MapPage copy = page;
      copy.rel.dbnode = dbase->dbnode;
      copy.rel.spcnode = dbase->spcnode;
      copies[copy] = full;
    }
    for (auto& [page, full] : copies) full_[page] = std::move(full);
  }
}

// Map pages that are cut off come back empty.
void CopiedMaps::note_truncation(const pg::DecodedRecord& record) {
  const auto truncate = parse_smgr_truncate(record);
  if (!truncate || !truncate->vm) return;
  pg::RelTag map = truncate->rel;
  map.forknum = pg::Fork::kVm;
  const MapPage first_cut{map, vm_truncation(truncate->nblocks).nblocks};
  for (auto at = full_.lower_bound(first_cut); at != full_.end() && at->first.rel == map; ++at) at->second.clear();
}

void CopiedMaps::copy_unknown(const MapPage& page, ByteView ours, MutableByteView theirs) const {
  const auto known = full_.find(page);
  if (known == full_.end() || known->second.empty()) return;
  const Bytes& full = known->second;
  for (size_t at = pg::kPageHeaderSize; at < full.size(); ++at) {
    const std::byte unknown = ours[at] ^ full[at];
    theirs[at] = (theirs[at] & ~unknown) | (ours[at] & unknown);
  }
}

}  // namespace helium::redo
