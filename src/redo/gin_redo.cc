// Redo of RM_GIN_ID: the entry tree (index tuples), posting trees (compressed lists of heap TIDs, and on their inner
// pages posting items), the pending list and the metapage, which is always rebuilt whole.
// Source: PostgreSQL 15 ginxlog.c, ginxlog.h, ginblock.h; the same in 14 to 18.

#include <algorithm>
#include <cstring>

#include "redo/gin_posting.h"
#include "redo/index_tuple.h"
#include "redo/rmgr_redo.h"

namespace helium::redo {

namespace {

constexpr uint8_t kCreatePostingTree = 0x10;
constexpr uint8_t kInsert = 0x20;
constexpr uint8_t kSplit = 0x30;
constexpr uint8_t kVacuumPage = 0x40;
constexpr uint8_t kDeletePage = 0x50;
constexpr uint8_t kUpdateMetaPage = 0x60;
constexpr uint8_t kInsertListPage = 0x70;
constexpr uint8_t kDeleteListPages = 0x80;
constexpr uint8_t kVacuumDataLeafPage = 0x90;

// Special area, 8 bytes: right link u32, number of posting items (or of heap tuples on a list page) u16, flags u16.
constexpr uint32_t kOpaqueSize = 8;
constexpr uint16_t kData = 0x0001;
constexpr uint16_t kLeaf = 0x0002;
constexpr uint16_t kDeleted = 0x0004;
constexpr uint16_t kMeta = 0x0008;
constexpr uint16_t kList = 0x0010;
constexpr uint16_t kListFullRow = 0x0020;
constexpr uint16_t kIncompleteSplit = 0x0040;
constexpr uint16_t kCompressed = 0x0080;

constexpr uint32_t kMetaSize = 56;  // GinMetaPageData
// A data page: right bound (6 bytes, aligned up) behind the header, then lists or posting items.
constexpr uint32_t kDataAt = pg::kPageHeaderSize + 8;
constexpr uint32_t kMaxDataSize = pg::kBlockSize - kDataAt - kOpaqueSize;
constexpr uint32_t kPostingItemSize = 10;  // child block (high u16, low u16), key TID

class Opaque {
 public:
  explicit Opaque(std::byte* at) : at_(at) {}
  uint16_t maxoff() const { return load<uint16_t>(at_ + 4); }
  uint16_t flags() const { return load<uint16_t>(at_ + 6); }
  bool has(uint16_t bits) const { return (flags() & bits) == bits; }
  void set_right_link(uint32_t v) { store(at_, v); }
  void set_maxoff(uint16_t v) { store(at_ + 4, v); }
  void set_flags(uint16_t v) { store(at_ + 6, v); }
  void clear_flags(uint16_t bits) { set_flags(flags() & static_cast<uint16_t>(~bits)); }

 private:
  std::byte* at_;
};

Result<Opaque> opaque_of(const BlockRedo& redo) {
  HELIUM_ASSIGN(std::byte* const at, special_area(redo.page, kOpaqueSize));
  return Opaque(at);
}
// The same, of a page that has these flags and lacks those.
Result<Opaque> opaque_of(const BlockRedo& redo, uint16_t with, uint16_t without) {
  HELIUM_ASSIGN(const Opaque opaque, opaque_of(redo));
  if (!opaque.has(with) || (opaque.flags() & without) != 0)
    return bad("page flags {:#x}, {:#x} without {:#x} expected", opaque.flags(), with, without);
  return opaque;
}

Opaque init_gin_page(MutableByteView page, uint16_t flags) {
  pg::page_init(page, kOpaqueSize);
  Opaque opaque(page.data() + pg::kBlockSize - kOpaqueSize);
  opaque.set_right_link(kNoBlock);
  opaque.set_flags(flags);
  return opaque;
}

void set_data_size(MutableByteView page, size_t size) {
  pg::set_page_lower(page, static_cast<uint16_t>(kDataAt + size));
}

Status stamped(const BlockRedo& redo) {
  redo.stamp();
  return {};
}

// The metapage, from GinMetaPageData at `at` in the main data.
Status restore_meta(const BlockRedo& redo, size_t at) {
  HELIUM_TRY(redo.need_will_init(true));
  HELIUM_TRY(redo.need_main(at + kMetaSize));
  init_gin_page(redo.page, kMeta);
  std::memcpy(redo.page.data() + pg::kPageHeaderSize, redo.record.main_data.data() + at, kMetaSize);
  pg::set_page_lower(redo.page, pg::kPageHeaderSize + kMetaSize);
  return stamped(redo);
}

// A left child whose right sibling now has a downlink.
Status clear_incomplete_split(const BlockRedo& redo) {
  HELIUM_ASSIGN(Opaque opaque, opaque_of(redo));
  opaque.clear_flags(kIncompleteSplit);
  return stamped(redo);
}

// ginxlogCreatePostingTree: size u32, then lists.
Status redo_create_posting_tree(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_will_init(true));
  HELIUM_TRY(redo.need_main(4));
  const auto size = redo.main<uint32_t>(0);
  if (size > kMaxDataSize || redo.record.main_data.size() - 4 < size)
    return bad("posting lists of {} bytes in {}", size, redo.record.main_data.size());
  init_gin_page(redo.page, kData | kLeaf | kCompressed);
  std::ranges::copy(redo.record.main_data.subspan(4, size), redo.page.begin() + kDataAt);
  set_data_size(redo.page, size);
  return stamped(redo);
}

// ---- Posting tree leaves

// Posting lists being written one after the other.
class ListWriter {
 public:
  Status append(ByteView list) {
    if (list.size() > kMaxDataSize - size_) return bad("posting lists of {} bytes", size_ + list.size());
    std::ranges::copy(list, bytes_.begin() + size_);
    size_ += static_cast<uint32_t>(list.size());
    return {};
  }
  ByteView view() const { return ByteView(bytes_).first(size_); }

