#include "redo/gin_posting.h"

#include <algorithm>
#include <iterator>

#include "redo/index_tuple.h"

namespace helium::redo {

namespace {

constexpr uint32_t kOffsetBits = 11;
constexpr uint32_t kTidBits = 32 + kOffsetBits;
constexpr size_t kLengthAt = 6;
constexpr size_t kListHeader = 8;

Result<uint64_t> tid_number(const std::byte* tid) {
  const auto offset = load<uint16_t>(tid + 4);
  if (offset == 0 || offset >= 1u << kOffsetBits) return bad("a posting list holds the offset {}", offset);
  return uint64_t{tid_blkno(tid)} << kOffsetBits | offset;
}

// The difference that begins `bytes`, which move on.
Result<uint64_t> take_difference(ByteView& bytes) {
  uint64_t value = 0;
  for (uint32_t shift = 0; shift < kTidBits && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes.front());
    bytes = bytes.subspan(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return bad("a posting list ends inside of a difference");
}

}  // namespace

Result<ByteView> gin_list_at(ByteView bytes) {
  if (bytes.size() < kListHeader) return bad("a posting list of {} bytes", bytes.size());
  const uint32_t length = load<uint16_t>(bytes.data() + kLengthAt);
  const size_t size = kListHeader + length + length % 2;
  if (size > bytes.size()) return bad("a posting list of {} bytes with {} at hand", size, bytes.size());
  return bytes.first(size);
}

Result<TidNumbers> decode_gin_list(ByteView list) {
  TidNumbers tids;
  HELIUM_ASSIGN(uint64_t tid, tid_number(list.data()));
  tids.push_back(tid);
  ByteView differences = list.subspan(kListHeader, load<uint16_t>(list.data() + kLengthAt));
  while (!differences.empty()) {
    HELIUM_ASSIGN(const uint64_t difference, take_difference(differences));
    tid += difference;
    if (difference == 0 || tid >> kTidBits != 0) return bad("a posting list does not ascend");
    tids.push_back(tid);
  }
  return tids;
}

Result<TidNumbers> decode_gin_tids(ByteView bytes) {
  TidNumbers tids;
  for (size_t at = 0; at + kTidSize <= bytes.size(); at += kTidSize) {
    HELIUM_ASSIGN(const uint64_t tid, tid_number(bytes.data() + at));
    if (!tids.empty() && tid <= tids.back()) return bad("heap TIDs do not ascend");
    tids.push_back(tid);
  }
  return tids;
}

TidNumbers merge_gin_tids(const TidNumbers& a, const TidNumbers& b) {
  TidNumbers merged;
  merged.reserve(a.size() + b.size());
  std::ranges::set_union(a, b, std::back_inserter(merged));
  return merged;
}

Result<Bytes> encode_gin_list(const TidNumbers& tids) {
  if (tids.empty()) return bad("a posting list without TIDs");
  Bytes list(kListHeader);
  set_tid(list.data(), static_cast<uint32_t>(tids.front() >> kOffsetBits),
          static_cast<uint16_t>(tids.front() & ((1u << kOffsetBits) - 1)));
  for (size_t i = 1; i < tids.size(); ++i) {
    uint64_t difference = tids[i] - tids[i - 1];
    for (; difference > 0x7F; difference >>= 7) list.push_back(static_cast<std::byte>(0x80 | (difference & 0x7F)));
    list.push_back(static_cast<std::byte>(difference));
    if (list.size() > pg::kBlockSize) return bad("a posting list of {} TIDs is longer than a page", tids.size());
  }
  store(list.data() + kLengthAt, static_cast<uint16_t>(list.size() - kListHeader));
  if (list.size() % 2 != 0) list.push_back(std::byte{0});
  return list;
}

}  // namespace helium::redo
