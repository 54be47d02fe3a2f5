// Redo of RM_SPGIST_ID. Offset numbers of tuples are links, so a tuple that goes leaves another in its place: a redirect
// to where it went, a dead one, or a placeholder that the next tuple replaces. Which links point where stands in the
// record, by block reference. Source: PostgreSQL 15 spgxlog.c, spgxlog.h, spgist_private.h, spgdoinsert.c; 14 to 18
// write the same layouts but for VACUUM_REDIRECT.

#include <algorithm>
#include <array>

#include "redo/index_tuple.h"
#include "redo/rmgr_redo.h"

namespace helium::redo {

namespace {

constexpr uint8_t kAddLeaf = 0x10;
constexpr uint8_t kMoveLeafs = 0x20;
constexpr uint8_t kAddNode = 0x30;
constexpr uint8_t kSplitTuple = 0x40;
constexpr uint8_t kPickSplit = 0x50;
constexpr uint8_t kVacuumLeaf = 0x60;
constexpr uint8_t kVacuumRoot = 0x70;
constexpr uint8_t kVacuumRedirect = 0x80;

// Special area, 8 bytes: flags u16, redirects u16, placeholders u16, page id u16.
constexpr uint32_t kOpaqueSize = 8;
constexpr uint16_t kPageId = 0xFF82;
constexpr uint16_t kLeaf = 0x0004;
constexpr uint16_t kNulls = 0x0008;

// The low two bits of every tuple's first word.
enum class State : uint8_t { kLive = 0, kRedirect = 1, kDead = 2, kPlaceholder = 3 };

// Inner tuple: state 2 bits, all the same 1, nodes 13, prefix size 16; size u16, padding; prefix, then as many nodes,
// index tuples whose TID leads down. Leaf tuple: state 2 bits, size 30; next in chain u16 (14 bits), heap TID, …
// Dead tuple: a leaf tuple's head, its TID a redirect's target; xid u32.
constexpr uint32_t kInnerHeader = 8;
constexpr uint32_t kLeafHeader = 12;
constexpr uint32_t kDeadSize = 16;
constexpr uint16_t kNextOffsetMask = 0x3FFF;

class Opaque {
 public:
  explicit Opaque(std::byte* at) : at_(at) {}
  // Counts wrap around as PostgreSQL's do: nothing depends on them here.
  void add_redirects(int n) { store(at_ + 2, static_cast<uint16_t>(load<uint16_t>(at_ + 2) + n)); }
  void add_placeholders(int n) { store(at_ + 4, static_cast<uint16_t>(load<uint16_t>(at_ + 4) + n)); }