 private:
  std::array<std::byte, kMaxDataSize> bytes_;
  uint32_t size_ = 0;
};

// Before 9.4 a leaf held plain TIDs.
Status compress_leaf(const BlockRedo& redo, Opaque opaque) {
  const uint32_t count = opaque.maxoff();
  if (count > kMaxDataSize / kTidSize) return bad("{} heap TIDs on a page", count);
  size_t size = 0;
  if (count > 0) {
    HELIUM_ASSIGN(const TidNumbers tids, decode_gin_tids(redo.page.subspan(kDataAt, count * kTidSize)));
    HELIUM_ASSIGN(const Bytes list, encode_gin_list(tids));
    size = list.size();
    if (size > kMaxDataSize) return bad("posting lists of {} bytes", size);
    std::ranges::copy(list, redo.page.begin() + kDataAt);
  }
  set_data_size(redo.page, size);
  opaque.set_flags(opaque.flags() | kCompressed);
  opaque.set_maxoff(0);
  return {};
}

// ginxlogRecompressDataLeaf: actions u16, then for each: list's number u8, what u8 and, to insert or replace, a list,
// or to add items, their count u16 and TIDs. Lists between the ones that are named stay.
Status recompress_leaf(const BlockRedo& redo) {
  enum : uint8_t { kDelete = 1, kInsertList = 2, kReplace = 3, kAddItems = 4 };
  HELIUM_ASSIGN(const Opaque opaque, opaque_of(redo, kData | kLeaf, kDeleted));
  if (!opaque.has(kCompressed)) HELIUM_TRY(compress_leaf(redo, opaque));
  if (pg::page_lower(redo.page) < kDataAt) return bad("page pointers lower {}", pg::page_lower(redo.page));
  ByteView old = redo.page.subspan(kDataAt, pg::page_lower(redo.page) - kDataAt);
  ListWriter lists;
  ByteReader record(redo.ref.data);
  const uint32_t actions = record.u16();
  uint32_t number = 0;
  for (uint32_t i = 0; i < actions; ++i) {
    const uint32_t wanted = record.u8();
    const uint8_t action = record.u8();
    if (record.failed() || wanted < number) return bad("action {} of {} on list {}", i + 1, actions, wanted);
    for (; number < wanted; ++number) {
      HELIUM_ASSIGN(const ByteView list, gin_list_at(old));
      HELIUM_TRY(lists.append(list));
      old = old.subspan(list.size());
    }
    if (action == kInsertList) {
      HELIUM_ASSIGN(const ByteView list, gin_list_at(redo.ref.data.last(record.remaining())));
      record.raw(list.size());
      HELIUM_TRY(lists.append(list));
      continue;
    }
    HELIUM_ASSIGN(const ByteView replaced, gin_list_at(old));
    old = old.subspan(replaced.size());
    ++number;
    if (action == kReplace) {
      HELIUM_ASSIGN(const ByteView list, gin_list_at(redo.ref.data.last(record.remaining())));
      record.raw(list.size());
      HELIUM_TRY(lists.append(list));
    } else if (action == kAddItems) {
      const ByteView items = record.raw(size_t{record.u16()} * kTidSize);
      if (record.failed()) return bad("action {} of {} is cut off", i + 1, actions);
      HELIUM_ASSIGN(const TidNumbers old_tids, decode_gin_list(replaced));
      HELIUM_ASSIGN(const TidNumbers new_tids, decode_gin_tids(items));
      HELIUM_ASSIGN(const Bytes list, encode_gin_list(merge_gin_tids(new_tids, old_tids)));
      HELIUM_TRY(lists.append(list));
    } else if (action != kDelete) {
      return bad("action {} on list {}", action, wanted);
    }
  }
  if (record.failed()) return bad("block data of {} bytes", redo.ref.data.size());
  HELIUM_TRY(lists.append(old));
  std::ranges::copy(lists.view(), redo.page.begin() + kDataAt);
  set_data_size(redo.page, lists.view().size());
  return stamped(redo);
}

// ---- Posting tree inner pages

// Posting item `number` of the page, or where the next one goes.
std::byte* posting_item(MutableByteView page, uint32_t number) {
  return page.data() + kDataAt + (number - 1) * kPostingItemSize;
}

Result<Opaque> inner_data_page(const BlockRedo& redo, uint32_t number) {
  HELIUM_ASSIGN(const Opaque opaque, opaque_of(redo, kData, kLeaf));
  if (number == 0 || number > opaque.maxoff() || opaque.maxoff() * kPostingItemSize > kMaxDataSize)
    return bad("posting item {} of {}", number, opaque.maxoff());
  return opaque;
}

// ginxlogInsertDataInternal: offset number u16, posting item. The item that was there leads to the right sibling now.
Status insert_posting_item(const BlockRedo& redo, uint32_t right_child) {
  if (redo.ref.data.size() < 2 + kPostingItemSize) return bad("block data of {} bytes", redo.ref.data.size());
  const uint32_t number = load<uint16_t>(redo.ref.data.data());
  HELIUM_ASSIGN(Opaque opaque, inner_data_page(redo, number));
  const uint32_t count = opaque.maxoff();
  if ((count + 1) * kPostingItemSize > kMaxDataSize) return bad("no room for posting item {}", count + 1);
  std::byte* at = posting_item(redo.page, number);
  set_tid_blkno(at, right_child);
  std::memmove(at + kPostingItemSize, at, (count - number + 1) * kPostingItemSize);
  std::memcpy(at, redo.ref.data.data() + 2, kPostingItemSize);
  opaque.set_maxoff(static_cast<uint16_t>(count + 1));
  set_data_size(redo.page, (count + 1) * kPostingItemSize);
  return stamped(redo);
}

Status delete_posting_item(const BlockRedo& redo, uint32_t number) {
  HELIUM_ASSIGN(Opaque opaque, inner_data_page(redo, number));
  const uint32_t count = opaque.maxoff();
  std::byte* at = posting_item(redo.page, number);
  std::memmove(at, at + kPostingItemSize, (count - number) * kPostingItemSize);
  opaque.set_maxoff(static_cast<uint16_t>(count - 1));
  set_data_size(redo.page, (count - 1) * kPostingItemSize);
  return stamped(redo);
}

// ---- Inserts

// ginxlogInsertEntry: offset number u16, deletes the old tuple u8, padding, index tuple.
Status insert_entry(const BlockRedo& redo, bool leaf, uint32_t right_child) {
  constexpr size_t kTupleAt = 4;
  if (redo.ref.data.size() < kTupleAt) return bad("block data of {} bytes", redo.ref.data.size());
  HELIUM_TRY(opaque_of(redo, leaf ? kLeaf : 0, leaf ? kData : kData | kLeaf));
  const auto number = load<uint16_t>(redo.ref.data.data());
  if (!leaf) {
    HELIUM_ASSIGN(const MutableByteView old, get_item(redo.page, number));
    if (old.size() < kIndexTupleHeader) return bad("index tuple of {} bytes", old.size());
    set_tid(old.data(), right_child, 0);
  }
  if (load<uint8_t>(redo.ref.data.data() + 2) != 0) HELIUM_TRY(delete_index_item(redo.page, number));
  HELIUM_ASSIGN(const ByteView tuple, index_tuple_at(redo.ref.data.subspan(kTupleAt)));
  HELIUM_TRY(add_item(redo.page, tuple, number, AddMode::kIndex));
  return stamped(redo);
}

// ginxlogInsert: flags u16 and, above the leaves, the left and the right child (high u16, low u16 each). Blocks 0: the
// page, with what is inserted, 1: the left child.
Status redo_insert(const BlockRedo& redo) {
  constexpr uint16_t kIsData = 0x01;
  constexpr uint16_t kIsLeaf = 0x02;
  HELIUM_TRY(redo.need_main(2));
  const auto flags = redo.main<uint16_t>(0);
  const bool leaf = (flags & kIsLeaf) != 0;
  if (redo.ref.id == 1) return leaf ? Status(bad("a leaf with a child")) : clear_incomplete_split(redo);
  uint32_t right_child = kNoBlock;
  if (!leaf) {
    HELIUM_TRY(redo.need_main(10));
    right_child = tid_blkno(redo.record.main_data.data() + 6);
  }
  if ((flags & kIsData) == 0) return insert_entry(redo, leaf, right_child);
  return leaf ? recompress_leaf(redo) : insert_posting_item(redo, right_child);
}

// All pages of a split come as images but the left child, whose split it completes.
Status redo_split(const BlockRedo& redo) {
  if (redo.ref.id != 3) return bad("a split without image");
  return clear_incomplete_split(redo);
}

// ginxlogDeletePage: offset number in the parent u16, padding, right link u32, xid u32. Blocks 0: the page, 1: its
// parent, 2: its left sibling.
Status redo_delete_page(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(12));
  if (redo.ref.id == 1) return delete_posting_item(redo, redo.main<uint16_t>(0));
  HELIUM_ASSIGN(Opaque opaque, opaque_of(redo, kData, 0));
  if (redo.ref.id == 2) {
    opaque.set_right_link(redo.main<uint32_t>(4));
  } else {
    opaque.set_flags(opaque.flags() | kDeleted);
    pg::set_page_prune_xid(redo.page, redo.main<uint32_t>(8));  // where GIN keeps when the page may be used again
  }
  return stamped(redo);
}

