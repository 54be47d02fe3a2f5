#include "pageserver/page_check.h"

#include "pageserver/format.h"
#include "pg/page.h"

namespace helium::pageserver {
namespace {

constexpr uint64_t kProgressPages = 64;
// Two bits per heap page, all-visible the lower one, behind the page header. Source: PostgreSQL 15 visibilitymap.c.
constexpr uint32_t kHeapPagesPerMapByte = 4;
constexpr uint32_t kHeapPagesPerMapPage = (pg::kBlockSize - pg::kPageHeaderSize) * kHeapPagesPerMapByte;

}  // namespace

Status PageCheck::run(PageFindings& findings) {
  findings_ = &findings;
  HELIUM_ASSIGN(const auto forks, reader_.list_all_rels(at_));
  HELIUM_ASSIGN(const auto segments, reader_.list_slru(at_));
  for (const PageReader::RelFork& fork : forks)
    if (fork.rel.forknum != pg::Fork::kFsm) all_ += fork.size.nblocks;
  for (const PageReader::SlruFork& segment : segments) all_ += segment.npages;
  for (const PageReader::RelFork& fork : forks) HELIUM_TRY(check_fork(fork));
  for (const PageReader::SlruFork& segment : segments) HELIUM_TRY(check_segment(segment));
  return {};
}

Status PageCheck::check_fork(const PageReader::RelFork& fork) {
  if (fork.rel.forknum == pg::Fork::kFsm) return {};
  ++findings_->forks;
  for (uint32_t blkno = 0; blkno < fork.size.nblocks; ++blkno) {
    HELIUM_TRY(advance());
    const auto page = reader_.get_rel_page(fork.rel, fork.size, blkno, at_);
    const std::string wrong = page ? what_is_wrong(fork.rel, blkno, page->view()) : page.error().message;
    ++findings_->pages[static_cast<size_t>(fork.rel.forknum)];
    if (!wrong.empty()) differ(fmt::format("{} blk {}", fork.rel, blkno), wrong);
  }
  return {};
}

Status PageCheck::check_segment(const PageReader::SlruFork& segment) {
  uint64_t& pages = findings_->slru_pages[std::string(pg::slru_folder(segment.segment.kind))];
  for (uint32_t number = 0; number < segment.npages; ++number) {
    HELIUM_TRY(advance());
    ++pages;
    if (const auto page = reader_.get_slru_page(segment.segment, number, at_); !page)
      differ(fmt::format("{} page {}", segment.segment, number), page.error().message);
  }
  return {};
}

std::string PageCheck::what_is_wrong(const pg::RelTag& rel, uint32_t blkno, ByteView page) {
  const bool marked = rel.forknum == pg::Fork::kMain && is_marked_all_visible(rel, blkno);
  if (pg::page_is_new(page)) {
    if (!pg::page_all_zero(page)) return "the page header is empty, but the page is not";
    ++findings_->zero_pages;
    return marked ? "the visibility map says all-visible, the page is empty" : "";
  }
  if (!pg::page_header_valid(page)) return "the page header is impossible";
  if (pg::page_lsn(page) > at_) return fmt::format("the page's LSN {} lies ahead", pg::page_lsn(page));
  if (marked && (pg::page_flags(page) & pg::kPdAllVisible) == 0)
    return "the visibility map says all-visible, the page does not";
  return "";
}

bool PageCheck::is_marked_all_visible(const pg::RelTag& rel, uint32_t blkno) {
  const pg::RelTag map{rel.spcnode, rel.dbnode, rel.relnode, pg::Fork::kVm};
  const uint32_t map_blkno = blkno / kHeapPagesPerMapPage;
  if (!map_known_ || map_rel_ != map || map_blkno_ != map_blkno) {
    map_known_ = true;
    map_rel_ = map;
    map_blkno_ = map_blkno;
    map_page_ = {};
    // A map page that cannot be read is found when the map's turn comes.
    if (const auto size = reader_.rel_size(map, at_); size && *size && map_blkno < (*size)->nblocks)
      if (auto page = reader_.get_rel_page(map, **size, map_blkno, at_)) map_page_ = std::move(*page);
  }
  if (map_page_.empty()) return false;
  const uint32_t bit = blkno % kHeapPagesPerMapPage;
  const std::byte byte = map_page_.view()[pg::kPageHeaderSize + bit / kHeapPagesPerMapByte];
  const bool marked = ((byte >> (2 * (bit % kHeapPagesPerMapByte))) & std::byte{1}) != std::byte{0};
  if (marked) ++findings_->map_bits;
  return marked;
}

Status PageCheck::advance() {
  if (done_++ % kProgressPages == 0 && !progress_(done_, all_)) return fail(ErrorCode::kCanceled, "canceled");
  return {};
}

void PageCheck::differ(std::string what, std::string detail) {
  if (++findings_->differences <= PageFindings::kDifferencesKept)
    findings_->first_differences.push_back({std::move(what), std::move(detail)});
}

}  // namespace helium::pageserver
