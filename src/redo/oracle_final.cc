// What is left of a cluster when it has stopped, against what redo made of its WAL.

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "pg/page.h"
#include "redo/mask.h"
#include "redo/oracle.h"

namespace helium::redo {

using pg::RelTag;
using pg::Rmgr;

namespace {

// Which access method wrote a page: each marks its special area.
Rmgr classify_page(ByteView page) {
  const uint32_t special = pg::page_special(page);
  if (special > pg::kBlockSize - 8) return Rmgr::kHeap;
  const auto mark = load<uint16_t>(page.data() + pg::kBlockSize - 2);
  switch (pg::kBlockSize - special) {
    case 8:
      if (load<uint32_t>(page.data() + special) == 0x1717) return Rmgr::kSeq;
      if (mark == 0xFF82) return Rmgr::kSpgist;
      if (mark >= 0xF091 && mark <= 0xF093) return Rmgr::kBrin;
      return Rmgr::kGin;
    case 16:
      if (mark == 0xFF80) return Rmgr::kHash;
      if (mark == 0xFF81) return Rmgr::kGist;
      return Rmgr::kBtree;
    default: return Rmgr::kGeneric;
  }
}

// Bytes that check images cannot prove, but a cluster at rest can: PD_ALL_VISIBLE, when a GIN page was deleted, GiST's
// NSN and follow-right.
std::optional<std::string> compare_unproven(Rmgr kind, const PageBytes& ours, const PageBytes& theirs) {
  const auto all_visible = [](const PageBytes& page) { return (pg::page_flags(page) & pg::kPdAllVisible) != 0; };
  if (kind == Rmgr::kHeap && all_visible(ours) != all_visible(theirs))
    return fmt::format("PD_ALL_VISIBLE: ours {}, PostgreSQL's {}", all_visible(ours), all_visible(theirs));
  if (kind == Rmgr::kGin && pg::page_prune_xid(ours) != pg::page_prune_xid(theirs)) return "GIN delete xid";
  if (kind != Rmgr::kGist) return std::nullopt;
  const size_t nsn_at = pg::kBlockSize - 16;
  if (std::memcmp(ours.data() + nsn_at, theirs.data() + nsn_at, 8) != 0) return "GiST NSN";
  if (((ours[nsn_at + 12] ^ theirs[nsn_at + 12]) & std::byte{0x08}) != std::byte{0}) return "GiST follow-right";
  return std::nullopt;
}

// An empty SP-GiST page becomes a leaf or an inner page without WAL, until its first tuple comes.
bool is_empty_spgist(Rmgr kind, const PageBytes& ours, const PageBytes& theirs) {
  return kind == Rmgr::kSpgist && pg::page_item_count(ours) == 0 && pg::page_item_count(theirs) == 0;
}

// Content that PostgreSQL changes without WAL: its own standbys differ here too.
bool is_never_logged(Rmgr kind, uint32_t blkno) {
  // The position inside the 32 values that a sequence logs ahead; SP-GiST's cache of pages with free space.
  return kind == Rmgr::kSeq || (kind == Rmgr::kSpgist && blkno == 0);
}

void count_difference(OracleCounts& counts, std::string what) {
  ++counts.differences;
  if (counts.first_problem.empty()) counts.first_problem = std::move(what);
}

}  // namespace

// A bit of a map says that the heap page has PD_ALL_VISIBLE: else the next change of the page would leave the bit.
OracleCounts Oracle::check_map_bits() const {
  OracleCounts counts;
  for (const auto& [key, map] : pages_) {
    if (key.rel.forknum != pg::Fork::kVm || pg::page_is_new(*map)) continue;
    RelTag heap = key.rel;
    heap.forknum = pg::Fork::kMain;
    const uint64_t first = uint64_t{key.blkno} * kHeapBlocksPerVmPage;
    const auto end = pages_.lower_bound({heap, static_cast<uint32_t>(std::min<uint64_t>(first + kHeapBlocksPerVmPage, UINT32_MAX))});
    for (auto at = pages_.lower_bound({heap, static_cast<uint32_t>(first)}); at != end; ++at) {
      if (get_vm_bits(*map, at->first.blkno) == 0) continue;
      ++counts.compared;
      if ((pg::page_flags(*at->second) & pg::kPdAllVisible) == 0)
        count_difference(counts, fmt::format("{} blk {}: a map bit without PD_ALL_VISIBLE", pg::to_string(heap), at->first.blkno));
    }
  }
  return counts;
}

std::map<std::string, OracleCounts> Oracle::compare_with(const std::filesystem::path& data_directory) const {
  const DataDirectory final_state(data_directory);
  std::map<std::string, OracleCounts> result;
  std::map<pg::RelTag, bool> exists;
  for (const auto& [key, page] : pages_) {
    if (key.rel.forknum == pg::Fork::kFsm) continue;  // never logged as a whole
    auto [known, fresh] = exists.try_emplace(key.rel);
    if (fresh) known->second = final_state.has_relation(key.rel);
    if (!known->second) continue;  // dropped in a way that this oracle does not follow (DROP DATABASE)
    const bool vm = key.rel.forknum == pg::Fork::kVm;
    const std::string where = fmt::format("{} blk {}", pg::to_string(key.rel), key.blkno);
    const std::optional<PageBytes> theirs = final_state.read_block(key.rel, key.blkno);
    if (!theirs) {
      // A page of zeros that a side effect asked for does not exist for PostgreSQL.
      if (!pg::page_is_new(*page)) count_difference(result["(pages that PostgreSQL does not have)"], where);
      continue;
    }
    const Rmgr kind = vm ? Rmgr::kHeap : classify_page(*theirs);
    if (is_never_logged(kind, key.blkno) || is_empty_spgist(kind, *page, *theirs)) continue;
    OracleCounts& counts = result[vm ? "final visibility map" : fmt::format("final {}", pg::rmgr_name(static_cast<uint8_t>(kind)))];
    ++counts.compared;
    PageBytes ours_masked = *page;
    PageBytes theirs_masked = *theirs;
    copied_maps_.copy_unknown({key.rel, key.blkno}, ours_masked, theirs_masked);
    const Status mask_ours = mask_page(static_cast<uint8_t>(kind), 0, key.rel, key.blkno, ours_masked);
    const Status mask_theirs = mask_page(static_cast<uint8_t>(kind), 0, key.rel, key.blkno, theirs_masked);
    if (const auto offset = compare_pages(ours_masked, theirs_masked))
      count_difference(counts, fmt::format("{}: differs at byte {}: ours {:#04x}, PostgreSQL's {:#04x}", where, *offset,
                                           static_cast<int>(ours_masked[*offset]), static_cast<int>(theirs_masked[*offset])));
    else if (!mask_ours || !mask_theirs)
      count_difference(counts, where + ": cannot be masked");
    else if (const auto unproven = vm ? std::nullopt : compare_unproven(kind, *page, *theirs))
      count_difference(counts, where + ": " + *unproven);
  }
  for (const auto& [key, page] : slru_pages_) {
    const auto theirs = final_state.read_slru_page(key.first, key.second);
    if (!theirs) continue;  // truncated away
    OracleCounts& counts = result[fmt::format("final {}", pg::slru_folder(key.first.kind))];
    ++counts.compared;
    if (const auto offset = compare_pages(page, *theirs))
      count_difference(counts, fmt::format("{} page {}: differs at byte {}: ours {:#04x}, PostgreSQL's {:#04x}",
                                           pg::to_string(key.first), key.second, *offset,
                                           static_cast<int>(page[*offset]), static_cast<int>((*theirs)[*offset])));
  }
  result["final map bits and PD_ALL_VISIBLE"] = check_map_bits();
  return result;
}

}  // namespace helium::redo
