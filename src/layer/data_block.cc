#include "layer/data_block.h"

#include <fmt/format.h>
#include <lz4.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/partition.h"

namespace helium::layer {
namespace {

std::unexpected<Error> corrupt(std::string_view what) {
  return fail(ErrorCode::kCorrupt, fmt::format("data block: {}", what));
}

uint32_t block_checksum(uint64_t file_offset, ByteView header, ByteView payload) {
  return Crc32c().add(&file_offset, sizeof(file_offset)).add(header.first(12)).add(payload).value();
}

bool is_value_kind(uint8_t kind) {
  return kind >= static_cast<uint8_t>(ValueKind::kImage) && kind <= static_cast<uint8_t>(ValueKind::kData);
}

}  // namespace

Bytes seal_block(ByteView raw, uint64_t file_offset) {
  CHECK(raw.size() <= kRawBlockSizeMax);
  Bytes sealed(kBlockHeaderSize + raw.size());
  BlockCodec codec = BlockCodec::kLz4;
  // Room for less than the raw size: what does not shrink is stored as it is.
  const int packed = LZ4_compress_default(reinterpret_cast<const char*>(raw.data()),
                                          reinterpret_cast<char*>(sealed.data() + kBlockHeaderSize),
                                          static_cast<int>(raw.size()), static_cast<int>(raw.size() - raw.size() / 16));
  size_t stored_size = static_cast<size_t>(packed);
  if (packed <= 0) {
    codec = BlockCodec::kNone;
    stored_size = raw.size();
    std::memcpy(sealed.data() + kBlockHeaderSize, raw.data(), raw.size());
  }
  sealed.resize(kBlockHeaderSize + stored_size);
  store(&sealed[0], static_cast<uint32_t>(stored_size));
  store(&sealed[4], static_cast<uint32_t>(raw.size()));
  store(&sealed[8], static_cast<uint32_t>(codec));
  store(&sealed[12], block_checksum(file_offset, sealed, ByteView(sealed).subspan(kBlockHeaderSize)));
  return sealed;
}

Result<Bytes> unseal_block(ByteView sealed, uint64_t file_offset) {
  if (sealed.size() < kBlockHeaderSize) return fail(ErrorCode::kTruncated, "data block: the header is cut off");
  const auto stored_size = load<uint32_t>(&sealed[0]);
  const auto raw_size = load<uint32_t>(&sealed[4]);
  const auto codec = load<uint32_t>(&sealed[8]);
  const ByteView payload = sealed.subspan(kBlockHeaderSize);
  if (payload.size() < stored_size) return fail(ErrorCode::kTruncated, "data block: the payload is cut off");
  if (payload.size() != stored_size) return corrupt("size differs from the index");
  if (load<uint32_t>(&sealed[12]) != block_checksum(file_offset, sealed, payload)) return corrupt("checksum mismatch");
  if (raw_size > kRawBlockSizeMax) return corrupt("impossible size");

  if (codec == static_cast<uint32_t>(BlockCodec::kNone)) {
    if (raw_size != stored_size) return corrupt("sizes of an uncompressed block differ");
    return Bytes(payload.begin(), payload.end());
  }
  if (codec != static_cast<uint32_t>(BlockCodec::kLz4)) return corrupt(fmt::format("unknown codec {}", codec));
  if (raw_size / 255 > stored_size) return corrupt("impossible compression ratio");  // LZ4's limit
  Bytes raw(raw_size);
  const int got = LZ4_decompress_safe(reinterpret_cast<const char*>(payload.data()), reinterpret_cast<char*>(raw.data()),
                                      static_cast<int>(stored_size), static_cast<int>(raw_size));
  if (got < 0 || static_cast<uint32_t>(got) != raw_size) return corrupt("does not decompress");
  return raw;
}

void DataBlockBuilder::header(const Position& position, ValueKind kind, uint8_t flags, uint32_t value_size) {
  offsets_.push_back(static_cast<uint32_t>(sizeof(uint32_t) + entries_.size()));
  entries_.raw(position.key.view());
  entries_.lsn(position.lsn);
  entries_.u8(static_cast<uint8_t>(kind));
  entries_.u8(flags);
  entries_.u32(value_size);
}

uint32_t DataBlockBuilder::add(const Position& position, ValueKind kind, bool will_init, ByteView value) {
  CHECK(value.size() <= kValueSizeMax);
  header(position, kind, will_init ? kEntryWillInit : 0, static_cast<uint32_t>(value.size()));
  const auto value_offset = static_cast<uint32_t>(sizeof(uint32_t) + entries_.size());
  entries_.raw(value);
  return value_offset;
}

void DataBlockBuilder::add_reference(const Position& position, ValueKind kind, bool will_init, uint32_t value_size,
                                     const ValueRef& to) {
  header(position, kind, static_cast<uint8_t>((will_init ? kEntryWillInit : 0) | kEntryReference), value_size);
  entries_.u64(to.block.offset);
  entries_.u32(to.block.size);
  entries_.u32(to.value_offset);
}

Bytes DataBlockBuilder::finish() {
  ByteWriter raw;
  raw.u32(static_cast<uint32_t>(offsets_.size()));
  raw.raw(entries_.view());
  for (const uint32_t offset : offsets_) raw.u32(offset);
  entries_ = ByteWriter();
  offsets_.clear();
  return raw.take();
}

Status DataBlock::validate(ByteView raw, uint64_t file_offset) {
  if (raw.size() < sizeof(uint32_t)) return corrupt("no entry count");
  const uint64_t count = load<uint32_t>(raw.data());
  if (count == 0) return corrupt("no entries");
  if (sizeof(uint32_t) + count * (kEntryHeaderSize + sizeof(uint32_t)) > raw.size()) return corrupt("impossible count");

  const uint64_t entries_end = raw.size() - count * sizeof(uint32_t);
  const DataBlock block(raw);
  uint64_t expected_offset = sizeof(uint32_t);
  Position previous;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t offset = block.entry_offset(i);
    if (offset != expected_offset || offset + kEntryHeaderSize > entries_end) return corrupt("entries are not contiguous");
    const std::byte* header = raw.data() + offset;
    const auto kind = static_cast<uint8_t>(header[26]);
    const auto flags = static_cast<uint8_t>(header[27]);
    const auto value_size = load<uint32_t>(header + 28);
    if (!is_value_kind(kind)) return corrupt(fmt::format("unknown value kind {}", kind));
    if ((flags & ~(kEntryWillInit | kEntryReference)) != 0) return corrupt("unknown flags");
    if (value_size > kValueSizeMax) return corrupt("impossible value size");
    if (static_cast<ValueKind>(kind) != ValueKind::kRecord && (flags & kEntryWillInit) == 0) {
      return corrupt("a value that does not stand by itself");
    }
    const Position position = block.position(i);
    if (i > 0 && !(previous < position)) return corrupt("entries are not sorted");
    previous = position;
    const bool reference = (flags & kEntryReference) != 0;
    expected_offset = offset + kEntryHeaderSize + (reference ? kReferenceSize : value_size);
    if (expected_offset > entries_end) return corrupt("a value runs past the block");
    if (reference) {
      const EntryView entry = block.entry(i);
      const bool same_block = entry.reference->block.offset == file_offset && entry.reference->block.size == 0;
      const bool earlier_block = entry.reference->block.offset < file_offset && entry.reference->block.size != 0;
      if (!same_block && !earlier_block) return corrupt("a reference that does not lead back");
    }
  }
  if (expected_offset != entries_end) return corrupt("bytes between entries and offsets");
  return {};
}