// ---- Pending list

// `count` index tuples of the block data behind the page's items.
Status append_tuples(const BlockRedo& redo, uint32_t count) {
  ByteView data = redo.ref.data;
  for (uint32_t i = 0; i < count; ++i) {
    HELIUM_ASSIGN(const ByteView tuple, take_index_tuple(data));
    HELIUM_TRY(add_item(redo.page, tuple, static_cast<uint16_t>(pg::page_item_count(redo.page) + 1), AddMode::kIndex));
  }
  if (!data.empty()) return bad("{} tuples leave {} bytes over", count, data.size());
  return {};
}

// ginxlogUpdateMeta: relation (12 bytes), padding, GinMetaPageData at 16, previous tail u32, new right link u32, tuples
// i32. Blocks 0: the metapage, 1: the tail, with tuples, or a tail that gets a right sibling.
Status redo_update_meta(const BlockRedo& redo) {
  constexpr size_t kMetaAt = 16;
  if (redo.ref.id == 0) return restore_meta(redo, kMetaAt);
  HELIUM_TRY(redo.need_main(84));
  HELIUM_ASSIGN(Opaque opaque, opaque_of(redo, kList, 0));
  if (const auto count = redo.main<int32_t>(80); count > 0) {
    HELIUM_TRY(append_tuples(redo, static_cast<uint32_t>(count)));
    opaque.set_maxoff(static_cast<uint16_t>(opaque.maxoff() + 1));
  } else if (redo.main<uint32_t>(72) != kNoBlock) {
    opaque.set_right_link(redo.main<uint32_t>(76));
  } else {
    return {};
  }
  return stamped(redo);
}