 private:
  std::byte* at_;
};

Result<Opaque> opaque_of(MutableByteView page) {
  HELIUM_ASSIGN(std::byte* const at, special_area(page, kOpaqueSize));
  if (load<uint16_t>(at + 6) != kPageId) return bad("page id {:#x}", load<uint16_t>(at + 6));
  return Opaque(at);
}

void init_spgist_page(MutableByteView page, uint16_t flags) {
  pg::page_init(page, kOpaqueSize);
  std::byte* at = page.data() + pg::kBlockSize - kOpaqueSize;
  store(at, flags);
  store(at + 6, kPageId);
}

// The page starts anew if its reference and the record both say so, else it must be one.
Status open_page(const BlockRedo& redo, bool init, uint16_t flags) {
  HELIUM_TRY(redo.need_will_init(init));
  if (init) init_spgist_page(redo.page, flags);
  HELIUM_TRY(opaque_of(redo.page));
  return {};
}

Result<ByteView> tuple_of_size(ByteView bytes, size_t size, size_t least) {
  if (size < least || size > bytes.size()) return bad("tuple of {} bytes with {} at hand", size, bytes.size());
  return bytes.first(size);
}
// The tuple that begins `bytes`, cut to its size.
Result<ByteView> inner_tuple_at(ByteView bytes) {
  if (bytes.size() < kInnerHeader) return bad("inner tuple of {} bytes", bytes.size());
  return tuple_of_size(bytes, load<uint16_t>(bytes.data() + 4), kInnerHeader);
}
Result<ByteView> leaf_tuple_at(ByteView bytes) {
  if (bytes.size() < kLeafHeader) return bad("leaf tuple of {} bytes", bytes.size());
  return tuple_of_size(bytes, load<uint32_t>(bytes.data()) >> 2, kLeafHeader);
}

Result<MutableByteView> get_tuple(MutableByteView page, uint16_t number, uint32_t least) {
  HELIUM_ASSIGN(const MutableByteView item, get_item(page, number));
  if (item.size() < least) return bad("item {} of {} bytes", number, item.size());
  return item;
}

// Puts a tuple in a placeholder's place, or behind the last one.
Status add_or_replace(MutableByteView page, ByteView tuple, uint16_t number) {
  HELIUM_ASSIGN(Opaque opaque, opaque_of(page));
  if (number <= pg::page_item_count(page)) {
    HELIUM_ASSIGN(const MutableByteView old, get_tuple(page, number, 4));
    if ((load<uint8_t>(old.data()) & 3) != static_cast<uint8_t>(State::kPlaceholder))
      return bad("item {} is no placeholder", number);
    opaque.add_placeholders(-1);
    HELIUM_TRY(delete_index_item(page, number));
  }
  return add_item(page, tuple, number, AddMode::kIndex);
}

Status replace(MutableByteView page, ByteView tuple, uint16_t number) {
  HELIUM_TRY(opaque_of(page));
  HELIUM_TRY(delete_index_item(page, number));
  return add_item(page, tuple, number, AddMode::kIndex);
}

// Where a link leads.
struct Place {
  uint32_t blkno = kNoBlock;
  uint16_t offset = 0;
};

// Node `node` of the inner tuple `number` leads to `target`.
Status set_downlink(MutableByteView page, uint16_t number, uint16_t node, Place target) {
  HELIUM_TRY(opaque_of(page));
  HELIUM_ASSIGN(const MutableByteView tuple, get_tuple(page, number, kInnerHeader));
  const auto head = load<uint32_t>(tuple.data());
  const uint32_t nodes = head >> 3 & 0x1FFF;
  size_t at = kInnerHeader + (head >> 16);
  if (node >= nodes) return bad("node {} of {}", node, nodes);
  for (uint32_t i = 0;; ++i) {
    if (at > tuple.size()) return bad("node {} lies outside of its tuple", i);
    HELIUM_ASSIGN(const ByteView found, index_tuple_at(tuple.subspan(at)));
    if (i == node) break;
    at += found.size();
  }
  set_tid(tuple.data() + at, target.blkno, target.offset);
  return {};
}

std::array<std::byte, kDeadSize> dead_tuple(State state, Place target, uint32_t xid) {
  std::array<std::byte, kDeadSize> tuple{};
  const bool redirect = state == State::kRedirect;
  store(tuple.data(), static_cast<uint32_t>(state) | kDeadSize << 2);
  set_tid(tuple.data() + 6, redirect ? target.blkno : kNoBlock, redirect ? target.offset : uint16_t{0});
  store(tuple.data() + 12, redirect ? xid : 0);
  return tuple;
}

void count_dead(Opaque opaque, State state) {
  if (state == State::kRedirect) opaque.add_redirects(1);
  if (state == State::kPlaceholder) opaque.add_placeholders(1);
}

// The numbers of an array in the record; unaligned.
class Numbers {
 public:
  explicit Numbers(ByteView bytes) : bytes_(bytes) {}
  uint32_t size() const { return static_cast<uint32_t>(bytes_.size() / 2); }
  uint16_t operator[](size_t i) const { return load<uint16_t>(bytes_.data() + 2 * i); }
  ByteView bytes() const { return bytes_; }

