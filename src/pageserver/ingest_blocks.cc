// Blocks that a record names, and visibility map pages that it changes without naming them.

#include "pageserver/ingest.h"
#include "redo/redo.h"
#include "redo/side_effects.h"

namespace helium::pageserver {

using layer::Key;

namespace {

// Only XLOG's own full-page images are plain values (rule 19): nothing happens to the page after restoring.
bool is_plain_image(const pg::DecodedRecord& record, const pg::BlockRef& ref) {
  return record.rmgr == static_cast<uint8_t>(pg::Rmgr::kXlog) && ref.image && ref.image->apply &&
         (record.op() == redo::kXlogFpi || record.op() == redo::kXlogFpiForHint);
}

}  // namespace

Status Ingest::put_blocks(const Context& context) {
  for (const pg::BlockRef& ref : context.record.blocks) {
    if (ref.rel.forknum == pg::Fork::kFsm) continue;  // free space maps are not kept
    if (redo::redo_has_no_effect(context.record, ref)) continue;
    HELIUM_TRY(put_block(context, ref));
  }
  return {};
}

Status Ingest::put_block(const Context& context, const pg::BlockRef& ref) {
  // A block that was not there starts from zeros, whatever lies below from an earlier life (rule 17).
  HELIUM_ASSIGN(const bool is_new, rel_sizes_.extend_to_hold(ref.rel, ref.blkno, out_));
  const Key key = Key::rel_block(ref.rel, ref.blkno);
  if (is_plain_image(context.record, ref)) {
    // One value per page: the record may hold 32 of them, and a reader wants one.
    redo::RedoContext redo_context;
    redo_context.record_end_lsn = context.view.end_lsn;
    redo_context.pg_version = pg_version_;
    redo_context.blkno = ref.blkno;
    redo_context.rel = ref.rel;
    Bytes page(pg::kBlockSize);
    if (redo::redo_block(context.record, ref, redo_context, page)) {
      HELIUM_TRY(fill_copied_revmap(ref, page));
      out_.put_image(key, std::move(page));
      return {};
    }
    // An image that cannot be restored stays a record: the reader of that page, and only that one, is told.
  }
  out_.put_record(key, is_new || redo::redo_starts_from_nothing(context.record, ref));
  return {};
}

Status Ingest::put_vm_effects(const Context& context) {
  Status status;
  redo::for_each_vm_effect(context.record, pg_version_, [&](const redo::VmPage& page) {
    if (!status) return;
    auto size = rel_sizes_.get(page.rel);
    if (!size) {
      status = fail(std::move(size).error());
      return;
    }
    // No map page, no bits to clear.
    if (*size && page.blkno < (*size)->nblocks) out_.put_record(Key::rel_block(page.rel, page.blkno), false);
  });
  return status;
}

}  // namespace helium::pageserver
