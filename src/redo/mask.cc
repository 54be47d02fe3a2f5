#include "redo/mask.h"

#include <cstring>

#include "redo/btree_tuple.h"
#include "redo/heap_tuple.h"

namespace helium::redo {

using pg::ItemFlags;
using pg::ItemId;
using pg::Rmgr;

namespace {

constexpr uint32_t kSmallOpaque = 8;   // GIN, SP-GiST and BRIN special areas
constexpr uint16_t kGinDeleted = 0x0004;
constexpr uint16_t kGistLeaf = 0x0001;
constexpr uint16_t kGistTuplesDeleted = 0x0004;
constexpr uint16_t kGistFollowRight = 0x0008;
constexpr uint16_t kGistHasGarbage = 0x0010;
constexpr uint16_t kHashPageType = 0x000F;
constexpr uint16_t kHashOverflowPage = 0x0001;
constexpr uint16_t kHashBucketPage = 0x0002;
constexpr uint16_t kHashHasDeadTuples = 0x0080;
constexpr uint16_t kBrinMetaPage = 0xF091;
constexpr uint16_t kBrinRegularPage = 0xF093;
constexpr uint16_t kBrinEvacuate = 0x0001;

void mask_lsn_and_checksum(MutableByteView page) {
  pg::set_page_lsn(page, Lsn(0));
  pg::set_page_stored_checksum(page, 0);
}

void mask_hint_bits(MutableByteView page) {
  pg::set_page_prune_xid(page, 0);
  const uint16_t hints = pg::kPdPageFull | pg::kPdHasFreeLines | pg::kPdAllVisible;
  pg::set_page_flags(page, pg::page_flags(page) & static_cast<uint16_t>(~hints));
}

Status mask_hole(MutableByteView page) {
  const uint32_t lower = pg::page_lower(page);
  const uint32_t upper = pg::page_upper(page);
  if (lower > upper || pg::page_special(page) < upper || lower < pg::kPageHeaderSize ||
      pg::page_special(page) > pg::kBlockSize)
    return bad("page pointers lower {} upper {} special {}", lower, upper, pg::page_special(page));
  std::memset(page.data() + lower, 0, upper - lower);
  return {};
}

void mask_line_pointer_flags(MutableByteView page) {
  const uint32_t count = pg::page_item_count(page);
  for (uint32_t i = 1; i <= count; ++i) {
    ItemId id = pg::page_item_id(page, static_cast<uint16_t>(i));
    id.flags = ItemFlags::kUnused;
    pg::set_page_item_id(page, static_cast<uint16_t>(i), id);
  }
}

// mask_page_content: nothing but the header's head and the special pointer stays.
void mask_content(MutableByteView page) {
  std::memset(page.data() + pg::kPageHeaderSize, 0, page.size() - pg::kPageHeaderSize);
  pg::set_page_lower(page, 0);
  pg::set_page_upper(page, 0);
}

void clear_u16(std::byte* at, uint16_t bits) { store(at, static_cast<uint16_t>(load<uint16_t>(at) & ~bits)); }

void mask_heap_tuple(MutableByteView item, uint32_t blkno, uint16_t number) {
  if (item.size() < kHeapTupleHeaderSize) return;
  HeapTuple tuple(item.data());
  if ((tuple.infomask() & kHeapXminFrozen) != kHeapXminFrozen)
    tuple.clear_infomask(kHeapXactMask);
  else
    tuple.clear_infomask(kHeapXmaxInvalid | kHeapXmaxCommitted);
  tuple.set_cid(0);
  if (tuple.ctid_offset() == kSpecTokenOffset) tuple.set_ctid(blkno, number);
}

Status mask_heap(MutableByteView page, uint32_t blkno) {
  mask_hint_bits(page);
  HELIUM_TRY(mask_hole(page));
  const uint32_t count = pg::page_item_count(page);
  for (uint32_t i = 1; i <= count; ++i) {
    const auto number = static_cast<uint16_t>(i);
    const ItemId id = pg::page_item_id(page, number);
    if (!id.has_storage() || !pg::item_in_bounds(page, id)) continue;
    if (id.flags == ItemFlags::kNormal) mask_heap_tuple(pg::page_item(page, id), blkno, number);
    const uint32_t padding = pg::max_align(id.length) - id.length;
    const uint32_t end = id.offset + id.length;
    if (end + padding <= page.size()) std::memset(page.data() + end, 0, padding);
  }
  return {};
}

Status mask_btree(MutableByteView page) {
  mask_hint_bits(page);
  HELIUM_TRY(mask_hole(page));
  HELIUM_ASSIGN(std::byte* const at, special_area(page, kBtreeOpaqueSize));
  BtreeOpaque opaque(at);
  if (opaque.flags() & kBtpLeaf) mask_line_pointer_flags(page);
  opaque.clear_flags(kBtpHasGarbage | kBtpSplitEnd);
  opaque.set_cycle_id(0);
  return {};
}

Status mask_hash(MutableByteView page) {
  mask_hint_bits(page);
  HELIUM_TRY(mask_hole(page));
  HELIUM_ASSIGN(std::byte* const opaque, special_area(page, 16));
  const uint16_t type = load<uint16_t>(opaque + 12) & kHashPageType;
  if (type == 0)
    mask_content(page);
  else if (type == kHashBucketPage || type == kHashOverflowPage)
    mask_line_pointer_flags(page);
  clear_u16(opaque + 12, kHashHasDeadTuples);
  return {};
}

Status mask_gist(MutableByteView page) {
  mask_hint_bits(page);
  HELIUM_TRY(mask_hole(page));
  HELIUM_ASSIGN(std::byte* const opaque, special_area(page, 16));
  store(opaque, uint64_t{0});  // NSN
  const auto flags = load<uint16_t>(opaque + 12);
  // F_TUPLES_DELETED is a mark that nobody reads; minor versions differ in setting it (docs/redo.md), and so do we.
  store(opaque + 12, static_cast<uint16_t>((flags | kGistFollowRight) & ~(kGistHasGarbage | kGistTuplesDeleted)));
  if (flags & kGistLeaf) mask_line_pointer_flags(page);
  return {};
}

Status mask_gin(MutableByteView page) {
  mask_hint_bits(page);
  HELIUM_ASSIGN(std::byte* const opaque, special_area(page, kSmallOpaque));
  if (load<uint16_t>(opaque + 6) & kGinDeleted)
    mask_content(page);
  else if (pg::page_lower(page) > pg::kPageHeaderSize)
    return mask_hole(page);
  return {};
}

Status mask_spgist(MutableByteView page) {
  mask_hint_bits(page);
  if (pg::page_lower(page) >= pg::kPageHeaderSize) return mask_hole(page);
  return {};
}

Status mask_brin(MutableByteView page) {
  mask_hint_bits(page);
  HELIUM_ASSIGN(std::byte* const special, special_area(page, kSmallOpaque));
  const auto type = load<uint16_t>(special + 6);
  if (type == kBrinRegularPage || (type == kBrinMetaPage && pg::page_lower(page) > pg::kPageHeaderSize))
    HELIUM_TRY(mask_hole(page));
  clear_u16(special + 4, kBrinEvacuate);
  return {};
}

}  // namespace

Status mask_page(uint8_t rmgr, uint8_t info, const pg::RelTag& rel, uint32_t blkno, MutableByteView page) {
  (void)info;
  if (page.size() != pg::kBlockSize) return bad("mask: a page of {} bytes", page.size());
  mask_lsn_and_checksum(page);
  if (pg::page_is_new(page)) return {};
  switch (static_cast<Rmgr>(rmgr)) {
    case Rmgr::kHeap:
    case Rmgr::kHeap2: return rel.forknum == pg::Fork::kVm ? Status{} : mask_heap(page, blkno);
    case Rmgr::kBtree: return mask_btree(page);
    case Rmgr::kHash: return mask_hash(page);
    case Rmgr::kGin: return mask_gin(page);
    case Rmgr::kGist: return mask_gist(page);
    case Rmgr::kSpgist: return mask_spgist(page);
    case Rmgr::kBrin: return mask_brin(page);
    case Rmgr::kSeq:
    case Rmgr::kGeneric: return mask_hole(page);
    default: return {};
  }
}

std::optional<uint32_t> compare_pages(ByteView a, ByteView b) {
  const size_t size = std::min(a.size(), b.size());
  if (a.size() == b.size() && std::memcmp(a.data(), b.data(), size) == 0) return std::nullopt;
  for (size_t i = 0; i < size; ++i)
    if (a[i] != b[i]) return static_cast<uint32_t>(i);
  return static_cast<uint32_t>(size);
}

}  // namespace helium::redo
