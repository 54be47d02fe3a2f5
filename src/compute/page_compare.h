// page_compare: are the compute's copy of a page and storage's copy the same page?
//
// Two right copies may differ in what WAL does not carry: hint bits and whatever PostgreSQL's own consistency check
// masks. Two more have their reasons: a sequence logs 32 values ahead, and CREATE DATABASE logs visibility maps and BRIN's
// revmaps of what it copies without their content (RelationCopyStorageUsingBuffer takes them for standard pages, whose hole
// is left out), so that storage, like a standby of PostgreSQL's own, has less there.
// What PostgreSQL masks but storage must have right is compared in full here: the bytes of visibility-map pages,
// PD_ALL_VISIBLE, GiST's NSN and follow-right flag, and when a GIN page was deleted.
// Units: pages are 8192 bytes. Errors: none; a page that cannot be masked is compared as it is. Pure.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "pg/constants.h"
#include "pg/rel.h"

namespace helium::compute {

// Whose pages a relation's file holds.
enum class PageKind : uint8_t { kHeap, kBtree, kHash, kGin, kGist, kSpgist, kBrin, kSequence, kOther };
// From pg_class.relkind and the name of the built-in access method.
PageKind page_kind(char relkind, const std::string& access_method);

struct PageDifference {
  std::string kind;     // "page", "all_visible", "nsn", "delete_xid", "slru"
  uint32_t offset = 0;  // of the first differing byte
};
std::optional<PageDifference> compare_relation_pages(const pg::RelTag& rel, uint32_t blkno, PageKind kind,
                                                     ByteView local, ByteView remote);
// The visibility map or BRIN revmap of a relation that CREATE DATABASE copied, and storage has some of what we have: its
// bits are a subset of ours, its entries are ours or empty.
bool is_map_of_copied_table(const pg::RelTag& rel, PageKind kind, ByteView local, ByteView remote);
std::optional<PageDifference> compare_slru_pages(ByteView local, ByteView remote);

// A page that was added to a relation and never written to by WAL: zeros, or an empty page with no LSN. Storage need
// not have it, or has zeros.
bool is_unlogged_empty_page(ByteView page);

}  // namespace helium::compute
