#include "layer/layer_header.h"

#include <fmt/format.h>

#include "base/crc32c.h"
#include "base/ids.h"

namespace helium::layer {

const char* to_string(LayerKind kind) { return kind == LayerKind::kImage ? "image" : "delta"; }

std::string layer_name(const LayerRange& range) {
  const auto hex_key = [](const Key& key) {
    return hex(std::span(reinterpret_cast<const uint8_t*>(key.view().data()), kKeySize));
  };
  std::string name = fmt::format("{}-{}__{:016x}", hex_key(range.keys.start), hex_key(range.keys.end),
                                 range.lsns.start().bytes());
  if (range.kind == LayerKind::kDelta) name += fmt::format("-{:016x}", range.lsns.end().bytes());
  return name;
}

std::array<std::byte, kLayerHeaderSize> encode_layer_header(const LayerHeader& header) {
  ByteWriter out;
  out.u32(kLayerMagic);
  out.u16(kLayerFormatVersion);
  out.u16(static_cast<uint16_t>(header.range.kind));
  out.raw(header.range.keys.start.view());
  out.raw(header.range.keys.end.view());
  out.u32(0);
  out.lsn(header.range.lsns.start());
  out.lsn(header.range.lsns.end());
  out.u64(header.file_size);
  out.u64(header.index_offset);
  out.u32(header.index_pages);
  out.u32(header.index_levels);
  out.u64(header.filter_offset);
  out.u32(header.filter_pages);
  out.u32(header.block_count);
  out.u64(header.entry_count);
  out.u64(header.key_count);
  out.u32(0);
  out.u32(crc32c(out.view()));
  CHECK(out.size() == kLayerHeaderSize);
  std::array<std::byte, kLayerHeaderSize> bytes;
  std::memcpy(bytes.data(), out.view().data(), bytes.size());
  return bytes;
}

Result<LayerHeader> decode_layer_header(ByteView bytes) {
  if (bytes.size() < kLayerHeaderSize) {
    return fail(ErrorCode::kTruncated, fmt::format("layer header: {} bytes of {}", bytes.size(), kLayerHeaderSize));
  }
  bytes = bytes.first(kLayerHeaderSize);
  const auto corrupt = [](std::string_view what) {
    return fail(ErrorCode::kCorrupt, fmt::format("layer header: {}", what));
  };
  ByteReader in(bytes);
  if (in.u32() != kLayerMagic) return corrupt("wrong magic");
  const uint16_t format_version = in.u16();
  // The header keeps its size and the place of its checksum in all versions.
  if (load<uint32_t>(&bytes[kLayerHeaderSize - 4]) != crc32c(bytes.first(kLayerHeaderSize - 4))) {
    return corrupt("checksum mismatch");
  }
  if (format_version > kLayerFormatVersion) {
    return fail(ErrorCode::kTooNew, fmt::format("layer header: format version {}, this program knows up to {}",
                                                format_version, kLayerFormatVersion));
  }
  if (format_version == 0) return corrupt("format version 0");

  LayerHeader header;
  const uint16_t kind = in.u16();
  header.range.keys.start = Key::from_bytes(in.raw(kKeySize));
  header.range.keys.end = Key::from_bytes(in.raw(kKeySize));
  const uint32_t zero_first = in.u32();
  const Lsn lsn_start = in.lsn();
  const Lsn lsn_end = in.lsn();
  header.file_size = in.u64();
  header.index_offset = in.u64();
  header.index_pages = in.u32();
  header.index_levels = in.u32();
  header.filter_offset = in.u64();
  header.filter_pages = in.u32();
  header.block_count = in.u32();
  header.entry_count = in.u64();
  header.key_count = in.u64();
  const uint32_t zero_last = in.u32();

  if (kind != static_cast<uint16_t>(LayerKind::kImage) && kind != static_cast<uint16_t>(LayerKind::kDelta)) {
    return corrupt(fmt::format("unknown kind {}", kind));
  }
  header.range.kind = static_cast<LayerKind>(kind);
  if (zero_first != 0 || zero_last != 0) return corrupt("reserved bytes are not zero");
  if (!(header.range.keys.start < header.range.keys.end)) return corrupt("empty key range");
  if (!(lsn_start < lsn_end)) return corrupt("empty LSN range");
  header.range.lsns = LsnRange(lsn_start, lsn_end);
  if (header.range.kind == LayerKind::kImage && lsn_end != lsn_start + 1) return corrupt("image over an LSN range");

  constexpr uint64_t kFileSizeMax = uint64_t{1} << 48;  // keeps the sums below from wrapping
  if (header.file_size > kFileSizeMax || header.index_offset > kFileSizeMax || header.filter_offset > kFileSizeMax ||
      header.index_offset < kLayerHeaderSize ||
      header.filter_offset != header.index_offset + uint64_t{header.index_pages} * kIndexPageSize ||
      header.file_size != header.filter_offset + uint64_t{header.filter_pages} * kFilterPageSize) {
    return corrupt("the parts do not add up to the file");
  }
  if (header.index_pages == 0 || header.index_levels == 0 || header.index_levels > header.index_pages ||
      header.index_levels > 8 || header.filter_pages == 0 || header.block_count == 0 || header.key_count == 0 ||
      header.entry_count < header.key_count) {
    return corrupt("impossible counts");
  }
  return header;
}

}  // namespace helium::layer
