#include "redo/btree_posting.h"

#include <cstring>

namespace helium::redo {

Status IndexTupleBuffer::resize(uint32_t size) {
  if (size < kIndexTupleHeader || size > kIndexSizeMask) return bad("index tuple of {} bytes", size);
  std::memset(bytes_.data(), 0, size);
  size_ = size;
  return {};
}

Result<IndexTupleBuffer> IndexTupleBuffer::copy_of(ByteView tuple) {
  IndexTupleBuffer buffer;
  HELIUM_TRY(buffer.resize(static_cast<uint32_t>(tuple.size())));
  std::memcpy(buffer.data(), tuple.data(), tuple.size());
  return buffer;
}

Result<IndexTupleBuffer> form_posting(ByteView base, uint32_t key_size, ByteView tids) {
  const auto count = static_cast<uint32_t>(tids.size() / kTidSize);
  if (count == 0 || count > kBtreeOffsetMask || key_size < kIndexTupleHeader || key_size > base.size())
    return bad("posting list of {} behind {} bytes", count, key_size);
  const bool posting = count > 1;
  IndexTupleBuffer tuple;
  HELIUM_TRY(tuple.resize(posting ? pg::max_align(key_size + count * kTidSize) : key_size));
  std::memcpy(tuple.data(), base.data(), key_size);

  auto info = load<uint16_t>(tuple.data() + 6);
  info = static_cast<uint16_t>((info & ~kIndexSizeMask) | tuple.view().size());
  info = posting ? info | kIndexAltTid : info & static_cast<uint16_t>(~kIndexAltTid);
  store(tuple.data() + 6, info);
  if (posting) {
    set_tid_blkno(tuple.data(), key_size);
    store(tuple.data() + 4, static_cast<uint16_t>(count | kBtreeIsPosting));
    std::memcpy(tuple.data() + key_size, tids.data(), count * kTidSize);
  } else {
    std::memcpy(tuple.data(), tids.data(), kTidSize);
  }
  return tuple;
}

Result<IndexTupleBuffer> remove_from_posting(ByteView posting, ByteView deleted) {
  if (!is_posting(posting)) return bad("not a posting list tuple");
  HELIUM_ASSIGN(const TidList list, tid_list_of(posting));
  std::array<std::byte, pg::kBlockSize> kept;
  uint32_t nkept = 0;
  size_t next = 0;
  const size_t ndeleted = deleted.size() / 2;
  for (uint32_t i = 0; i < list.count(); ++i) {
    if (next < ndeleted && load<uint16_t>(deleted.data() + 2 * next) == i) {
      ++next;
      continue;
    }
    std::memcpy(kept.data() + nkept++ * kTidSize, list.tids.data() + i * kTidSize, kTidSize);
  }
  if (next != ndeleted || nkept == 0) return bad("{} TIDs to delete from a posting list of {}", ndeleted, list.count());
  return form_posting(posting, list.key_size, std::span(kept).first(nkept * kTidSize));
}

Result<IndexTupleBuffer> swap_posting(IndexTupleBuffer& new_item, ByteView posting, uint32_t index) {
  if (!is_posting(posting)) return bad("not a posting list tuple");
  HELIUM_ASSIGN(const TidList list, tid_list_of(posting));
  if (index == 0 || index >= list.count()) return bad("posting list of {} cannot be split at {}", list.count(), index);
  HELIUM_ASSIGN(IndexTupleBuffer result, IndexTupleBuffer::copy_of(posting));
  std::byte* tids = result.data() + list.key_size;
  std::byte last[kTidSize];
  std::memcpy(last, tids + (list.count() - 1) * kTidSize, kTidSize);
  std::memmove(tids + (index + 1) * kTidSize, tids + index * kTidSize, (list.count() - index - 1) * kTidSize);
  std::memcpy(tids + index * kTidSize, new_item.data(), kTidSize);
  std::memcpy(new_item.data(), last, kTidSize);
  return result;
}

}  // namespace helium::redo
