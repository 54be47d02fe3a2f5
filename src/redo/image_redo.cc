// Pages that come as images: what a record still changes after its image is restored (rule 19).
// Source: PostgreSQL 15 gistxlog.c gistRedoClearFollowRight, hash_xlog.c split_allocate_page, split_complete.

#include "redo/rmgr_redo.h"

namespace helium::redo {

namespace {

// Special areas, 16 bytes each.
constexpr uint32_t kOpaqueSize = 16;
constexpr size_t kGistNsnAt = 0;     // high half, low half
constexpr size_t kGistFlagsAt = 12;
constexpr uint16_t kGistFollowRight = 0x0008;
constexpr size_t kHashPrevBlknoAt = 0;
constexpr size_t kHashFlagAt = 12;

constexpr uint8_t kGistPageUpdate = 0x00;
constexpr uint8_t kGistPageSplit = 0x30;
constexpr uint8_t kHashSplitAllocatePage = 0x40;
constexpr uint8_t kHashSplitComplete = 0x60;

Result<std::byte*> opaque_of(MutableByteView page) {
  HELIUM_TRY(check_page_pointers(page));
  if (pg::kBlockSize - pg::page_special(page) != kOpaqueSize)
    return bad("special area at {}", pg::page_special(page));
  return page.data() + pg::page_special(page);
}

// The child whose split this record completes: block 1 of an update, block 0 of a split (new pages are 1, 2, …).
Status finish_gist(const BlockRedo& redo) {
  const uint8_t op = redo.record.op();
  const bool is_child = (op == kGistPageUpdate && redo.ref.id == 1) || (op == kGistPageSplit && redo.ref.id == 0);
  if (!is_child) return {};
  HELIUM_ASSIGN(std::byte* const opaque, opaque_of(redo.page));
  const uint64_t lsn = redo.context.record_end_lsn.bytes();
  store(opaque + kGistNsnAt, static_cast<uint32_t>(lsn >> 32));
  store(opaque + kGistNsnAt + 4, static_cast<uint32_t>(lsn));
  store(opaque + kGistFlagsAt, static_cast<uint16_t>(load<uint16_t>(opaque + kGistFlagsAt) & ~kGistFollowRight));
  redo.stamp();
  return {};
}

// xl_hash_split_allocate_page: new_bucket u32, old_bucket_flag u16, new_bucket_flag u16, flags u8.
// xl_hash_split_complete: old_bucket_flag u16, new_bucket_flag u16.
Status finish_hash(const BlockRedo& redo) {
  const uint8_t op = redo.record.op();
  const bool allocate = op == kHashSplitAllocatePage && redo.ref.id == 0;
  const bool complete = op == kHashSplitComplete && redo.ref.id <= 1;
  if (!allocate && !complete) return {};
  HELIUM_TRY(redo.need_main(allocate ? 9 : 4));
  HELIUM_ASSIGN(std::byte* const opaque, opaque_of(redo.page));
  if (allocate) {
    store(opaque + kHashFlagAt, redo.main<uint16_t>(4));
    store(opaque + kHashPrevBlknoAt, redo.main<uint32_t>(0));
  } else {
    store(opaque + kHashFlagAt, redo.main<uint16_t>(redo.ref.id == 0 ? 0 : 2));
  }
  redo.stamp();
  return {};
}

}  // namespace

Status finish_restored_image(const BlockRedo& redo) {
  switch (static_cast<pg::Rmgr>(redo.record.rmgr)) {
    case pg::Rmgr::kGist: return finish_gist(redo);
    case pg::Rmgr::kHash: return finish_hash(redo);
    default: return {};
  }
}

}  // namespace helium::redo