// ginxlogInsertListPage: right link u32, tuples i32. Block data: the tuples.
Status redo_insert_list_page(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_will_init(true));
  HELIUM_TRY(redo.need_main(8));
  const auto right_link = redo.main<uint32_t>(0);
  const auto count = redo.main<int32_t>(4);
  const bool tail = right_link == kNoBlock;
  Opaque opaque = init_gin_page(redo.page, tail ? kList | kListFullRow : kList);
  opaque.set_right_link(right_link);
  opaque.set_maxoff(tail ? 1 : 0);
  HELIUM_TRY(append_tuples(redo, static_cast<uint32_t>(std::max(count, 0))));
  return stamped(redo);
}

// ginxlogDeleteListPages: GinMetaPageData, pages i32. Blocks 0: the metapage, 1 and on: the pages.
Status redo_delete_list_pages(const BlockRedo& redo) {
  if (redo.ref.id == 0) return restore_meta(redo, 0);
  HELIUM_TRY(redo.need_will_init(true));
  init_gin_page(redo.page, kDeleted);
  return stamped(redo);
}

uint8_t block_count(uint8_t op) {
  switch (op) {
    case kInsert:
    case kUpdateMetaPage: return 2;
    case kDeletePage: return 3;
    case kSplit: return 4;
    case kDeleteListPages: return UINT8_MAX;
    default: return 1;
  }
}

}  // namespace

Status redo_gin(const BlockRedo& redo) {
  const uint8_t op = redo.record.op();
  if (redo.ref.id >= block_count(op)) return bad("block {} has no meaning", redo.ref.id);
  switch (op) {
    case kCreatePostingTree: return redo_create_posting_tree(redo);
    case kInsert: return redo_insert(redo);
    case kSplit: return redo_split(redo);
    case kVacuumPage: return bad("a vacuumed page without image");
    case kVacuumDataLeafPage: return recompress_leaf(redo);
    case kDeletePage: return redo_delete_page(redo);
    case kUpdateMetaPage: return redo_update_meta(redo);
    case kInsertListPage: return redo_insert_list_page(redo);
    case kDeleteListPages: return redo_delete_list_pages(redo);
    default: return bad("an unknown record type");
  }
}

}  // namespace helium::redo
