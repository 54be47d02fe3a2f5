// Redo of RM_HASH_ID. Which references are absent has meaning: one page may play two roles, and is named once.
// Source: PostgreSQL 15 hash_xlog.c, hash_xlog.h, hash.h, hashpage.c; 14 to 18 write the same layouts but for
// VACUUM_ONE_PAGE (16).

#include <bit>
#include <cmath>
#include <cstring>

#include "redo/index_tuple.h"
#include "redo/rmgr_redo.h"

namespace helium::redo {

namespace {

constexpr uint8_t kInitMetaPage = 0x00;
constexpr uint8_t kInitBitmapPage = 0x10;
constexpr uint8_t kInsert = 0x20;
constexpr uint8_t kAddOvflPage = 0x30;
constexpr uint8_t kSplitAllocatePage = 0x40;
constexpr uint8_t kSplitPage = 0x50;
constexpr uint8_t kSplitComplete = 0x60;
constexpr uint8_t kMovePageContents = 0x70;
constexpr uint8_t kSqueezePage = 0x80;
constexpr uint8_t kDelete = 0x90;
constexpr uint8_t kSplitCleanup = 0xA0;
constexpr uint8_t kUpdateMetaPage = 0xB0;
constexpr uint8_t kVacuumOnePage = 0xC0;

// Special area, 16 bytes: prev u32, next u32, bucket u32, flags u16, page id u16.
constexpr uint32_t kOpaqueSize = 16;
constexpr size_t kPrevAt = 0;
constexpr size_t kNextAt = 4;
constexpr size_t kBucketAt = 8;
constexpr size_t kFlagsAt = 12;
constexpr size_t kPageIdAt = 14;
constexpr uint16_t kPageId = 0xFF80;
constexpr uint16_t kUnusedPage = 0x0000;
constexpr uint16_t kOverflowPage = 0x0001;
constexpr uint16_t kBitmapPage = 0x0004;
constexpr uint16_t kMetaPage = 0x0008;
constexpr uint16_t kNeedsSplitCleanup = 0x0040;
constexpr uint16_t kHasDeadTuples = 0x0080;
constexpr uint32_t kNoBucket = 0xFFFFFFFF;

// HashMetaPageData, behind the page header.
constexpr size_t kMagicAt = 0;
constexpr size_t kVersionAt = 4;
constexpr size_t kTuplesAt = 8;  // double
constexpr size_t kFillFactorAt = 16;
constexpr size_t kPageSizeAt = 18;
constexpr size_t kBitmapSizeAt = 20;
constexpr size_t kBitmapShiftAt = 22;
constexpr size_t kMaxBucketAt = 24;
constexpr size_t kHighMaskAt = 28;
constexpr size_t kLowMaskAt = 32;
constexpr size_t kOvflPointAt = 36;
constexpr size_t kFirstFreeAt = 40;
constexpr size_t kMapsAt = 44;
constexpr size_t kProcAt = 48;
constexpr size_t kSparesAt = 52;
constexpr uint32_t kMaxSplitPoints = 98;
constexpr size_t kMapBlocksAt = kSparesAt + 4 * kMaxSplitPoints;
constexpr uint32_t kMaxMaps = 1024;
constexpr uint32_t kMetaSize = 4544;
static_assert(pg::max_align(kMapBlocksAt + 4 * kMaxMaps) == kMetaSize);
// What fits between header and special area.
constexpr uint32_t kMaxBitmapSize = pg::kBlockSize - pg::kPageHeaderSize - kOpaqueSize;

Result<std::byte*> opaque_of(const BlockRedo& redo) { return special_area(redo.page, kOpaqueSize); }

void clear_flag(std::byte* opaque, uint16_t flag) {
  store(opaque + kFlagsAt, static_cast<uint16_t>(load<uint16_t>(opaque + kFlagsAt) & ~flag));
}

std::byte* init_hash_page(MutableByteView page, uint32_t prev, uint32_t bucket, uint16_t flags) {
  pg::page_init(page, kOpaqueSize);
  std::byte* opaque = page.data() + pg::kBlockSize - kOpaqueSize;
  store(opaque + kPrevAt, prev);
  store(opaque + kNextAt, kNoBlock);
  store(opaque + kBucketAt, bucket);
  store(opaque + kFlagsAt, flags);
  store(opaque + kPageIdAt, kPageId);
  return opaque;
}

// HashMetaPageData of a page that says it is one.
Result<std::byte*> meta_of(const BlockRedo& redo) {
  HELIUM_ASSIGN(const std::byte* const opaque, opaque_of(redo));
  if ((load<uint16_t>(opaque + kFlagsAt) & kMetaPage) == 0) return bad("not a metapage");
  return redo.page.data() + pg::kPageHeaderSize;
}

Result<uint32_t> block_u32(const BlockRedo& redo, size_t at) {
  if (redo.ref.data.size() < at + 4) return bad("block data of {} bytes, {} needed", redo.ref.data.size(), at + 4);
  return load<uint32_t>(redo.ref.data.data() + at);
}

Status stamped(const BlockRedo& redo) {
  redo.stamp();
  return {};
}

// ---- Where buckets come from: splitpoints double the table, from the tenth on in four phases each.

constexpr uint32_t kGroupsWithOnePhase = 10;
constexpr uint32_t kPhaseBits = 2;

uint32_t spare_index(uint32_t buckets) {
  const auto group = static_cast<uint32_t>(std::bit_width(buckets - 1));  // ceil(log2)
  if (group < kGroupsWithOnePhase) return group;
  return kGroupsWithOnePhase + ((group - kGroupsWithOnePhase) << kPhaseBits) +
         (((buckets - 1) >> (group - (kPhaseBits + 1))) & ((1u << kPhaseBits) - 1));
}

uint32_t total_buckets(uint32_t phase) {
  if (phase < kGroupsWithOnePhase) return 1u << phase;
  const uint32_t behind = phase - kGroupsWithOnePhase;
  const uint32_t half = 1u << (kGroupsWithOnePhase + (behind >> kPhaseBits) - 1);
  return half + (half >> kPhaseBits) * ((behind & ((1u << kPhaseBits) - 1)) + 1);
}

// Initial buckets for so many tuples at a fill factor; at least two.
uint32_t initial_buckets(double tuples_per_factor) {
  constexpr uint32_t kMost = 0x40000000;
  if (tuples_per_factor <= 2.0) return 2;
  if (tuples_per_factor >= kMost) return kMost;
  return total_buckets(spare_index(static_cast<uint32_t>(tuples_per_factor)));
}

// ---- Records

// xl_hash_init_meta_page: tuples double, procedure u32, fill factor u16.
Status redo_init_meta(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_will_init(true));
  HELIUM_TRY(redo.need_main(14));
  const double tuples = redo.main<double>(0);
  const auto fill_factor = redo.main<uint16_t>(12);
  if (fill_factor == 0 || std::isnan(tuples)) return bad("{} tuples at a fill factor of {}", tuples, fill_factor);
  const uint32_t buckets = initial_buckets(tuples / fill_factor);
  const uint32_t spare = spare_index(buckets);
  const uint32_t high_mask = std::bit_ceil(buckets + 1) - 1;
  constexpr auto kShift = static_cast<uint16_t>(std::bit_width(kMaxBitmapSize) - 1);

