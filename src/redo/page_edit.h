// Checked edits of a PostgreSQL page: the primitives that redo is made of, with bufpage.c's exact results.
//
// Pages and arguments are untrusted. Each function checks before it writes; on kRedo the page may nevertheless be
// half changed: see redo_block() and redo_block_in_place(). Nothing allocates but Scratch on the stack.
// Pure. Source: PostgreSQL 15 bufpage.c.

#pragma once

#include <cstdint>
#include <span>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/result.h"
#include "pg/page.h"

namespace helium::redo {

// "page pointers lower … upper … special …" and the like; the caller adds record, page and LSN.
template <typename... Args>
std::unexpected<Error> bad(fmt::format_string<Args...> text, Args&&... args) {
  return fail(ErrorCode::kRedo, fmt::format(text, std::forward<Args>(args)...));
}

inline constexpr uint32_t kMaxItemIds = (pg::kBlockSize - pg::kPageHeaderSize) / pg::kItemIdSize;  // 2042
inline constexpr uint32_t kMaxHeapTuplesPerPage = 291;
inline constexpr uint32_t kMaxHeapTupleSize = 8160;

// 24 ≤ lower ≤ upper ≤ special ≤ 8192, special aligned. False for a new page: it has no items to edit.
Status check_page_pointers(ByteView page);

// Item `number` of the page, which must exist.
Result<pg::ItemId> get_item_id(ByteView page, uint16_t number);
// The bytes of item `number`, which must exist, have storage and lie within the page's tuple space.
Result<MutableByteView> get_item(MutableByteView page, uint16_t number);

enum class AddMode : uint8_t {
  kHeap,       // PAI_OVERWRITE | PAI_IS_HEAP: the item id must be unused, or one past the last
  kOverwrite,  // PAI_OVERWRITE: the same without heap's limit on the number of items
  kIndex,      // items from `number` on move one up
};
// PageAddItemExtended with an explicit offset number.
Status add_item(MutableByteView page, ByteView item, uint16_t number, AddMode mode);

// The special area of a page whose pointers hold together, if it has this size.
Result<std::byte*> special_area(MutableByteView page, uint32_t size);

// PageInit with the special area of `from` copied.
Status init_like(MutableByteView page, ByteView from);

// PageRepairFragmentation: heap tuples are packed against the special area in reverse order of their item ids. Unused
// item ids at the end go, or stay as before 15.
Status repair_fragmentation(MutableByteView page, bool cut_unused_end = true);
// PageTruncateLinePointerArray.
void truncate_line_pointers(MutableByteView page);

// PageIndexTupleDelete, PageIndexTupleDeleteNoCompact, PageIndexMultiDelete, PageIndexTupleOverwrite.
Status delete_index_item(MutableByteView page, uint16_t number);
Status delete_index_item_keep_numbers(MutableByteView page, uint16_t number);
// `numbers`: u16 item numbers, ascending, unaligned.
Status delete_index_items(MutableByteView page, ByteView numbers);
Status overwrite_index_item(MutableByteView page, uint16_t number, ByteView item);

}  // namespace helium::redo