 private:
  ByteView bytes_;
};

// spgPageIndexMultiDelete: each of the tuples becomes a dead one, the first listed with a state of its own.
struct Burial {
  State first;
  State rest;
  Place target;
  uint32_t xid = 0;
};
Status bury(MutableByteView page, const Numbers& numbers, const Burial& how) {
  HELIUM_ASSIGN(const Opaque opaque, opaque_of(page));
  if (numbers.size() == 0) return {};
  if (numbers.size() > kMaxItemIds) return bad("{} tuples to delete", numbers.size());
  std::array<uint16_t, kMaxItemIds> sorted;
  for (uint32_t i = 0; i < numbers.size(); ++i) sorted[i] = numbers[i];
  const auto listed = std::span(sorted).first(numbers.size());
  std::ranges::sort(listed);
  HELIUM_TRY(delete_index_items(page, std::as_bytes(listed)));
  for (const uint16_t number : listed) {
    const State state = number == numbers[0] ? how.first : how.rest;
    HELIUM_TRY(add_item(page, dead_tuple(state, how.target, how.xid), number, AddMode::kIndex));
    count_dead(opaque, state);
  }
  return {};
}

// spgxlogState: xid u32, is a build u8, padding. A build leaves no redirects: nobody can be on his way.
struct BuildState {
  uint32_t xid;
  bool is_build;
};
BuildState state_at(const BlockRedo& redo, size_t at) {
  return {redo.main<uint32_t>(at), redo.main<uint8_t>(at + 4) != 0};
}

Status stamped(const BlockRedo& redo) {
  redo.stamp();
  return {};
}

Result<uint32_t> blkno_of(const BlockRedo& redo, uint8_t id) {
  const pg::BlockRef* ref = redo.record.block(id);
  if (ref == nullptr) return bad("no block {}", id);
  return ref->blkno;
}

uint16_t leaf_flags(bool nulls) { return nulls ? kLeaf | kNulls : kLeaf; }

// ---- ADD_LEAF

// spgxlogAddLeaf: new page u8, nulls u8, offset numbers of the leaf, of its chain's head and of the parent tuple u16
// each, node u16; then the leaf tuple. Blocks 0: the leaf page, 1: the parent.
Status redo_add_leaf(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(10));
  const auto leaf = redo.main<uint16_t>(2);
  const auto head = redo.main<uint16_t>(4);
  const auto parent = redo.main<uint16_t>(6);
  if (redo.ref.id == 1) {
    if (parent == 0) return {};
    HELIUM_ASSIGN(const uint32_t blkno, blkno_of(redo, 0));
    HELIUM_TRY(set_downlink(redo.page, parent, redo.main<uint16_t>(8), {blkno, leaf}));
    return stamped(redo);
  }
  HELIUM_ASSIGN(const ByteView tuple, leaf_tuple_at(redo.record.main_data.subspan(10)));
  HELIUM_TRY(open_page(redo, redo.main<uint8_t>(0) != 0, leaf_flags(redo.main<uint8_t>(1) != 0)));
  if (leaf == head) {
    HELIUM_TRY(replace(redo.page, tuple, leaf));  // a dead tuple
    return stamped(redo);
  }
  HELIUM_TRY(add_or_replace(redo.page, tuple, leaf));
  if (head != 0) {
    HELIUM_ASSIGN(const MutableByteView first, get_tuple(redo.page, head, kLeafHeader));
    const auto info = load<uint16_t>(first.data() + 4);
    store(first.data() + 4, static_cast<uint16_t>((info & ~kNextOffsetMask) | (leaf & kNextOffsetMask)));
  }
  return stamped(redo);
}

// ---- MOVE_LEAFS

// spgxlogMoveLeafs: moves u16, new page u8, replaces a dead tuple u8, nulls u8, padding, offset number of the parent
// tuple u16, node u16, padding, state; then numbers of deleted and of inserted tuples, then these. Blocks 0: the source,
// 1: the destination, 2: the parent.
Status redo_move_leafs(const BlockRedo& redo) {
  constexpr size_t kHead = 20;
  HELIUM_TRY(redo.need_main(kHead));
  const uint32_t moves = redo.main<uint16_t>(0);
  const uint32_t inserts = redo.main<uint8_t>(3) != 0 ? 1 : moves + 1;
  ByteReader data(redo.record.main_data.subspan(kHead));
  const Numbers deleted(data.raw(2 * moves));
  const Numbers inserted(data.raw(2 * inserts));
  if (data.failed()) return bad("{} moves in {} bytes", moves, redo.record.main_data.size());
  HELIUM_ASSIGN(const uint32_t destination, blkno_of(redo, 1));
  const Place target{destination, inserted[inserts - 1]};
  if (redo.ref.id == 0) {
    const BuildState state = state_at(redo, 12);
    HELIUM_TRY(bury(redo.page, deleted,
                    {state.is_build ? State::kPlaceholder : State::kRedirect, State::kPlaceholder, target, state.xid}));
    return stamped(redo);
  }
  if (redo.ref.id == 2) {
    HELIUM_TRY(set_downlink(redo.page, redo.main<uint16_t>(6), redo.main<uint16_t>(8), target));
    return stamped(redo);
  }
  HELIUM_TRY(open_page(redo, redo.main<uint8_t>(2) != 0, leaf_flags(redo.main<uint8_t>(4) != 0)));
  ByteView tuples = data.raw(data.remaining());
  for (uint32_t i = 0; i < inserts; ++i) {
    HELIUM_ASSIGN(const ByteView tuple, leaf_tuple_at(tuples));
    HELIUM_TRY(add_or_replace(redo.page, tuple, inserted[i]));
    tuples = tuples.subspan(tuple.size());
  }
  return stamped(redo);
}

// ---- ADD_NODE

// spgxlogAddNode: offset numbers of the old and of the new tuple u16 each, new page u8, block with the parent i8 (-1:
// stays), offset number of the parent tuple u16, node u16, padding, state; then the inner tuple. Blocks 0: the old
// tuple's page, 1: the new one's, if another, 2: the parent's, if another.
Status redo_add_node(const BlockRedo& redo) {
  constexpr size_t kHead = 20;
  HELIUM_TRY(redo.need_main(kHead));
  const auto old_offset = redo.main<uint16_t>(0);
  const auto new_offset = redo.main<uint16_t>(2);
  HELIUM_ASSIGN(const ByteView tuple, inner_tuple_at(redo.record.main_data.subspan(kHead)));
  const pg::BlockRef* moved_to = redo.record.block(1);
  if (moved_to == nullptr) {
    if (redo.ref.id != 0) return bad("block {} without block 1", redo.ref.id);
    HELIUM_TRY(replace(redo.page, tuple, old_offset));
    return stamped(redo);
  }
  const Place target{moved_to->blkno, new_offset};
  if (redo.ref.id == 1) {
    HELIUM_TRY(open_page(redo, redo.main<uint8_t>(4) != 0, 0));
    HELIUM_TRY(add_or_replace(redo.page, tuple, new_offset));
  } else if (redo.ref.id == 0) {
    const BuildState state = state_at(redo, 12);
    const State left = state.is_build ? State::kPlaceholder : State::kRedirect;
    HELIUM_TRY(replace(redo.page, dead_tuple(left, target, state.xid), old_offset));
    HELIUM_ASSIGN(const Opaque opaque, opaque_of(redo.page));
    count_dead(opaque, left);
  }
  if (redo.main<int8_t>(5) == redo.ref.id)
    HELIUM_TRY(set_downlink(redo.page, redo.main<uint16_t>(6), redo.main<uint16_t>(8), target));
  return stamped(redo);
}

// ---- SPLIT_TUPLE

// spgxlogSplitTuple: offset numbers of the prefix and of the postfix tuple u16 each, new page u8, same page u8; then
// both. Blocks 0: the prefix tuple's page, 1: the postfix tuple's, if another.
Status redo_split_tuple(const BlockRedo& redo) {
  constexpr size_t kHead = 6;
  HELIUM_TRY(redo.need_main(kHead));
  const ByteView tuples = redo.record.main_data.subspan(kHead);
  HELIUM_ASSIGN(const ByteView prefix, inner_tuple_at(tuples));
  HELIUM_ASSIGN(const ByteView postfix, inner_tuple_at(tuples.subspan(prefix.size())));
  const bool same_page = redo.main<uint8_t>(5) != 0;
  const auto postfix_offset = redo.main<uint16_t>(2);
  if (redo.ref.id == 1) {
    if (same_page) return bad("block 1 has no meaning");
    HELIUM_TRY(open_page(redo, redo.main<uint8_t>(4) != 0, 0));
  } else {
    HELIUM_TRY(replace(redo.page, prefix, redo.main<uint16_t>(0)));
    if (!same_page) return stamped(redo);
  }
  HELIUM_TRY(add_or_replace(redo.page, postfix, postfix_offset));
  return stamped(redo);
}

// ---- PICKSPLIT

// spgxlogPickSplit: root u8, padding, deleted u16, inserted u16, new source u8, new destination u8, offset number of the
// inner tuple u16, new inner page u8, nulls u8, inner page is the parent u8, padding, offset number of the parent tuple
// u16, node u16, padding, state; then numbers of deleted and of inserted tuples, one byte for each of these (it goes to
// the destination), the inner tuple, the leaf tuples. Blocks 0: the source, 1: the destination, 2: the inner tuple's
// page, 3: the parent's.
struct PickSplit {
  static constexpr size_t kHead = 28;
  bool root, new_source, new_destination, new_inner, nulls, inner_is_parent;
  uint16_t inner_offset, parent_offset, node;
  BuildState state;
  uint32_t inner_blkno;
  Numbers deleted, inserted;
  ByteView to_destination, inner_tuple, leaf_tuples;
};
Result<PickSplit> parse_picksplit(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(PickSplit::kHead));
  ByteReader data(redo.record.main_data.subspan(PickSplit::kHead));
  const uint32_t deletes = redo.main<uint16_t>(2);
  const uint32_t inserts = redo.main<uint16_t>(4);
  const Numbers deleted(data.raw(2 * deletes));
  const Numbers inserted(data.raw(2 * inserts));
  const ByteView selectors = data.raw(inserts);
  if (data.failed()) return bad("{} deletes and {} inserts in {} bytes", deletes, inserts, redo.record.main_data.size());
  const ByteView tuples = data.raw(data.remaining());
  HELIUM_ASSIGN(const ByteView inner, inner_tuple_at(tuples));
  HELIUM_ASSIGN(const uint32_t inner_blkno, blkno_of(redo, 2));
  const auto flag = [&redo](size_t at) { return redo.main<uint8_t>(at) != 0; };
  return PickSplit{flag(0), flag(6), flag(7), flag(10), flag(11), flag(12), redo.main<uint16_t>(8),
                   redo.main<uint16_t>(14), redo.main<uint16_t>(16), state_at(redo, 20), inner_blkno, deleted, inserted,
                   selectors, inner, tuples.subspan(inner.size())};
}

