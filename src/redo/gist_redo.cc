// Redo of RM_GIST_ID. A page that was split says *follow right* until its siblings have downlinks, and its NSN tells
// scans of a split since they read the parent: both change on the left child when the downlinks come, behind its image.
// Source: PostgreSQL 15 gistxlog.c, gistxlog.h, gist.h, gistutil.c; 14 to 18 write the same layouts but for DELETE (16).

#include "redo/index_tuple.h"
#include "redo/rmgr_redo.h"

namespace helium::redo {

namespace {

constexpr uint8_t kPageUpdate = 0x00;
constexpr uint8_t kDelete = 0x10;
constexpr uint8_t kPageSplit = 0x30;
constexpr uint8_t kPageDelete = 0x60;

// Special area, 16 bytes: NSN (high u32, low u32), right link u32, flags u16, page id u16.
constexpr uint32_t kOpaqueSize = 16;
constexpr uint16_t kPageId = 0xFF81;
constexpr uint16_t kLeaf = 0x0001;
constexpr uint16_t kDeleted = 0x0002;
constexpr uint16_t kFollowRight = 0x0008;
constexpr uint16_t kHasGarbage = 0x0010;
constexpr uint32_t kRootBlkno = 0;

class Opaque {
 public:
  explicit Opaque(std::byte* at) : at_(at) {}
  uint16_t flags() const { return load<uint16_t>(at_ + 12); }
  void set_nsn(uint64_t v) {
    store(at_, static_cast<uint32_t>(v >> 32));
    store(at_ + 4, static_cast<uint32_t>(v));
  }
  void set_right_link(uint32_t v) { store(at_ + 8, v); }
  void set_flags(uint16_t bits) { store(at_ + 12, static_cast<uint16_t>(flags() | bits)); }
  void clear_flags(uint16_t bits) { store(at_ + 12, static_cast<uint16_t>(flags() & ~bits)); }

