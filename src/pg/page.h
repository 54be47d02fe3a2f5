// A PostgreSQL page: 8192 bytes with a header, item ids, free space, tuples and a special area.
//
//   offset  size  field                 meaning
//        0     8  pd_lsn                end of the last record that changed the page: high half, then low half
//        8     2  pd_checksum           0 unless the cluster has checksums
//       10     2  pd_flags              kPd…
//       12     2  pd_lower              end of the item ids, start of free space
//       14     2  pd_upper              end of free space, start of tuples
//       16     2  pd_special            start of the special area
//       18     2  pd_pagesize_version   8192 | 4
//       20     4  pd_prune_xid          hint; also GIN's delete xid
//       24     4n item ids              offset 15 bits, flags 2 bits, length 15 bits
//
// Every view must be exactly kBlockSize bytes; that is the caller's promise (CHECKed only in page_checksum). What
// the header *says* is untrusted: use page_header_valid() and item_in_bounds() before following it.
// Owns nothing, pure, safe from any thread. Source: PostgreSQL 15 bufpage.h, itemid.h, checksum_impl.h.

#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/lsn.h"
#include "pg/constants.h"

namespace helium::pg {

inline constexpr uint32_t kPageHeaderSize = 24;  // SizeOfPageHeaderData
inline constexpr uint32_t kItemIdSize = 4;
inline constexpr uint16_t kPageLayoutVersion = 4;  // PG_PAGE_LAYOUT_VERSION

inline constexpr size_t kPdChecksumAt = 8;
inline constexpr size_t kPdFlagsAt = 10;
inline constexpr size_t kPdLowerAt = 12;
inline constexpr size_t kPdUpperAt = 14;
inline constexpr size_t kPdSpecialAt = 16;
inline constexpr size_t kPdSizeVersionAt = 18;
inline constexpr size_t kPdPruneXidAt = 20;

// Bits of pd_flags.
inline constexpr uint16_t kPdHasFreeLines = 0x0001;
inline constexpr uint16_t kPdPageFull = 0x0002;
inline constexpr uint16_t kPdAllVisible = 0x0004;

constexpr uint32_t max_align(uint32_t size) { return (size + 7) & ~7u; }  // MAXALIGN

inline Lsn page_lsn(ByteView page) {
  return Lsn(static_cast<uint64_t>(load<uint32_t>(page.data())) << 32 | load<uint32_t>(page.data() + 4));
}
inline uint16_t page_stored_checksum(ByteView page) { return load<uint16_t>(page.data() + kPdChecksumAt); }
inline uint16_t page_flags(ByteView page) { return load<uint16_t>(page.data() + kPdFlagsAt); }
inline uint16_t page_lower(ByteView page) { return load<uint16_t>(page.data() + kPdLowerAt); }
inline uint16_t page_upper(ByteView page) { return load<uint16_t>(page.data() + kPdUpperAt); }
inline uint16_t page_special(ByteView page) { return load<uint16_t>(page.data() + kPdSpecialAt); }
inline uint32_t page_prune_xid(ByteView page) { return load<uint32_t>(page.data() + kPdPruneXidAt); }

inline void set_page_lsn(MutableByteView page, Lsn lsn) {
  store<uint32_t>(page.data(), static_cast<uint32_t>(lsn.bytes() >> 32));
  store<uint32_t>(page.data() + 4, static_cast<uint32_t>(lsn.bytes()));
}
inline void set_page_stored_checksum(MutableByteView page, uint16_t v) { store(page.data() + kPdChecksumAt, v); }
inline void set_page_flags(MutableByteView page, uint16_t v) { store(page.data() + kPdFlagsAt, v); }
inline void set_page_lower(MutableByteView page, uint16_t v) { store(page.data() + kPdLowerAt, v); }
inline void set_page_upper(MutableByteView page, uint16_t v) { store(page.data() + kPdUpperAt, v); }
inline void set_page_special(MutableByteView page, uint16_t v) { store(page.data() + kPdSpecialAt, v); }
inline void set_page_prune_xid(MutableByteView page, uint32_t v) { store(page.data() + kPdPruneXidAt, v); }

// PageIsNew: never initialised (pd_upper is 0). page_all_zero looks at every byte.
inline bool page_is_new(ByteView page) { return page_upper(page) == 0; }
bool page_all_zero(ByteView page);

// PageInit: zeros, then an empty page with `special_size` (aligned up) bytes of special area. The LSN is zero.
void page_init(MutableByteView page, uint32_t special_size);

// The header of a page that is not new holds together: size and version, lower ≤ upper ≤ special ≤ 8192, special
// aligned, no unknown flags.
bool page_header_valid(ByteView page);

// Item ids. Numbers ("offset numbers") start at 1.
enum class ItemFlags : uint8_t { kUnused = 0, kNormal = 1, kRedirect = 2, kDead = 3 };

struct ItemId {
  uint16_t offset = 0;  // 15 bits; of a redirect: the item number that it leads to
  ItemFlags flags = ItemFlags::kUnused;
  uint16_t length = 0;  // 15 bits

  constexpr bool has_storage() const { return length != 0; }
  friend bool operator==(const ItemId&, const ItemId&) = default;
};
constexpr ItemId decode_item_id(uint32_t raw) {
  return ItemId{static_cast<uint16_t>(raw & 0x7FFF), static_cast<ItemFlags>(raw >> 15 & 3),
                static_cast<uint16_t>(raw >> 17)};
}
constexpr uint32_t encode_item_id(ItemId id) {
  return (id.offset & 0x7FFFu) | static_cast<uint32_t>(id.flags) << 15 | static_cast<uint32_t>(id.length & 0x7FFF) << 17;
}

// PageGetMaxOffsetNumber: how many item ids there are; 0 for a new page.
inline uint16_t page_item_count(ByteView page) {
  const uint16_t lower = page_lower(page);
  return lower <= kPageHeaderSize ? 0 : static_cast<uint16_t>((lower - kPageHeaderSize) / kItemIdSize);
}
// `number` from 1 to (kBlockSize - header) / 4: the caller has compared it with page_item_count() of a valid header.
inline ItemId page_item_id(ByteView page, uint16_t number) {
  return decode_item_id(load<uint32_t>(page.data() + kPageHeaderSize + (number - 1u) * kItemIdSize));
}
inline void set_page_item_id(MutableByteView page, uint16_t number, ItemId id) {
  store(page.data() + kPageHeaderSize + (number - 1u) * kItemIdSize, encode_item_id(id));
}
// The item's bytes lie between pd_upper and pd_special.
inline bool item_in_bounds(ByteView page, ItemId id) {
  return id.offset >= page_upper(page) && static_cast<uint32_t>(id.offset) + id.length <= page_special(page);
}
// The item's bytes; of an id that item_in_bounds() accepts.
inline ByteView page_item(ByteView page, ItemId id) { return page.subspan(id.offset, id.length); }
inline MutableByteView page_item(MutableByteView page, ItemId id) { return page.subspan(id.offset, id.length); }

// pg_checksum_page: what pd_checksum must hold for this page at this block of its fork (over all segment files).
// Never zero. Meaningful for pages that are not new: new pages carry none. pd_checksum itself is not summed.
uint16_t page_checksum(ByteView page, uint32_t blkno);
// Stores it, unless the page is new.
void set_page_checksum(MutableByteView page, uint32_t blkno);

}  // namespace helium::pg
