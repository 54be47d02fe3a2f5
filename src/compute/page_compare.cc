#include "compute/page_compare.h"

#include <algorithm>

#include "pg/page.h"
#include "redo/brin_page.h"
#include "redo/mask.h"

namespace helium::compute {
namespace {

// GISTPageOpaqueData: nsn (8 bytes), rightlink, flags, page id. Source: PostgreSQL 15 gist.h.
constexpr size_t kGistOpaqueSize = 16;
constexpr size_t kGistFlagsAt = 12;
constexpr uint16_t kGistFollowRight = 1 << 3;

// SP-GiST's metapage (block 0) holds a cache of pages with room that backends share as a hint, behind PostgreSQL's
// magic number, and that no WAL describes. Source: PostgreSQL 15 spgist_private.h, SpGistMetaPageData.
constexpr size_t kSpgistHintsAt = 28;
constexpr size_t kSpgistHintsSize = 8 * 8;

pg::Rmgr rmgr_of(PageKind kind) {
  switch (kind) {
    case PageKind::kHeap: return pg::Rmgr::kHeap;
    case PageKind::kBtree: return pg::Rmgr::kBtree;
    case PageKind::kHash: return pg::Rmgr::kHash;
    case PageKind::kGin: return pg::Rmgr::kGin;
    case PageKind::kGist: return pg::Rmgr::kGist;
    case PageKind::kSpgist: return pg::Rmgr::kSpgist;
    case PageKind::kBrin: return pg::Rmgr::kBrin;
    case PageKind::kSequence: return pg::Rmgr::kSeq;
    case PageKind::kOther: return pg::Rmgr::kGeneric;
  }
  return pg::Rmgr::kGeneric;
}

// A sequence's tuple: last_value (8 bytes), log_cnt (8), is_called (1). Source: PostgreSQL 15 commands/sequence.h.
constexpr size_t kSequenceDataSize = 17;
constexpr size_t kTupleHeaderLengthAt = 22;  // t_hoff
constexpr size_t kLogCountAt = 8;
constexpr uint32_t kFirstNormalObjectId = 16384;

// Where the sequence's values lie; nothing on a malformed page.
std::optional<size_t> sequence_data_at(ByteView page) {
  if (pg::page_item_count(page) != 1) return {};
  const pg::ItemId item = pg::page_item_id(page, 1);
  if (!pg::item_in_bounds(page, item) || item.length < kTupleHeaderLengthAt + 2) return {};
  const size_t header = load<uint8_t>(page.data() + item.offset + kTupleHeaderLengthAt);
  if (header + kSequenceDataSize > item.length) return {};
  return item.offset + header;
}

// The compute counts down log_cnt from what the last record logged ahead; storage has that record's values. With the
// same count both must have the same value.
void mask_values_logged_ahead(MutableByteView ours, MutableByteView theirs) {
  const std::optional<size_t> at = sequence_data_at(ours);
  if (!at || at != sequence_data_at(theirs)) return;
  if (load<uint64_t>(ours.data() + *at + kLogCountAt) == load<uint64_t>(theirs.data() + *at + kLogCountAt)) return;
  std::fill_n(ours.data() + *at, kSequenceDataSize, std::byte{0});
  std::fill_n(theirs.data() + *at, kSequenceDataSize, std::byte{0});
}

bool is_new_or_invalid(ByteView page) { return pg::page_is_new(page) || !pg::page_header_valid(page); }

std::optional<PageDifference> compare_gist_nsn(ByteView local, ByteView remote) {
  const uint16_t special = pg::page_special(local);
  if (special != pg::page_special(remote) || special + kGistOpaqueSize > pg::kBlockSize) return {};
  const uint64_t local_nsn = load<uint64_t>(local.data() + special);
  const uint64_t remote_nsn = load<uint64_t>(remote.data() + special);
  if (local_nsn != remote_nsn) return PageDifference{"nsn", special};
  const auto flags = [&](ByteView page) { return load<uint16_t>(page.data() + special + kGistFlagsAt) & kGistFollowRight; };
  if (flags(local) != flags(remote)) return PageDifference{"nsn", static_cast<uint32_t>(special + kGistFlagsAt)};
  return {};
}

}  // namespace

PageKind page_kind(char relkind, const std::string& access_method) {
  if (relkind == 'S') return PageKind::kSequence;
  if (access_method == "heap" || access_method.empty()) return PageKind::kHeap;
  if (access_method == "btree") return PageKind::kBtree;
  if (access_method == "hash") return PageKind::kHash;
  if (access_method == "gin") return PageKind::kGin;
  if (access_method == "gist") return PageKind::kGist;
  if (access_method == "spgist") return PageKind::kSpgist;
  if (access_method == "brin") return PageKind::kBrin;
  return PageKind::kOther;
}

bool is_unlogged_empty_page(ByteView page) {
  if (pg::page_is_new(page)) return pg::page_all_zero(page);
  return pg::page_header_valid(page) && !pg::page_lsn(page).is_valid() && pg::page_lower(page) == pg::kPageHeaderSize;
}

std::optional<PageDifference> compare_relation_pages(const pg::RelTag& rel, uint32_t blkno, PageKind kind,
                                                     ByteView local, ByteView remote) {
  if (const auto offset = redo::compare_pages(local, remote); !offset) return {};
  if (pg::page_all_zero(remote) && is_unlogged_empty_page(local)) return {};

  const bool comparable = !is_new_or_invalid(local) && !is_new_or_invalid(remote);
  if (comparable && rel.forknum == pg::Fork::kMain) {
    if (kind == PageKind::kHeap &&
        (pg::page_flags(local) & pg::kPdAllVisible) != (pg::page_flags(remote) & pg::kPdAllVisible)) {
      return PageDifference{"all_visible", static_cast<uint32_t>(pg::kPdFlagsAt)};
    }
    // GIN keeps there when a page was deleted. Source: PostgreSQL 15 ginblock.h, GinPageSetDeleteXid.
    if (kind == PageKind::kGin && pg::page_prune_xid(local) != pg::page_prune_xid(remote)) {
      return PageDifference{"delete_xid", static_cast<uint32_t>(pg::kPdPruneXidAt)};
    }
    if (kind == PageKind::kGist) {
      if (auto difference = compare_gist_nsn(local, remote)) return difference;
    }
  }
  Bytes ours(local.begin(), local.end());
  Bytes theirs(remote.begin(), remote.end());
  if (comparable) {
    const uint8_t rmgr = static_cast<uint8_t>(rmgr_of(kind));
    const Status masked_ours = redo::mask_page(rmgr, 0, rel, blkno, ours);
    const Status masked_theirs = redo::mask_page(rmgr, 0, rel, blkno, theirs);
    if (!masked_ours || !masked_theirs) {
      ours.assign(local.begin(), local.end());
      theirs.assign(remote.begin(), remote.end());
    }
    if (kind == PageKind::kSpgist && blkno == 0) {
      for (Bytes* page : {&ours, &theirs}) std::fill_n(page->begin() + kSpgistHintsAt, kSpgistHintsSize, std::byte{0});
    }
  }
  if (comparable && kind == PageKind::kSequence) mask_values_logged_ahead(ours, theirs);
  const std::optional<uint32_t> offset = redo::compare_pages(ours, theirs);
  if (!offset) return {};
  return PageDifference{"page", *offset};
}

// Files are numbered by the counter that numbers databases: what a database was copied with has a number below its own.
bool is_map_of_copied_table(const pg::RelTag& rel, PageKind kind, ByteView local, ByteView remote) {
  if (rel.dbnode < kFirstNormalObjectId || rel.relnode >= rel.dbnode) return false;
  if (rel.forknum == pg::Fork::kVm) {
    for (size_t at = pg::kPageHeaderSize; at < pg::kBlockSize; ++at)
      if ((remote[at] & ~local[at]) != std::byte{0}) return false;
    return true;
  }
  if (kind != PageKind::kBrin || !redo::is_brin_revmap_page(local) || !redo::is_brin_revmap_page(remote)) return false;
  constexpr size_t kEntrySize = 6;  // a TID
  for (size_t at = pg::kPageHeaderSize; at + kEntrySize <= pg::kBlockSize - redo::kBrinSpecialSize; at += kEntrySize) {
    const ByteView theirs = remote.subspan(at, kEntrySize);
    const bool is_empty = std::ranges::all_of(theirs, [](std::byte byte) { return byte == std::byte{0}; });
    if (!is_empty && !std::ranges::equal(theirs, local.subspan(at, kEntrySize))) return false;
  }
  return true;
}

std::optional<PageDifference> compare_slru_pages(ByteView local, ByteView remote) {
  const std::optional<uint32_t> offset = redo::compare_pages(local, remote);
  if (!offset) return {};
  return PageDifference{"slru", *offset};
}

}  // namespace helium::compute
