// BRIN revmaps of a database made by CREATE DATABASE … STRATEGY wal_log.
//
// Such a copy logs each page as a standard page, and all that a revmap page has lies where a standard page has its hole.
// With an empty revmap over summaries that are still there, PostgreSQL goes wrong later: when the revmap grows over a page of
// summaries, it moves them and makes each the valid one again, stale as it may be, and rows are not found any more. (So do
// a stock standby, and a stock server after a crash.)
//
// WAL does not say which database was copied. But the image still has the LSN of the source's page, which every change of a
// revmap page raises: a page of the same number, of a relation of the same number, with the same LSN, is its source or a copy
// of it that nobody has changed. Its content is what the new page has. Where there is none, the page stays empty.
// Source: PostgreSQL 15 bufmgr.c RelationCopyStorageUsingBuffer, brin_revmap.c, brin_pageops.c brin_evacuate_page.

#include <algorithm>

#include "pageserver/ingest.h"
#include "redo/brin_page.h"

namespace helium::pageserver {

using layer::Key;
using layer::KeyRange;
using layer::Version;

namespace {

constexpr size_t kContentEnd = pg::kBlockSize - redo::kBrinSpecialSize;

bool has_entries(ByteView page) {
  const ByteView content = page.first(kContentEnd).subspan(pg::kPageHeaderSize);
  return std::ranges::any_of(content, [](std::byte byte) { return byte != std::byte{0}; });
}

}  // namespace

Status Ingest::fill_copied_revmap(const pg::BlockRef& ref, MutableByteView page) {
  if (ref.rel.forknum != pg::Fork::kMain || !redo::is_brin_revmap_page(page) || has_entries(page)) return {};
  Bytes logged(pg::kBlockSize);
  HELIUM_TRY(pg::restore_image(*ref.image, logged));
  const Lsn source_lsn = pg::page_lsn(logged);
  if (source_lsn == Lsn()) return {};

  std::vector<pg::RelTag> candidates;
  const KeyRange folders{Key::db_dir(0, 0), Key::db_dir(UINT32_MAX, UINT32_MAX)};
  HELIUM_TRY(store_->scan_latest(folders, state_.last_record_lsn, [&](const Key& folder, const Version&) {
    if (folder.dbnode() != 0 && folder.dbnode() != ref.rel.dbnode)
      candidates.push_back({folder.spcnode(), folder.dbnode(), ref.rel.relnode, pg::Fork::kMain});
    return true;
  }));
  for (const pg::RelTag& candidate : candidates) {
    HELIUM_ASSIGN(const auto size, reader_.rel_size(candidate, state_.last_record_lsn));
    if (!size || ref.blkno >= size->nblocks) continue;
    const auto source = reader_.get_rel_page(candidate, *size, ref.blkno, state_.last_record_lsn);
    // A page that cannot be read is told to whoever reads it.
    if (!source || !redo::is_brin_revmap_page(source->view()) || pg::page_lsn(source->view()) != source_lsn) continue;
    std::ranges::copy(source->view().first(kContentEnd).subspan(pg::kPageHeaderSize), page.begin() + pg::kPageHeaderSize);
    return {};
  }
  return {};
}

}  // namespace helium::pageserver