  init_hash_page(redo.page, kNoBlock, kNoBucket, kMetaPage);
  std::byte* meta = redo.page.data() + pg::kPageHeaderSize;
  store(meta + kMagicAt, uint32_t{0x6440640});
  store(meta + kVersionAt, uint32_t{4});
  store(meta + kFillFactorAt, fill_factor);
  store(meta + kPageSizeAt, static_cast<uint16_t>(kMaxBitmapSize));
  store(meta + kBitmapSizeAt, static_cast<uint16_t>(1u << kShift));
  store(meta + kBitmapShiftAt, static_cast<uint16_t>(kShift + 3));
  store(meta + kMaxBucketAt, buckets - 1);
  store(meta + kHighMaskAt, high_mask);
  store(meta + kLowMaskAt, high_mask >> 1);
  store(meta + kOvflPointAt, spare);
  store(meta + kProcAt, redo.main<uint32_t>(8));
  store(meta + kSparesAt + 4 * spare, uint32_t{1});
  pg::set_page_lower(redo.page, pg::kPageHeaderSize + kMetaSize);
  return stamped(redo);
}

Status init_bitmap(const BlockRedo& redo, uint16_t size) {
  HELIUM_TRY(redo.need_will_init(true));
  if (size > kMaxBitmapSize) return bad("a bitmap of {} bytes", size);
  init_hash_page(redo.page, kNoBlock, kNoBucket, kBitmapPage);
  std::memset(redo.page.data() + pg::kPageHeaderSize, 0xFF, size);
  pg::set_page_lower(redo.page, static_cast<uint16_t>(pg::kPageHeaderSize + size));
  return stamped(redo);
}

Status append_bitmap(std::byte* meta, uint32_t blkno) {
  const auto maps = load<uint32_t>(meta + kMapsAt);
  if (maps >= kMaxMaps) return bad("{} bitmaps", maps);
  store(meta + kMapBlocksAt + 4 * maps, blkno);
  store(meta + kMapsAt, maps + 1);
  return {};
}

// xl_hash_init_bitmap_page: bitmap size u16. Block 0: the bitmap, 1: the metapage.
Status redo_init_bitmap(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(2));
  if (redo.ref.id == 0) return init_bitmap(redo, redo.main<uint16_t>(0));
  HELIUM_ASSIGN(std::byte* const meta, meta_of(redo));
  HELIUM_TRY(append_bitmap(meta, load<uint32_t>(meta + kMaxBucketAt) + 2));  // behind the buckets
  return stamped(redo);
}