Position DataBlock::position(size_t i) const {
  const std::byte* header = raw_.data() + entry_offset(i);
  return {Key::from_bytes({header, kKeySize}), Lsn(load<uint64_t>(header + kKeySize))};
}

EntryView DataBlock::entry(size_t i) const {
  const uint32_t offset = entry_offset(i);
  const std::byte* header = raw_.data() + offset;
  EntryView entry;
  entry.position = position(i);
  entry.kind = static_cast<ValueKind>(header[26]);
  const auto flags = static_cast<uint8_t>(header[27]);
  entry.will_init = (flags & kEntryWillInit) != 0;
  entry.value_size = load<uint32_t>(header + 28);
  const std::byte* body = header + kEntryHeaderSize;
  if ((flags & kEntryReference) != 0) {
    entry.reference = ValueRef{{load<uint64_t>(body), load<uint32_t>(body + 8)}, load<uint32_t>(body + 12)};
  } else {
    entry.value = ByteView(body, entry.value_size);
    entry.value_offset = offset + kEntryHeaderSize;
  }
  return entry;
}

size_t DataBlock::upper_bound(const Position& wanted) const {
  return count_while(count_, [&](size_t i) { return position(i) <= wanted; });
}

size_t DataBlock::lower_bound(const Position& wanted) const {
  const size_t above = upper_bound(wanted);
  return above > 0 && position(above - 1) == wanted ? above - 1 : above;
}

Result<ByteView> DataBlock::value_at(uint32_t value_offset, uint32_t value_size) const {
  const auto value_begin = [this](size_t i) { return uint64_t{entry_offset(i)} + kEntryHeaderSize; };
  const size_t i = count_while(count_, [&](size_t at) { return value_begin(at) < value_offset; });
  if (i == count_ || value_begin(i) != value_offset) {
    return corrupt("a reference to no entry");
  }
  const EntryView target = entry(i);
  if (target.reference || target.value_size != value_size) return corrupt("a reference to another value");
  return target.value;
}

}  // namespace helium::layer