Status add_picked_leafs(const BlockRedo& redo, const PickSplit& split, bool destination) {
  ByteView tuples = split.leaf_tuples;
  for (uint32_t i = 0; i < split.inserted.size(); ++i) {
    HELIUM_ASSIGN(const ByteView tuple, leaf_tuple_at(tuples));
    tuples = tuples.subspan(tuple.size());
    if ((split.to_destination[i] != std::byte{0}) != destination) continue;
    HELIUM_TRY(add_or_replace(redo.page, tuple, split.inserted[i]));
  }
  return stamped(redo);
}

Status redo_picksplit(const BlockRedo& redo) {
  HELIUM_ASSIGN(const PickSplit split, parse_picksplit(redo));
  const Place inner{split.inner_blkno, split.inner_offset};
  switch (redo.ref.id) {
    case 0: {
      if (split.root) return bad("block 0 has no meaning");  // the root comes as the inner page alone
      HELIUM_TRY(open_page(redo, split.new_source, leaf_flags(split.nulls)));
      if (!split.new_source) {
        const State first = split.state.is_build ? State::kPlaceholder : State::kRedirect;
        HELIUM_TRY(bury(redo.page, split.deleted, {first, State::kPlaceholder, inner, split.state.xid}));
      }
      return add_picked_leafs(redo, split, /*destination=*/false);
    }
    case 1:
      HELIUM_TRY(open_page(redo, split.new_destination, leaf_flags(split.nulls)));
      return add_picked_leafs(redo, split, /*destination=*/true);
    case 2:
      HELIUM_TRY(open_page(redo, split.new_inner, split.nulls ? kNulls : 0));
      HELIUM_TRY(add_or_replace(redo.page, split.inner_tuple, split.inner_offset));
      if (split.inner_is_parent) HELIUM_TRY(set_downlink(redo.page, split.parent_offset, split.node, inner));
      return stamped(redo);
    default:
      HELIUM_TRY(set_downlink(redo.page, split.parent_offset, split.node, inner));
      return stamped(redo);
  }
}

