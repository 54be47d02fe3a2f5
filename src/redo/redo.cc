#include "redo/redo.h"

#include <array>
#include <cstring>

#include "redo/rmgr_redo.h"
#include "redo/side_effects.h"

namespace helium::redo {

using pg::Rmgr;

namespace {

// Resource managers whose pages came from check images before they had redo of their own.
bool was_not_native(uint8_t rmgr) {
  switch (static_cast<Rmgr>(rmgr)) {
    case Rmgr::kGin:
    case Rmgr::kGist:
    case Rmgr::kSpgist:
    case Rmgr::kHash:
    case Rmgr::kBrin:
    case Rmgr::kGeneric: return true;
    default: return false;
  }
}

bool has_applied_image(const pg::BlockRef& ref) { return ref.image && ref.image->apply; }

Status restore(const pg::BlockImage& image, MutableByteView page) {
  if (Status restored = pg::restore_image(image, page); !restored)
    return bad("restore image: {}", restored.error().message);
  return {};
}

// An image that counts as the page: the LSN is ours, but an all-zero (new) page has none.
Status redo_image(const BlockRedo& redo) {
  HELIUM_TRY(restore(*redo.ref.image, redo.page));
  if (pg::page_is_new(redo.page)) return {};
  redo.stamp();
  switch (static_cast<Rmgr>(redo.record.rmgr)) {
    case Rmgr::kHash: return finish_hash_image(redo);
    case Rmgr::kGist: return finish_gist_image(redo);
    default: return {};
  }
}

Status redo_native(const BlockRedo& redo) {
  const auto rmgr = static_cast<Rmgr>(redo.record.rmgr);
  if ((rmgr == Rmgr::kHeap || rmgr == Rmgr::kHeap2) && redo.ref.rel.forknum == pg::Fork::kVm) return redo_vm_block(redo);
  switch (rmgr) {
    case Rmgr::kHeap: return redo_heap(redo);
    case Rmgr::kHeap2: return redo_heap2(redo);
    case Rmgr::kBtree: return redo_btree(redo);
    case Rmgr::kSeq: return redo_seq(redo);
    case Rmgr::kGeneric: return redo_generic(redo);
    case Rmgr::kBrin: return redo_brin(redo);
    case Rmgr::kHash: return redo_hash(redo);
    case Rmgr::kGin: return redo_gin(redo);
    case Rmgr::kGist: return redo_gist(redo);
    case Rmgr::kSpgist: return redo_spgist(redo);
    default: return bad("a block in a record that has none");
  }
}

Status redo_page(const BlockRedo& redo) {
  if (has_applied_image(redo.ref)) return redo_image(redo);
  if (redo.record.rmgr == static_cast<uint8_t>(Rmgr::kXlog)) {
    if (redo_has_no_effect(redo.record, redo.ref)) return {};
    return bad("no image");
  }
  if (redo_takes_check_image(redo.record, redo.ref, redo.page)) return redo_image(redo);
  if (!redo_is_native(redo.record.rmgr))
    return bad("no check image: this resource manager is not replayed natively, so the endpoint must log images of its "
               "pages with wal_consistency_checking");
  if (redo.ref.will_init) {
    std::memset(redo.page.data(), 0, redo.page.size());
  } else if (redo.context.record_end_lsn <= pg::page_lsn(redo.page)) {
    return {};
  }
  return redo_native(redo);
}

}  // namespace

bool redo_is_native(uint8_t rmgr) { return rmgr <= pg::kLastBuiltinRmgr; }

bool redo_takes_check_image(const pg::DecodedRecord& record, const pg::BlockRef& ref, ByteView page) {
  if (!ref.image || ref.image->apply) return false;
  if (!redo_is_native(record.rmgr)) return true;
  return was_not_native(record.rmgr) && !ref.will_init && pg::page_is_new(page);
}

Base redo_base(const pg::DecodedRecord& record, const pg::BlockRef& ref) {
  const bool image_is_page = ref.image && (ref.image->apply || !redo_is_native(record.rmgr));
  return ref.will_init || image_is_page ? Base::kFromZero : Base::kNeedsOldPage;
}

bool redo_starts_from_nothing(const pg::DecodedRecord& record, const pg::BlockRef& ref) {
  return redo_base(record, ref) == Base::kFromZero;
}

bool redo_has_no_effect(const pg::DecodedRecord& record, const pg::BlockRef& ref) {
  return record.rmgr == static_cast<uint8_t>(Rmgr::kXlog) && record.op() == kXlogFpiForHint && !has_applied_image(ref);
}

Error with_redo_context(Error error, const pg::DecodedRecord& record, const RedoContext& context) {
  return std::move(error).context(
      fmt::format("redo: {} at {} blk {}, LSN {}", pg::record_type_name(record.rmgr, record.info, context.pg_version),
                  pg::to_string(context.rel), context.blkno, to_string(context.record_end_lsn)));
}

Status redo_block_in_place(const pg::DecodedRecord& record, const pg::BlockRef& ref, const RedoContext& context,
                           MutableByteView page) {
  if (page.size() != pg::kBlockSize) return bad("redo: a page of {} bytes", page.size());
  Status status = redo_page(BlockRedo{record, ref, context, page});
  if (!status) return fail(with_redo_context(std::move(status).error(), record, context));
  return {};
}

Status redo_block(const pg::DecodedRecord& record, const pg::BlockRef& ref, const RedoContext& context,
                  MutableByteView page) {
  if (page.size() != pg::kBlockSize) return bad("redo: a page of {} bytes", page.size());
  std::array<std::byte, pg::kBlockSize> copy;
  std::memcpy(copy.data(), page.data(), pg::kBlockSize);
  HELIUM_TRY(redo_block_in_place(record, ref, context, copy));
  std::memcpy(page.data(), copy.data(), pg::kBlockSize);
  return {};
}

}  // namespace helium::redo