// xl_hash_insert: offset number u16. Block 0: the page, with the tuple, 1: the metapage.
Status redo_insert(const BlockRedo& redo) {
  if (redo.ref.id == 1) {
    HELIUM_ASSIGN(std::byte* const meta, meta_of(redo));
    store(meta + kTuplesAt, load<double>(meta + kTuplesAt) + 1);
    return stamped(redo);
  }
  HELIUM_TRY(redo.need_main(2));
  HELIUM_TRY(opaque_of(redo));
  HELIUM_TRY(add_item(redo.page, redo.ref.data, redo.main<uint16_t>(0), AddMode::kIndex));
  return stamped(redo);
}

// Bit `number` of a bitmap page, in words of 32.
Status set_bitmap_bit(const BlockRedo& redo, bool value) {
  HELIUM_ASSIGN(const uint32_t number, block_u32(redo, 0));
  HELIUM_TRY(opaque_of(redo));
  if (number / 8 >= kMaxBitmapSize) return bad("bit {} of a bitmap", number);
  std::byte& byte = redo.page[pg::kPageHeaderSize + number / 8];
  const auto mask = static_cast<std::byte>(1u << number % 8);
  byte = value ? byte | mask : byte & ~mask;
  return stamped(redo);
}

// The metapage after an overflow page was added: a bit that was free already costs no spare page.
Status add_overflow_to_meta(const BlockRedo& redo, bool bit_found) {
  HELIUM_ASSIGN(std::byte* const meta, meta_of(redo));
  HELIUM_ASSIGN(const uint32_t first_free, block_u32(redo, 0));
  store(meta + kFirstFreeAt, first_free);
  if (!bit_found) {
    const auto point = load<uint32_t>(meta + kOvflPointAt);
    if (point >= kMaxSplitPoints) return bad("splitpoint {}", point);
    uint32_t added = 1;
    if (const pg::BlockRef* new_bitmap = redo.record.block(3)) {
      HELIUM_TRY(append_bitmap(meta, new_bitmap->blkno));
      added = 2;
    }
    store(meta + kSparesAt + 4 * point, load<uint32_t>(meta + kSparesAt + 4 * point) + added);
  }
  return stamped(redo);
}