// ---- Vacuum

// spgxlogVacuumLeaf: numbers of dead, of placeholders, of moves and of changed links u16 each, state; then the offset
// numbers: dead, placeholders, moves from, moves to, links at, links to.
Status redo_vacuum_leaf(const BlockRedo& redo) {
  constexpr size_t kHead = 16;
  HELIUM_TRY(redo.need_main(kHead));
  ByteReader data(redo.record.main_data.subspan(kHead));
  const auto numbers = [&](size_t count_at) { return Numbers(data.raw(2u * redo.main<uint16_t>(count_at))); };
  const Numbers dead = numbers(0);
  const Numbers placeholders = numbers(2);
  const Numbers from = numbers(4);
  const Numbers to = numbers(4);
  const Numbers links_at = numbers(6);
  const Numbers links_to = numbers(6);
  if (data.failed()) return bad("offset numbers are cut off at {} bytes", redo.record.main_data.size());
  HELIUM_TRY(bury(redo.page, dead, {State::kDead, State::kDead, {}}));
  HELIUM_TRY(bury(redo.page, placeholders, {State::kPlaceholder, State::kPlaceholder, {}}));
  for (uint32_t i = 0; i < from.size(); ++i) {
    HELIUM_ASSIGN(const pg::ItemId source, get_item_id(redo.page, from[i]));
    HELIUM_ASSIGN(const pg::ItemId target, get_item_id(redo.page, to[i]));
    pg::set_page_item_id(redo.page, from[i], target);
    pg::set_page_item_id(redo.page, to[i], source);
  }
  HELIUM_TRY(bury(redo.page, from, {State::kPlaceholder, State::kPlaceholder, {}}));
  for (uint32_t i = 0; i < links_at.size(); ++i) {
    HELIUM_ASSIGN(const MutableByteView tuple, get_tuple(redo.page, links_at[i], kLeafHeader));
    const auto info = load<uint16_t>(tuple.data() + 4);
    store(tuple.data() + 4, static_cast<uint16_t>((info & ~kNextOffsetMask) | (links_to[i] & kNextOffsetMask)));
  }
  return stamped(redo);
}

