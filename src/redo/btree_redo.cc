// Redo of RM_BTREE_ID. Source: PostgreSQL 15 nbtxlog.c, nbtxlog.h; 14 to 18 write the same layouts, but for fields
// that only hot standby reads.

#include <cstring>

#include "redo/btree_posting.h"
#include "redo/rmgr_redo.h"

namespace helium::redo {

namespace {

constexpr uint8_t kInsertLeaf = 0x00;
constexpr uint8_t kInsertUpper = 0x10;
constexpr uint8_t kInsertMeta = 0x20;
constexpr uint8_t kSplitL = 0x30;
constexpr uint8_t kSplitR = 0x40;
constexpr uint8_t kInsertPost = 0x50;
constexpr uint8_t kDedup = 0x60;
constexpr uint8_t kDelete = 0x70;
constexpr uint8_t kUnlinkPage = 0x80;
constexpr uint8_t kUnlinkPageMeta = 0x90;
constexpr uint8_t kNewroot = 0xA0;
constexpr uint8_t kMarkPageHalfdead = 0xB0;
constexpr uint8_t kVacuum = 0xC0;
constexpr uint8_t kMetaCleanup = 0xE0;

// What a page is to a record: the block ids differ from record to record.
enum class Role : uint8_t { kNone, kMeta, kChild, kMain, kRight, kFarRight, kParent, kLeft, kLeaf };

Role role_of(uint8_t op, uint8_t id) {
  const auto pick = [id](std::initializer_list<Role> roles) { return id < roles.size() ? roles.begin()[id] : Role::kNone; };
  switch (op) {
    case kInsertLeaf:
    case kInsertPost:
    case kDedup:
    case kDelete:
    case kVacuum: return pick({Role::kMain});
    case kInsertUpper: return pick({Role::kMain, Role::kChild});
    case kInsertMeta: return pick({Role::kMain, Role::kChild, Role::kMeta});
    case kSplitL:
    case kSplitR: return pick({Role::kMain, Role::kRight, Role::kFarRight, Role::kChild});
    case kUnlinkPage: return pick({Role::kMain, Role::kLeft, Role::kRight, Role::kLeaf});
    case kUnlinkPageMeta: return pick({Role::kMain, Role::kLeft, Role::kRight, Role::kLeaf, Role::kMeta});
    case kNewroot: return pick({Role::kMain, Role::kChild, Role::kMeta});
    case kMarkPageHalfdead: return pick({Role::kMain, Role::kParent});
    case kMetaCleanup: return pick({Role::kMeta});
    default: return Role::kNone;
  }
}

// Adds tuples that were copied from a page's upper part: the last item of the page comes first.
Status restore_items(MutableByteView page, ByteView data) {
  std::array<ByteView, kMaxItemIds> items;
  uint32_t count = 0;
  while (!data.empty()) {
    HELIUM_ASSIGN(const ByteView tuple, index_tuple_at(data));
    const size_t size = pg::max_align(static_cast<uint32_t>(tuple.size()));
    if (size > data.size() || count == kMaxItemIds) return bad("index tuples of {} bytes do not fit", data.size());
    items[count++] = data.first(size);
    data = data.subspan(size);
  }
  for (uint32_t i = count; i-- > 0;)
    HELIUM_TRY(add_item(page, items[i], static_cast<uint16_t>(count - i), AddMode::kIndex));
  return {};
}

// The metapage, from xl_btree_metadata in block data: version, root, level, fastroot, fastlevel, num_delpages u32
// each, allequalimage u8.
Status restore_meta(const BlockRedo& redo) {
  constexpr uint32_t kMagic = 0x053162;
  constexpr size_t kMetadataSize = 25;
  constexpr uint32_t kMetaSize = 48;  // BTMetaPageData
  HELIUM_TRY(redo.need_will_init(true));
  if (redo.ref.data.size() < kMetadataSize) return bad("metadata of {} bytes", redo.ref.data.size());
  const std::byte* from = redo.ref.data.data();
  BtreeOpaque opaque = init_btree_page(redo.page);
  std::byte* meta = redo.page.data() + pg::kPageHeaderSize;
  store(meta, kMagic);
  std::memcpy(meta + 4, from, 24);
  store(meta + 32, -1.0);  // btm_last_cleanup_num_heap_tuples, not used any more
  store(meta + 40, static_cast<uint8_t>(load<uint8_t>(from + 24) != 0));
  opaque.set_flags(kBtpMeta);
  pg::set_page_lower(redo.page, static_cast<uint16_t>(pg::kPageHeaderSize + kMetaSize));
  redo.stamp();
  return {};
}

// A child whose downlink has now been inserted.
Status clear_incomplete_split(const BlockRedo& redo) {
  HELIUM_ASSIGN(BtreeOpaque opaque, btree_opaque(redo.page));
  opaque.clear_flags(kBtpIncompleteSplit);
  redo.stamp();
  return {};
}

// A sibling whose link to the changed page changes: set the left or the right link.
enum class Link : uint8_t { kPrev, kNext };
Status set_link(const BlockRedo& redo, Link link, uint32_t blkno) {
  HELIUM_ASSIGN(BtreeOpaque opaque, btree_opaque(redo.page));
  if (link == Link::kPrev)
    opaque.set_prev(blkno);
  else
    opaque.set_next(blkno);
  redo.stamp();
  return {};
}

// A half-dead leaf: no items but a dummy high key that names the top parent.
Status init_half_dead_leaf(const BlockRedo& redo, uint32_t left, uint32_t right, uint32_t top_parent) {
  HELIUM_TRY(redo.need_will_init(true));
  BtreeOpaque opaque = init_btree_page(redo.page);
  opaque.set_prev(left);
  opaque.set_next(right);
  opaque.set_flags(kBtpHalfDead | kBtpLeaf);
  std::array<std::byte, kIndexTupleHeader> high_key{};
  set_tid_blkno(high_key.data(), top_parent);
  store(high_key.data() + 6, static_cast<uint16_t>(kIndexTupleHeader | kIndexAltTid));
  HELIUM_TRY(add_item(redo.page, high_key, kBtreeHighKey, AddMode::kIndex));
  redo.stamp();
  return {};
}

// xl_btree_insert: offnum u16. Block data: the new tuple; for INSERT_POST an offset into a posting list before it.
Status redo_insert(const BlockRedo& redo, bool posting) {
  HELIUM_TRY(redo.need_main(2));
  HELIUM_TRY(btree_opaque(redo.page));
  const auto offnum = redo.main<uint16_t>(0);
  if (!posting) {
    HELIUM_TRY(add_item(redo.page, redo.ref.data, offnum, AddMode::kIndex));
    redo.stamp();
    return {};
  }
  if (redo.ref.data.size() < 2 || offnum < 2) return bad("posting split at offset {} with {} bytes", offnum, redo.ref.data.size());
  const uint32_t posting_offset = load<uint16_t>(redo.ref.data.data());
  HELIUM_ASSIGN(const ByteView logged_item, index_tuple_at(redo.ref.data.subspan(2)));
  HELIUM_ASSIGN(IndexTupleBuffer new_item, IndexTupleBuffer::copy_of(logged_item));
  HELIUM_ASSIGN(const MutableByteView old_item, get_item(redo.page, static_cast<uint16_t>(offnum - 1)));
  HELIUM_ASSIGN(const ByteView old_posting, index_tuple_at(old_item));
  HELIUM_ASSIGN(const IndexTupleBuffer new_posting, swap_posting(new_item, old_posting, posting_offset));
  std::memcpy(old_item.data(), new_posting.view().data(), new_posting.view().size());
  HELIUM_TRY(add_item(redo.page, new_item.view(), offnum, AddMode::kIndex));
  redo.stamp();
  return {};
}

// xl_btree_split: level u32, firstrightoff u16, newitemoff u16, postingoff u16.
struct SplitRecord {
  uint32_t level;
  uint16_t first_right;
  uint16_t new_item_offset;
  uint16_t posting_offset;
  bool new_item_on_left;
};

Status redo_split_right(const BlockRedo& redo, const SplitRecord& split) {
  HELIUM_TRY(redo.need_will_init(true));
  const pg::BlockRef* left = redo.record.block(0);
  const pg::BlockRef* far_right = redo.record.block(2);
  if (left == nullptr) return bad("no block 0");
  BtreeOpaque opaque = init_btree_page(redo.page);
  opaque.set_prev(left->blkno);
  opaque.set_next(far_right != nullptr ? far_right->blkno : kBtreeNone);
  opaque.set_level(split.level);
  opaque.set_flags(split.level == 0 ? kBtpLeaf : 0);
  HELIUM_TRY(restore_items(redo.page, redo.ref.data));
  redo.stamp();
  return {};
}

// The left half: high key, then the old page's items up to first_right, with the new item among them if it belongs
// there, and with the posting list before it replaced if it was split. Block data: [new item] left high key.
Status redo_split_left(const BlockRedo& redo, const SplitRecord& split) {
  const pg::BlockRef* right = redo.record.block(1);
  if (right == nullptr) return bad("no block 1");
  HELIUM_ASSIGN(const BtreeOpaque old_opaque, btree_opaque(redo.page));
  ByteView data = redo.ref.data;
  const auto take_tuple = [&data]() -> Result<ByteView> {
    HELIUM_ASSIGN(const ByteView tuple, index_tuple_at(data));
    const size_t size = pg::max_align(static_cast<uint32_t>(tuple.size()));
    if (size > data.size()) return bad("index tuple of {} bytes is cut off", tuple.size());
    const ByteView whole = data.first(size);
    data = data.subspan(size);
    return whole;
  };
  IndexTupleBuffer new_item;
  IndexTupleBuffer new_posting;
  uint32_t replace_at = 0;
  if (split.new_item_on_left || split.posting_offset != 0) {
    HELIUM_ASSIGN(const ByteView logged_item, take_tuple());
    HELIUM_ASSIGN(new_item, IndexTupleBuffer::copy_of(logged_item));
    if (split.posting_offset != 0) {
      if (split.new_item_offset < 2) return bad("posting split before offset {}", split.new_item_offset);
      replace_at = split.new_item_offset - 1u;
      HELIUM_ASSIGN(const ByteView old_posting, get_index_tuple(redo.page, static_cast<uint16_t>(replace_at)));
      HELIUM_ASSIGN(new_posting, swap_posting(new_item, old_posting, split.posting_offset));
    }
  }
  HELIUM_ASSIGN(const ByteView high_key, take_tuple());
  if (!data.empty()) return bad("{} bytes behind the high key", data.size());

  std::array<std::byte, pg::kBlockSize> left_bytes;
  const MutableByteView left(left_bytes);
  HELIUM_TRY(init_like(left, redo.page));
  uint32_t next = kBtreeHighKey;
  const auto append = [&](ByteView tuple) { return add_item(left, tuple, static_cast<uint16_t>(next++), AddMode::kIndex); };
  HELIUM_TRY(append(high_key));
  uint32_t offset = old_opaque.first_data_key();
  for (; offset < split.first_right; ++offset) {
    if (offset == replace_at) {
      HELIUM_TRY(append(new_posting.view()));
      continue;
    }
    if (split.new_item_on_left && offset == split.new_item_offset) HELIUM_TRY(append(new_item.view()));
    HELIUM_ASSIGN(const MutableByteView item, get_item(redo.page, static_cast<uint16_t>(offset)));
    HELIUM_TRY(append(item));
  }
  if (split.new_item_on_left && offset == split.new_item_offset) HELIUM_TRY(append(new_item.view()));

  std::memcpy(redo.page.data(), left.data(), pg::kBlockSize);
  HELIUM_ASSIGN(BtreeOpaque opaque, btree_opaque(redo.page));
  opaque.set_flags(kBtpIncompleteSplit | (split.level == 0 ? kBtpLeaf : 0));
  opaque.set_next(right->blkno);
  opaque.set_cycle_id(0);
  redo.stamp();
  return {};
}

Status redo_split(const BlockRedo& redo, Role role, bool new_item_on_left) {
  HELIUM_TRY(redo.need_main(10));
  const SplitRecord split{redo.main<uint32_t>(0), redo.main<uint16_t>(4), redo.main<uint16_t>(6),
                          redo.main<uint16_t>(8), new_item_on_left};
  if (role == Role::kMain) return redo_split_left(redo, split);
  if (role == Role::kRight) return redo_split_right(redo, split);
  const pg::BlockRef* right = redo.record.block(1);
  if (right == nullptr) return bad("no block 1");
  return set_link(redo, Link::kPrev, right->blkno);
}

// A run of items that dedup merges into one posting list tuple, or leaves as it is if it is one item only.
struct PendingPosting {
  ByteView base;
  uint32_t base_offset = 0;
  uint32_t key_size = 0;
  uint32_t nitems = 0;
  std::array<std::byte, pg::kBlockSize> tids;
  uint32_t ntids = 0;