// xl_hash_add_ovfl_page: bitmap size u16, bit found u8. Blocks 0: the new page (data: bucket), 1: the one before it,
// 2: the bitmap (data: bit), 3: a new bitmap, 4: the metapage (data: first free bit).
Status redo_add_overflow(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(3));
  switch (redo.ref.id) {
    case 0: {
      HELIUM_TRY(redo.need_will_init(true));
      HELIUM_ASSIGN(const uint32_t bucket, block_u32(redo, 0));
      const pg::BlockRef* left = redo.record.block(1);
      if (left == nullptr) return bad("no block 1");
      init_hash_page(redo.page, left->blkno, bucket, kOverflowPage);
      return stamped(redo);
    }
    case 1: {
      HELIUM_ASSIGN(std::byte* const opaque, opaque_of(redo));
      const pg::BlockRef* right = redo.record.block(0);
      if (right == nullptr) return bad("no block 0");
      store(opaque + kNextAt, right->blkno);
      return stamped(redo);
    }
    case 2: return set_bitmap_bit(redo, true);
    case 3: return init_bitmap(redo, redo.main<uint16_t>(0));
    default: return add_overflow_to_meta(redo, redo.main<uint8_t>(2) != 0);
  }
}

// xl_hash_split_allocate_page: new bucket u32, old bucket's flags u16, new bucket's flags u16, flags u8. Blocks 0: the
// old bucket, 1: the new one, 2: the metapage (data: masks u32, u32 and splitpoint u32, its spares u32, as flags tell).
Status set_old_bucket(const BlockRedo& redo) {
  HELIUM_ASSIGN(std::byte* const opaque, opaque_of(redo));
  store(opaque + kFlagsAt, redo.main<uint16_t>(4));
  store(opaque + kPrevAt, redo.main<uint32_t>(0));
  return stamped(redo);
}
Status redo_split_allocate(const BlockRedo& redo) {
  constexpr uint8_t kUpdateMasks = 0x01;
  constexpr uint8_t kUpdateSplitPoint = 0x02;
  HELIUM_TRY(redo.need_main(9));
  if (redo.ref.id == 0) return set_old_bucket(redo);
  const auto new_bucket = redo.main<uint32_t>(0);
  if (redo.ref.id == 1) {
    HELIUM_TRY(redo.need_will_init(true));
    init_hash_page(redo.page, new_bucket, new_bucket, redo.main<uint16_t>(6));
    return stamped(redo);
  }
  HELIUM_ASSIGN(std::byte* const meta, meta_of(redo));
  store(meta + kMaxBucketAt, new_bucket);
  const auto flags = redo.main<uint8_t>(8);
  size_t at = 0;
  if (flags & kUpdateMasks) {
    HELIUM_ASSIGN(const uint32_t low_mask, block_u32(redo, at));
    HELIUM_ASSIGN(const uint32_t high_mask, block_u32(redo, at + 4));
    store(meta + kLowMaskAt, low_mask);
    store(meta + kHighMaskAt, high_mask);
    at += 8;
  }
  if (flags & kUpdateSplitPoint) {
    HELIUM_ASSIGN(const uint32_t point, block_u32(redo, at));
    HELIUM_ASSIGN(const uint32_t spares, block_u32(redo, at + 4));
    if (point >= kMaxSplitPoints) return bad("splitpoint {}", point);
    store(meta + kSparesAt + 4 * point, spares);
    store(meta + kOvflPointAt, point);
  }
  return stamped(redo);
}

// xl_hash_split_complete: flags of the old and of the new bucket, u16 each. Blocks 0 and 1: these.
Status redo_split_complete(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(4));
  HELIUM_ASSIGN(std::byte* const opaque, opaque_of(redo));
  store(opaque + kFlagsAt, redo.main<uint16_t>(redo.ref.id == 0 ? 0 : 2));
  return stamped(redo);
}

