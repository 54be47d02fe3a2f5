#include "compute/page_compare.h"

#include <algorithm>

#include "pg/page.h"
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
  const std::optional<uint32_t> offset = redo::compare_pages(ours, theirs);
  if (!offset) return {};
  return PageDifference{"page", *offset};
}

std::optional<PageDifference> compare_slru_pages(ByteView local, ByteView remote) {
  const std::optional<uint32_t> offset = redo::compare_pages(local, remote);
  if (!offset) return {};
  return PageDifference{"slru", *offset};
}

}  // namespace helium::compute