// spgxlogVacuumRoot: deleted u16, padding, state; then the offset numbers.
Status redo_vacuum_root(const BlockRedo& redo) {
  constexpr size_t kHead = 12;
  HELIUM_TRY(redo.need_main(kHead));
  const uint32_t count = redo.main<uint16_t>(0);
  const ByteView offsets = redo.record.main_data.subspan(kHead);
  if (offsets.size() < 2 * count) return bad("{} offsets in {} bytes", count, offsets.size());
  HELIUM_TRY(opaque_of(redo.page));
  HELIUM_TRY(delete_index_items(redo.page, offsets.first(2 * count)));
  return stamped(redo);
}

// spgxlogVacuumRedirect: redirects u16, first placeholder to go u16, xid u32 (from 16 on a flag follows); then the
// redirects' offset numbers. Placeholders go from there to the last item.
Status redo_vacuum_redirect(const BlockRedo& redo) {
  const size_t offsets_at = redo.context.pg_version >= 16 ? 10 : 8;
  HELIUM_TRY(redo.need_main(offsets_at));
  const uint32_t count = redo.main<uint16_t>(0);
  const uint32_t first = redo.main<uint16_t>(2);
  const ByteView offsets = redo.record.main_data.subspan(offsets_at);
  if (offsets.size() < 2 * count) return bad("{} offsets in {} bytes", count, offsets.size());
  HELIUM_ASSIGN(Opaque opaque, opaque_of(redo.page));
  for (uint32_t i = 0; i < count; ++i) {
    HELIUM_ASSIGN(const MutableByteView tuple,
                  get_tuple(redo.page, load<uint16_t>(offsets.data() + 2 * i), kDeadSize));
    store(tuple.data(), load<uint32_t>(tuple.data()) | static_cast<uint32_t>(State::kPlaceholder));
    set_tid(tuple.data() + 6, kNoBlock, 0);
  }
  opaque.add_redirects(-static_cast<int>(count));
  opaque.add_placeholders(static_cast<int>(count));
  if (first != 0) {
    const uint32_t last = pg::page_item_count(redo.page);
    if (first > last || last > kMaxItemIds) return bad("placeholders from {} to {}", first, last);
    std::array<uint16_t, kMaxItemIds> gone;
    const auto listed = std::span(gone).first(last - first + 1);
    for (uint32_t i = 0; i < listed.size(); ++i) listed[i] = static_cast<uint16_t>(first + i);
    opaque.add_placeholders(-static_cast<int>(listed.size()));
    HELIUM_TRY(delete_index_items(redo.page, std::as_bytes(listed)));
  }
  return stamped(redo);
}

uint8_t block_count(uint8_t op) {
  switch (op) {
    case kAddLeaf:
    case kSplitTuple: return 2;
    case kMoveLeafs:
    case kAddNode: return 3;
    case kPickSplit: return 4;
    default: return 1;
  }
}

}  // namespace

Status redo_spgist(const BlockRedo& redo) {
  const uint8_t op = redo.record.op();
  if (redo.ref.id >= block_count(op)) return bad("block {} has no meaning", redo.ref.id);
  switch (op) {
    case kAddLeaf: return redo_add_leaf(redo);
    case kMoveLeafs: return redo_move_leafs(redo);
    case kAddNode: return redo_add_node(redo);
    case kSplitTuple: return redo_split_tuple(redo);
    case kPickSplit: return redo_picksplit(redo);
    case kVacuumLeaf: return redo_vacuum_leaf(redo);
    case kVacuumRoot: return redo_vacuum_root(redo);
    case kVacuumRedirect: return redo_vacuum_redirect(redo);
    default: return bad("an unknown record type");
  }
}

}  // namespace helium::redo