// Block data: an offset number u16 for each of `count` tuples, then the tuples, aligned.
Status add_moved_tuples(const BlockRedo& redo, uint32_t count) {
  HELIUM_TRY(opaque_of(redo));
  if (count == 0) return {};
  if (redo.ref.data.size() < 2 * count) return bad("{} offsets in {} bytes", count, redo.ref.data.size());
  ByteView tuples = redo.ref.data.subspan(2 * count);
  for (uint32_t i = 0; i < count; ++i) {
    HELIUM_ASSIGN(const ByteView tuple, index_tuple_at(tuples));
    const size_t size = pg::max_align(static_cast<uint32_t>(tuple.size()));
    if (size > tuples.size()) return bad("tuple {} of {} is cut off", i + 1, count);
    HELIUM_TRY(add_item(redo.page, tuples.first(size), load<uint16_t>(redo.ref.data.data() + 2 * i), AddMode::kIndex));
    tuples = tuples.subspan(size);
  }
  if (!tuples.empty()) return bad("{} tuples leave {} bytes over", count, tuples.size());
  return {};
}

// Block data: offset numbers u16.
Status delete_listed(const BlockRedo& redo) {
  HELIUM_TRY(opaque_of(redo));
  return delete_index_items(redo.page, redo.ref.data.first(redo.ref.data.size() / 2 * 2));
}

// xl_hash_move_page_contents: tuples u16, target is the primary bucket page u8. Blocks 0: the primary bucket page,
// only to be locked, 1: the target, 2: where the tuples go away.
Status redo_move(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(3));
  if (redo.ref.id == 0) return {};
  if (redo.ref.id == 1)
    HELIUM_TRY(add_moved_tuples(redo, redo.main<uint16_t>(0)));
  else
    HELIUM_TRY(delete_listed(redo));
  return stamped(redo);
}

// xl_hash_squeeze_page: prev u32, next u32, tuples u16, target is the primary bucket page u8, target is the page before
// the freed one u8. Blocks 0: the primary bucket page, only to be locked, 1: the target, 2: the freed page, 3: the page
// before it, 4: the one behind it, 5: the bitmap (data: bit), 6: the metapage (data: first free bit).
Status redo_squeeze(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(12));
  const auto prev = redo.main<uint32_t>(0);
  const auto next = redo.main<uint32_t>(4);
  const uint32_t count = redo.main<uint16_t>(8);
  const bool target_is_prev = redo.main<uint8_t>(11) != 0;
  const auto set_link = [&redo](size_t at, uint32_t blkno) -> Status {
    HELIUM_ASSIGN(std::byte* const opaque, opaque_of(redo));
    store(opaque + at, blkno);
    return stamped(redo);
  };
  switch (redo.ref.id) {
    case 0: return {};
    case 1:
      HELIUM_TRY(add_moved_tuples(redo, count));
      if (target_is_prev) return set_link(kNextAt, next);
      if (count == 0 && redo.context.pg_version >= 17) return {};  // named for its lock
      return stamped(redo);
    case 2:
      init_hash_page(redo.page, kNoBlock, kNoBucket, kUnusedPage);
      return stamped(redo);
    case 3: return target_is_prev ? Status{} : set_link(kNextAt, next);
    case 4: return set_link(kPrevAt, prev);
    case 5: return set_bitmap_bit(redo, false);
    default: {
      HELIUM_ASSIGN(std::byte* const meta, meta_of(redo));
      HELIUM_ASSIGN(const uint32_t first_free, block_u32(redo, 0));
      store(meta + kFirstFreeAt, first_free);
      return stamped(redo);
    }
  }
}

// xl_hash_delete: clear the dead-tuples hint u8, it is the primary bucket page u8. Blocks 0: the primary bucket page,
// only to be locked, 1: the page.
Status redo_delete(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(2));
  if (redo.ref.id == 0) return {};
  HELIUM_TRY(delete_listed(redo));
  HELIUM_ASSIGN(std::byte* const opaque, opaque_of(redo));
  if (redo.main<uint8_t>(0) != 0) clear_flag(opaque, kHasDeadTuples);
  return stamped(redo);
}

