#include "redo/page_edit.h"

#include <array>
#include <cstring>

namespace helium::redo {

using pg::ItemFlags;
using pg::ItemId;
using pg::kBlockSize;
using pg::kItemIdSize;
using pg::kPageHeaderSize;
using pg::max_align;

Status check_page_pointers(ByteView page) {
  const uint32_t lower = pg::page_lower(page);
  const uint32_t upper = pg::page_upper(page);
  const uint32_t special = pg::page_special(page);
  if (lower < kPageHeaderSize || lower > upper || upper > special || special > kBlockSize ||
      special != max_align(special))
    return bad("page pointers lower {} upper {} special {}", lower, upper, special);
  return {};
}

Result<ItemId> get_item_id(ByteView page, uint16_t number) {
  const uint32_t count = pg::page_item_count(page);
  if (number == 0 || number > count || count > kMaxItemIds)
    return bad("offset {} beyond line pointers {}", number, count);
  return pg::page_item_id(page, number);
}

Result<MutableByteView> get_item(MutableByteView page, uint16_t number) {
  HELIUM_ASSIGN(const ItemId id, get_item_id(page, number));
  if (!id.has_storage() || !pg::item_in_bounds(page, id) || pg::page_special(page) > kBlockSize)
    return bad("line pointer {} is bad: offset {} length {}", number, id.offset, id.length);
  return pg::page_item(page, id);
}

namespace {

// Makes room for one more item id at `number`.
void shift_item_ids_up(MutableByteView page, uint16_t number, uint32_t count) {
  std::byte* at = page.data() + kPageHeaderSize + (number - 1u) * kItemIdSize;
  std::memmove(at + kItemIdSize, at, (count + 1 - number) * kItemIdSize);
}

// Moves the tuples listed in `ids` (in the order of the numbers, each with storage inside [upper, special)) against
// the special area, the first one last, and sets their item ids. `numbers[i]` is the item id of ids[i].
struct Compaction {
  uint16_t number;
  ItemId id;
};
void compact(MutableByteView page, std::span<const Compaction> items) {
  std::array<std::byte, kBlockSize> old;
  std::memcpy(old.data(), page.data(), kBlockSize);
  uint32_t upper = pg::page_special(page);
  for (const Compaction& item : items) {
    const uint32_t size = max_align(item.id.length);
    upper -= size;
    std::memcpy(page.data() + upper, old.data() + item.id.offset, size);
    pg::set_page_item_id(page, item.number, ItemId{static_cast<uint16_t>(upper), item.id.flags, item.id.length});
  }
  pg::set_page_upper(page, static_cast<uint16_t>(upper));
}

// What index page edits demand of an item: in bounds and aligned.
Result<ItemId> get_index_item_id(ByteView page, uint16_t number) {
  HELIUM_ASSIGN(const ItemId id, get_item_id(page, number));
  if (!pg::item_in_bounds(page, id) || id.offset != max_align(id.offset) ||
      id.offset + max_align(id.length) > pg::page_special(page))
    return bad("line pointer {} is bad: offset {} length {}", number, id.offset, id.length);
  return id;
}

// Tuples that lie at or below `offset` moved up by `delta` bytes.
void shift_item_offsets(MutableByteView page, uint32_t offset, int delta, bool only_with_storage) {
  const uint32_t count = pg::page_item_count(page);
  for (uint32_t i = 1; i <= count; ++i) {
    ItemId id = pg::page_item_id(page, static_cast<uint16_t>(i));
    if (id.offset > offset || (only_with_storage && !id.has_storage())) continue;
    id.offset = static_cast<uint16_t>(id.offset + delta);
    pg::set_page_item_id(page, static_cast<uint16_t>(i), id);
  }
}

}  // namespace

Status add_item(MutableByteView page, ByteView item, uint16_t number, AddMode mode) {
  HELIUM_TRY(check_page_pointers(page));
  const uint32_t count = pg::page_item_count(page);
  const uint32_t limit = count + 1;
  if (number == 0 || number > limit) return bad("offset {} beyond line pointers {}", number, count);
  if (item.empty() || item.size() > kBlockSize) return bad("tuple of {} bytes", item.size());
  if (mode != AddMode::kIndex && number < limit) {
    const ItemId old = pg::page_item_id(page, number);
    if (old.flags != ItemFlags::kUnused || old.has_storage()) return bad("line pointer {} is in use", number);
  }
  if (mode == AddMode::kHeap && number > kMaxHeapTuplesPerPage)
    return bad("offset {} is more than a heap page holds", number);
  const bool adds_id = number == limit || mode == AddMode::kIndex;
  const uint32_t lower = pg::page_lower(page) + (adds_id ? kItemIdSize : 0);
  const uint32_t size = max_align(static_cast<uint32_t>(item.size()));
  const uint32_t old_upper = pg::page_upper(page);
  if (lower + size > old_upper)
    return bad("no room for {} bytes between {} and {}", item.size(), pg::page_lower(page), old_upper);

  const uint32_t upper = old_upper - size;
  if (adds_id && number < limit) shift_item_ids_up(page, number, count);
  pg::set_page_item_id(page, number,
                       ItemId{static_cast<uint16_t>(upper), ItemFlags::kNormal, static_cast<uint16_t>(item.size())});
  std::memcpy(page.data() + upper, item.data(), item.size());
  pg::set_page_lower(page, static_cast<uint16_t>(lower));
  pg::set_page_upper(page, static_cast<uint16_t>(upper));
  return {};
}

Result<std::byte*> special_area(MutableByteView page, uint32_t size) {
  HELIUM_TRY(check_page_pointers(page));
  if (pg::page_special(page) != kBlockSize - size) return bad("special area at {}", pg::page_special(page));
  return page.data() + pg::page_special(page);
}

Status init_like(MutableByteView page, ByteView from) {
  HELIUM_TRY(check_page_pointers(from));
  const uint32_t special = pg::page_special(from);
  pg::page_init(page, kBlockSize - special);
  std::memcpy(page.data() + special, from.data() + special, kBlockSize - special);
  return {};
}

Status repair_fragmentation(MutableByteView page, bool cut_unused_end) {
  HELIUM_TRY(check_page_pointers(page));
  const uint32_t count = pg::page_item_count(page);
  const uint32_t special = pg::page_special(page);
  std::array<Compaction, kMaxItemIds> kept;
  uint32_t nkept = 0;
  uint32_t total = 0;
  uint32_t last_used = 0;
  uint32_t unused = 0;
  for (uint32_t i = 1; i <= count; ++i) {
    const auto number = static_cast<uint16_t>(i);
    const ItemId id = pg::page_item_id(page, number);
    if (id.flags == ItemFlags::kUnused) {
      pg::set_page_item_id(page, number, ItemId{});
      ++unused;
      continue;
    }
    last_used = i;
    if (!id.has_storage()) continue;
    if (id.offset < pg::page_upper(page) || id.offset + max_align(id.length) > special)
      return bad("line pointer {} is bad: offset {} length {}", i, id.offset, id.length);
    total += max_align(id.length);
    kept[nkept++] = Compaction{number, id};
  }
  if (pg::page_lower(page) + total > special) return bad("tuples of {} bytes overlap", total);
  compact(page, std::span(kept).first(nkept));
  if (cut_unused_end && last_used != count) {
    const uint32_t cut = count - last_used;
    unused -= cut;
    pg::set_page_lower(page, static_cast<uint16_t>(pg::page_lower(page) - cut * kItemIdSize));
  }
  const uint16_t flags = pg::page_flags(page);
  pg::set_page_flags(page, unused > 0 ? flags | pg::kPdHasFreeLines : flags & ~pg::kPdHasFreeLines);
  return {};
}

void truncate_line_pointers(MutableByteView page) {
  const uint32_t count = pg::page_item_count(page);
  uint32_t keep = count;
  const auto is_unused = [&](uint32_t number) {
    return pg::page_item_id(page, static_cast<uint16_t>(number)).flags == ItemFlags::kUnused;
  };
  while (keep > 1 && is_unused(keep)) --keep;
  bool hint = false;
  for (uint32_t i = 1; i <= keep && !hint; ++i) hint = is_unused(i);
  pg::set_page_lower(page, static_cast<uint16_t>(pg::page_lower(page) - (count - keep) * kItemIdSize));
  const uint16_t flags = pg::page_flags(page);
  pg::set_page_flags(page, hint ? flags | pg::kPdHasFreeLines : flags & ~pg::kPdHasFreeLines);
}

Status delete_index_item(MutableByteView page, uint16_t number) {
  HELIUM_TRY(check_page_pointers(page));
  HELIUM_ASSIGN(const ItemId id, get_index_item_id(page, number));
  const uint32_t size = max_align(id.length);
  const uint32_t lower = pg::page_lower(page);
  const uint32_t upper = pg::page_upper(page);

  std::byte* at = page.data() + kPageHeaderSize + (number - 1u) * kItemIdSize;
  const uint32_t behind = lower - (kPageHeaderSize + uint32_t{number} * kItemIdSize);
  std::memmove(at, at + kItemIdSize, behind);
  std::memmove(page.data() + upper + size, page.data() + upper, id.offset - upper);
  pg::set_page_upper(page, static_cast<uint16_t>(upper + size));
  pg::set_page_lower(page, static_cast<uint16_t>(lower - kItemIdSize));
  shift_item_offsets(page, id.offset, static_cast<int>(size), /*only_with_storage=*/false);
  return {};
}

Status delete_index_item_keep_numbers(MutableByteView page, uint16_t number) {
  HELIUM_TRY(check_page_pointers(page));
  HELIUM_ASSIGN(const ItemId id, get_index_item_id(page, number));
  const uint32_t size = max_align(id.length);
  const uint32_t upper = pg::page_upper(page);
  // An item in the middle leaves its number unused; the last one's goes.
  if (number < pg::page_item_count(page))
    pg::set_page_item_id(page, number, ItemId{});
  else
    pg::set_page_lower(page, static_cast<uint16_t>(pg::page_lower(page) - kItemIdSize));
  std::memmove(page.data() + upper + size, page.data() + upper, id.offset - upper);
  pg::set_page_upper(page, static_cast<uint16_t>(upper + size));
  shift_item_offsets(page, id.offset, static_cast<int>(size), /*only_with_storage=*/true);
  return {};
}

Status delete_index_items(MutableByteView page, ByteView numbers) {
  const size_t ndelete = numbers.size() / 2;
  const auto number_at = [&](size_t i) { return load<uint16_t>(numbers.data() + 2 * i); };
  if (ndelete <= 2) {  // PostgreSQL's short cut, which leaves tuples in another order than compaction would
    for (size_t i = ndelete; i-- > 0;) HELIUM_TRY(delete_index_item(page, number_at(i)));
    return {};
  }
  HELIUM_TRY(check_page_pointers(page));
  const uint32_t count = pg::page_item_count(page);
  std::array<Compaction, kMaxItemIds> kept;
  uint32_t nkept = 0;
  uint32_t total = 0;
  size_t next = 0;
  for (uint32_t i = 1; i <= count; ++i) {
    HELIUM_ASSIGN(const ItemId id, get_index_item_id(page, static_cast<uint16_t>(i)));
    if (next < ndelete && number_at(next) == i) {
      ++next;
      continue;
    }
    total += max_align(id.length);
    kept[nkept] = Compaction{static_cast<uint16_t>(nkept + 1), id};
    ++nkept;
  }
  if (next != ndelete) return bad("offset {} to delete is out of order or beyond line pointers {}", number_at(next), count);
  if (pg::page_lower(page) + total > pg::page_special(page)) return bad("tuples of {} bytes overlap", total);
  pg::set_page_lower(page, static_cast<uint16_t>(kPageHeaderSize + nkept * kItemIdSize));
  compact(page, std::span(kept).first(nkept));
  return {};
}

Status overwrite_index_item(MutableByteView page, uint16_t number, ByteView item) {
  HELIUM_TRY(check_page_pointers(page));
  HELIUM_ASSIGN(ItemId id, get_index_item_id(page, number));
  const uint32_t old_size = max_align(id.length);
  const uint32_t new_size = max_align(static_cast<uint32_t>(item.size()));
  const uint32_t upper = pg::page_upper(page);
  if (item.empty() || new_size > old_size + (upper - pg::page_lower(page)))
    return bad("no room to overwrite item {} with {} bytes", number, item.size());

  const int delta = static_cast<int>(old_size) - static_cast<int>(new_size);
  if (delta != 0) {
    const uint32_t offset = id.offset;
    std::memmove(page.data() + static_cast<int>(upper) + delta, page.data() + upper, offset - upper);
    pg::set_page_upper(page, static_cast<uint16_t>(static_cast<int>(upper) + delta));
    shift_item_offsets(page, offset, delta, /*only_with_storage=*/true);
  }
  id.offset = static_cast<uint16_t>(id.offset + delta);
  id.length = static_cast<uint16_t>(item.size());
  pg::set_page_item_id(page, number, id);
  std::memcpy(page.data() + id.offset, item.data(), item.size());
  return {};
}

}  // namespace helium::redo