 private:
  std::byte* at_;
};

Result<Opaque> opaque_of(const BlockRedo& redo) {
  HELIUM_ASSIGN(std::byte* const at, special_area(redo.page, kOpaqueSize));
  return Opaque(at);
}

Opaque init_gist_page(MutableByteView page, uint16_t flags) {
  pg::page_init(page, kOpaqueSize);
  std::byte* at = page.data() + pg::kBlockSize - kOpaqueSize;
  store(at + 14, kPageId);
  Opaque opaque(at);
  opaque.set_flags(flags);
  return opaque;
}

// Index tuples until the end of `data`, behind the page's items; their number.
Result<uint32_t> append_tuples(MutableByteView page, ByteView data) {
  uint32_t count = 0;
  for (; !data.empty(); ++count) {
    HELIUM_ASSIGN(const ByteView tuple, take_index_tuple(data));
    HELIUM_TRY(add_item(page, tuple, static_cast<uint16_t>(pg::page_item_count(page) + 1), AddMode::kIndex));
  }
  return count;
}

// The left child whose split is complete now. Also behind its image: it was taken before.
Status finish_split(const BlockRedo& redo) {
  HELIUM_ASSIGN(Opaque opaque, opaque_of(redo));
  opaque.set_nsn(redo.context.record_end_lsn.bytes());
  opaque.clear_flags(kFollowRight);
  redo.stamp();
  return {};
}

// gistxlogPageUpdate: deleted u16, inserted u16. Blocks 0: the page (data: offset numbers u16, then tuples), 1: the left
// child of a split that is complete with this.
Status redo_page_update(const BlockRedo& redo) {
  if (redo.ref.id == 1) return finish_split(redo);
  HELIUM_TRY(redo.need_main(4));
  const uint32_t deleted = redo.main<uint16_t>(0);
  const uint32_t inserted = redo.main<uint16_t>(2);
  HELIUM_TRY(opaque_of(redo));
  if (redo.ref.data.size() < 2 * deleted) return bad("{} offsets in {} bytes", deleted, redo.ref.data.size());
  ByteView tuples = redo.ref.data.subspan(2 * deleted);
  if (deleted == 1 && inserted == 1) {
    HELIUM_ASSIGN(const ByteView tuple, take_index_tuple(tuples));
    if (!tuples.empty()) return bad("{} bytes behind the tuple", tuples.size());
    HELIUM_TRY(overwrite_index_item(redo.page, load<uint16_t>(redo.ref.data.data()), tuple));
  } else {
    HELIUM_TRY(delete_index_items(redo.page, redo.ref.data.first(2 * deleted)));
    HELIUM_ASSIGN(const uint32_t count, append_tuples(redo.page, tuples));
    if (count != inserted) return bad("{} tuples, {} expected", count, inserted);
  }
  redo.stamp();
  return {};
}

// gistxlogDelete: xid u32, deleted u16 (from 16 on a flag follows), then offset numbers u16.
Status redo_delete(const BlockRedo& redo) {
  const size_t offsets_at = redo.context.pg_version >= 16 ? 8 : 6;
  HELIUM_TRY(redo.need_main(offsets_at));
  const uint32_t deleted = redo.main<uint16_t>(4);
  const ByteView offsets = redo.record.main_data.subspan(offsets_at);
  HELIUM_ASSIGN(Opaque opaque, opaque_of(redo));
  if (!offsets.empty()) {
    if (offsets.size() < 2 * deleted) return bad("{} offsets in {} bytes", deleted, offsets.size());
    HELIUM_TRY(delete_index_items(redo.page, offsets.first(2 * deleted)));
  }
  opaque.clear_flags(kHasGarbage);
  redo.stamp();
  return {};
}

// gistxlogPageSplit: right link u32, padding, NSN u64, leaf u8, padding, pages u16, follow right u8. Blocks 0: as block 1
// of an update; 1 and on: the pages, all anew (data: tuples u32, then these).
Status redo_page_split(const BlockRedo& redo) {
  if (redo.ref.id == 0) return finish_split(redo);
  HELIUM_TRY(redo.need_main(24));
  HELIUM_TRY(redo.need_will_init(true));
  const auto pages = redo.main<uint16_t>(18);
  const uint32_t number = redo.ref.id;
  if (number > pages) return bad("page {} of {}", number, pages);
  if (redo.ref.data.size() < 4) return bad("block data of {} bytes", redo.ref.data.size());
  const pg::BlockRef* first = redo.record.block(1);
  const pg::BlockRef* next = number < pages ? redo.record.block(static_cast<uint8_t>(number + 1)) : nullptr;
  if (first == nullptr || (number < pages && next == nullptr)) return bad("the pages of the split are not all named");
  const bool root = redo.ref.blkno == kRootBlkno;
  const bool root_split = first->blkno == kRootBlkno;

  Opaque opaque = init_gist_page(redo.page, redo.main<uint8_t>(16) != 0 && !root ? kLeaf : 0);
  HELIUM_ASSIGN(const uint32_t count, append_tuples(redo.page, redo.ref.data.subspan(4)));
  if (count != load<uint32_t>(redo.ref.data.data())) return bad("{} tuples, another number expected", count);
  opaque.set_nsn(redo.main<uint64_t>(8));
  opaque.set_right_link(root ? kNoBlock : next != nullptr ? next->blkno : redo.main<uint32_t>(0));
  if (next != nullptr && !root_split && redo.main<uint8_t>(20) != 0) opaque.set_flags(kFollowRight);
  redo.stamp();
  return {};
}

// gistxlogPageDelete: xid u64, offset number of the downlink u16. Blocks 0: the page, 1: its parent.
Status redo_page_delete(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(10));
  HELIUM_ASSIGN(Opaque opaque, opaque_of(redo));
  if (redo.ref.id == 1) {
    HELIUM_TRY(delete_index_item(redo.page, redo.main<uint16_t>(8)));
  } else {
    // An empty page; in place of items it holds the xid from which on nobody comes here.
    constexpr uint16_t kContentsEnd = pg::kPageHeaderSize + 8;
    if (pg::page_upper(redo.page) < kContentsEnd) return bad("page pointers upper {}", pg::page_upper(redo.page));
    opaque.set_flags(kDeleted);
    pg::set_page_lower(redo.page, kContentsEnd);
    store(redo.page.data() + pg::kPageHeaderSize, redo.main<uint64_t>(0));
  }
  redo.stamp();
  return {};
}

}  // namespace

Status redo_gist(const BlockRedo& redo) {
  const uint8_t op = redo.record.op();
  const bool two_blocks = op == kPageUpdate || op == kPageDelete;
  if (op != kPageSplit && redo.ref.id >= (two_blocks ? 2 : 1)) return bad("block {} has no meaning", redo.ref.id);
  switch (op) {
    case kPageUpdate: return redo_page_update(redo);
    case kDelete: return redo_delete(redo);
    case kPageSplit: return redo_page_split(redo);
    case kPageDelete: return redo_page_delete(redo);
    default: return bad("a block in a record that has none");
  }
}

Status finish_gist_image(const BlockRedo& redo) {
  const uint8_t op = redo.record.op();
  const bool is_child = (op == kPageUpdate && redo.ref.id == 1) || (op == kPageSplit && redo.ref.id == 0);
  return is_child ? finish_split(redo) : Status{};
}

}  // namespace helium::redo