Status redo_split_cleanup(const BlockRedo& redo) {
  HELIUM_ASSIGN(std::byte* const opaque, opaque_of(redo));
  clear_flag(opaque, kNeedsSplitCleanup);
  return stamped(redo);
}

// xl_hash_update_meta_page: tuples double.
Status redo_update_meta(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(8));
  HELIUM_ASSIGN(std::byte* const meta, meta_of(redo));
  store(meta + kTuplesAt, redo.main<double>(0));
  return stamped(redo);
}

// xl_hash_vacuum_one_page: xid u32, tuples i32 (from 16 on u16 and a flag), then offset numbers u16. Blocks 0: the
// page, 1: the metapage.
Status redo_vacuum_one_page(const BlockRedo& redo) {
  constexpr size_t kOffsetsAt = 8;
  HELIUM_TRY(redo.need_main(kOffsetsAt));
  const uint32_t count = redo.context.pg_version >= 16 ? redo.main<uint16_t>(4) : redo.main<uint32_t>(4);
  const ByteView offsets = redo.record.main_data.subspan(kOffsetsAt);
  if (count > kMaxItemIds) return bad("{} offsets", count);
  if (redo.ref.id == 1) {
    HELIUM_ASSIGN(std::byte* const meta, meta_of(redo));
    store(meta + kTuplesAt, load<double>(meta + kTuplesAt) - count);
    return stamped(redo);
  }
  HELIUM_ASSIGN(std::byte* const opaque, opaque_of(redo));
  if (!offsets.empty()) {
    if (offsets.size() < 2 * count) return bad("{} offsets in {} bytes", count, offsets.size());
    HELIUM_TRY(delete_index_items(redo.page, offsets.first(2 * count)));
  }
  clear_flag(opaque, kHasDeadTuples);
  return stamped(redo);
}

uint8_t block_count(uint8_t op) {
  switch (op) {
    case kInitBitmapPage:
    case kInsert:
    case kSplitComplete:
    case kDelete:
    case kVacuumOnePage: return 2;
    case kSplitAllocatePage:
    case kMovePageContents: return 3;
    case kAddOvflPage: return 5;
    case kSqueezePage: return 7;
    default: return 1;
  }
}

}  // namespace

Status redo_hash(const BlockRedo& redo) {
  const uint8_t op = redo.record.op();
  if (redo.ref.id >= block_count(op)) return bad("block {} has no meaning", redo.ref.id);
  switch (op) {
    case kInitMetaPage: return redo_init_meta(redo);
    case kInitBitmapPage: return redo_init_bitmap(redo);
    case kInsert: return redo_insert(redo);
    case kAddOvflPage: return redo_add_overflow(redo);
    case kSplitAllocatePage: return redo_split_allocate(redo);
    case kSplitPage: return bad("a split page without image");
    case kSplitComplete: return redo_split_complete(redo);
    case kMovePageContents: return redo_move(redo);
    case kSqueezePage: return redo_squeeze(redo);
    case kDelete: return redo_delete(redo);
    case kSplitCleanup: return redo_split_cleanup(redo);
    case kUpdateMetaPage: return redo_update_meta(redo);
    case kVacuumOnePage: return redo_vacuum_one_page(redo);
    default: return bad("an unknown record type");
  }
}

// The image was taken before the bucket flags changed.
Status finish_hash_image(const BlockRedo& redo) {
  const uint8_t op = redo.record.op();
  if (op == kSplitAllocatePage && redo.ref.id == 0) {
    HELIUM_TRY(redo.need_main(9));
    return set_old_bucket(redo);
  }
  if (op == kSplitComplete && redo.ref.id <= 1) return redo_split_complete(redo);
  return {};
}

}  // namespace helium::redo