  // BTMaxItemSize: no posting list tuple is longer.
  static constexpr uint32_t kMaxSize = 2704;

  Status add(ByteView tuple) {
    HELIUM_ASSIGN(const TidList list, tid_list_of(tuple));
    if (nitems == 0) {
      base = tuple;
      key_size = list.key_size;
      ntids = 0;
    }
    // A lone tuple stays as it is, whatever its size; merged ones have a limit.
    const uint32_t merged = pg::max_align(key_size + (ntids + list.count()) * kTidSize);
    if (merged > (nitems == 0 ? pg::kBlockSize : kMaxSize)) return bad("a posting list tuple of {} bytes", merged);
    std::memcpy(tids.data() + ntids * kTidSize, list.tids.data(), list.tids.size());
    ntids += list.count();
    ++nitems;
    return {};
  }
  Status finish(MutableByteView page) {
    const auto number = static_cast<uint16_t>(pg::page_item_count(page) + 1);
    if (nitems == 1) {
      HELIUM_TRY(add_item(page, base, number, AddMode::kIndex));
    } else {
      HELIUM_ASSIGN(const IndexTupleBuffer tuple, form_posting(base, key_size, std::span(tids).first(ntids * kTidSize)));
      HELIUM_TRY(add_item(page, tuple.view(), number, AddMode::kIndex));
    }
    nitems = 0;
    return {};
  }
};

// xl_btree_dedup: nintervals u16. Block data: BTDedupInterval[]: baseoff u16, nitems u16.
Status redo_dedup(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(2));
  const uint32_t nintervals = redo.main<uint16_t>(0);
  if (redo.ref.data.size() < nintervals * 4) return bad("{} intervals in {} bytes", nintervals, redo.ref.data.size());
  const auto interval_base = [&](uint32_t i) { return load<uint16_t>(redo.ref.data.data() + 4 * i); };
  const auto interval_items = [&](uint32_t i) { return load<uint16_t>(redo.ref.data.data() + 4 * i + 2); };
  HELIUM_ASSIGN(const BtreeOpaque old_opaque, btree_opaque(redo.page));
  std::array<std::byte, pg::kBlockSize> new_bytes;
  const MutableByteView new_page(new_bytes);
  HELIUM_TRY(init_like(new_page, redo.page));
  if (!old_opaque.is_rightmost()) {
    HELIUM_ASSIGN(const MutableByteView high_key, get_item(redo.page, kBtreeHighKey));
    HELIUM_TRY(add_item(new_page, high_key, kBtreeHighKey, AddMode::kIndex));
  }
  PendingPosting pending;
  uint32_t interval = 0;
  const uint32_t count = pg::page_item_count(redo.page);
  for (uint32_t offset = old_opaque.first_data_key(); offset <= count; ++offset) {
    HELIUM_ASSIGN(const ByteView tuple, get_index_tuple(redo.page, static_cast<uint16_t>(offset)));
    const bool joins = pending.nitems > 0 && interval < nintervals && pending.base_offset == interval_base(interval) &&
                       pending.nitems < interval_items(interval);
    if (!joins) {
      if (pending.nitems > 1) ++interval;
      if (pending.nitems > 0) HELIUM_TRY(pending.finish(new_page));
      pending.base_offset = offset;
    }
    HELIUM_TRY(pending.add(tuple));
  }
  if (pending.nitems > 1) ++interval;
  if (pending.nitems > 0) HELIUM_TRY(pending.finish(new_page));
  if (interval != nintervals) return bad("{} of {} intervals found", interval, nintervals);
  HELIUM_ASSIGN(BtreeOpaque opaque, btree_opaque(new_page));
  opaque.clear_flags(kBtpHasGarbage);
  std::memcpy(redo.page.data(), new_page.data(), pg::kBlockSize);
  redo.stamp();
  return {};
}

// xl_btree_vacuum: ndeleted u16, nupdated u16; xl_btree_delete has an xid before them. Block data: deleted offsets,
// updated offsets (u16 each), then for each updated one: ndeletedtids u16 and as many u16 indexes.
// A VACUUM takes its cycle id off the page. So does PostgreSQL's redo from 18 on; before, it stays on a standby's page.
enum class DeletedBy : uint8_t { kVacuum, kInsert };
Status redo_delete_items(const BlockRedo& redo, DeletedBy by) {
  const size_t counts_at = by == DeletedBy::kVacuum ? 0 : 4;
  HELIUM_TRY(redo.need_main(counts_at + 4));
  HELIUM_TRY(btree_opaque(redo.page));
  const uint32_t ndeleted = redo.main<uint16_t>(counts_at);
  const uint32_t nupdated = redo.main<uint16_t>(counts_at + 2);
  ByteReader data(redo.ref.data);
  const ByteView deleted = data.raw(2 * ndeleted);
  ByteReader updated(data.raw(2 * nupdated));
  for (uint32_t i = 0; i < nupdated && !data.failed(); ++i) {
    const uint16_t offset = updated.u16();
    const ByteView tids = data.raw(2u * data.u16());
    if (data.failed()) break;
    HELIUM_ASSIGN(const ByteView posting, get_index_tuple(redo.page, offset));
    HELIUM_ASSIGN(const IndexTupleBuffer tuple, remove_from_posting(posting, tids));
    HELIUM_TRY(overwrite_index_item(redo.page, offset, tuple.view()));
  }
  if (data.failed()) return bad("{} deleted and {} updated items in {} bytes", ndeleted, nupdated, redo.ref.data.size());
  HELIUM_TRY(delete_index_items(redo.page, deleted));
  HELIUM_ASSIGN(BtreeOpaque opaque, btree_opaque(redo.page));
  opaque.clear_flags(kBtpHasGarbage);
  if (by == DeletedBy::kVacuum) opaque.set_cycle_id(0);
  redo.stamp();
  return {};
}

// xl_btree_mark_page_halfdead: poffset u16, leafblk u32 at 4, leftblk, rightblk, topparent.
// In the parent, the downlink to the leaf takes the place of its right neighbour's, which goes.
Status redo_mark_page_halfdead(const BlockRedo& redo, Role role) {
  HELIUM_TRY(redo.need_main(20));
  if (role == Role::kMain)
    return init_half_dead_leaf(redo, redo.main<uint32_t>(8), redo.main<uint32_t>(12), redo.main<uint32_t>(16));
  const auto offset = redo.main<uint16_t>(0);
  if (offset == 0 || offset == UINT16_MAX) return bad("downlink at offset {}", offset);
  const auto next = static_cast<uint16_t>(offset + 1);
  HELIUM_TRY(btree_opaque(redo.page));
  HELIUM_ASSIGN(const ByteView right_downlink, get_index_tuple(redo.page, next));
  const uint32_t right = tid_blkno(right_downlink.data());
  HELIUM_ASSIGN(const MutableByteView downlink, get_item(redo.page, offset));
  HELIUM_TRY(index_tuple_at(downlink));
  set_tid_blkno(downlink.data(), right);
  HELIUM_TRY(delete_index_item(redo.page, next));
  redo.stamp();
  return {};
}

// xl_btree_unlink_page: leftsib, rightsib, level u32, safexid u64 at 16, leafleftsib u32 at 24, leafrightsib,
// leaftopparent.
Status redo_unlink_page(const BlockRedo& redo, Role role) {
  HELIUM_TRY(redo.need_main(36));
  const auto left = redo.main<uint32_t>(0);
  const auto right = redo.main<uint32_t>(4);
  const auto level = redo.main<uint32_t>(8);
  switch (role) {
    case Role::kLeft: return set_link(redo, Link::kNext, right);
    case Role::kRight: return set_link(redo, Link::kPrev, left);
    case Role::kLeaf:
      return init_half_dead_leaf(redo, redo.main<uint32_t>(24), redo.main<uint32_t>(28), redo.main<uint32_t>(32));
    default: break;
  }
  HELIUM_TRY(redo.need_will_init(true));
  BtreeOpaque opaque = init_btree_page(redo.page);
  opaque.set_prev(left);
  opaque.set_next(right);
  opaque.set_level(level);
  opaque.set_flags(kBtpDeleted | kBtpHasFullXid | (level == 0 ? kBtpLeaf : 0));
  store(redo.page.data() + pg::kPageHeaderSize, redo.main<uint64_t>(16));  // safexid
  pg::set_page_lower(redo.page, static_cast<uint16_t>(pg::kPageHeaderSize + sizeof(uint64_t)));
  redo.stamp();
  return {};
}

// xl_btree_newroot: rootblk u32, level u32. Block data: the root's items, if it is no leaf.
Status redo_newroot(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(8));
  HELIUM_TRY(redo.need_will_init(true));
  const auto level = redo.main<uint32_t>(4);
  BtreeOpaque opaque = init_btree_page(redo.page);
  opaque.set_level(level);
  opaque.set_flags(kBtpRoot | (level == 0 ? kBtpLeaf : 0));
  if (level > 0) HELIUM_TRY(restore_items(redo.page, redo.ref.data));
  redo.stamp();
  return {};
}

}  // namespace

Status redo_btree(const BlockRedo& redo) {
  const uint8_t op = redo.record.op();
  const Role role = role_of(op, redo.ref.id);
  if (role == Role::kNone) return bad("block {} has no meaning", redo.ref.id);
  if (role == Role::kMeta) return restore_meta(redo);
  if (role == Role::kChild) return clear_incomplete_split(redo);
  switch (op) {
    case kInsertLeaf:
    case kInsertUpper:
    case kInsertMeta: return redo_insert(redo, /*posting=*/false);
    case kInsertPost: return redo_insert(redo, /*posting=*/true);
    case kSplitL: return redo_split(redo, role, /*new_item_on_left=*/true);
    case kSplitR: return redo_split(redo, role, /*new_item_on_left=*/false);
    case kDedup: return redo_dedup(redo);
    case kVacuum: return redo_delete_items(redo, DeletedBy::kVacuum);
    case kDelete: return redo_delete_items(redo, DeletedBy::kInsert);
    case kUnlinkPage:
    case kUnlinkPageMeta: return redo_unlink_page(redo, role);
    case kNewroot: return redo_newroot(redo);
    case kMarkPageHalfdead: return redo_mark_page_halfdead(redo, role);
    default: return bad("a block in a record that has none");
  }
}

}  // namespace helium::redo
