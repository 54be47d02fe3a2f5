#include "layer/timeline_index.h"

#include <fmt/format.h>

#include "base/crc32c.h"

namespace helium::layer {
namespace {

constexpr uint16_t kHasAncestor = 1;

TimelineId get_timeline_id(ByteReader& in) { return TimelineId{in.array<16>()}; }

}  // namespace

Bytes encode_timeline_index(const TimelineIndex& index) {
  ByteWriter out;
  out.u32(kTimelineIndexMagic);
  out.u16(kTimelineIndexFormatVersion);
  out.u16(index.ancestor ? kHasAncestor : 0);
  out.u64(kTimelineIndexFixedSize + index.metadata.size() + index.layers.size() * kTimelineIndexLayerSize + 4);
  out.raw(index.timeline_id.bytes.data(), 16);
  out.lsn(index.start_lsn);
  out.lsn(index.disk_consistent_lsn);
  const TimelineIndex::Ancestor ancestor = index.ancestor.value_or(TimelineIndex::Ancestor{});
  out.raw(ancestor.id.bytes.data(), 16);
  out.lsn(ancestor.lsn);
  out.u64(index.sequence);
  out.u32(static_cast<uint32_t>(index.metadata.size()));
  out.u32(static_cast<uint32_t>(index.layers.size()));
  CHECK(out.size() == kTimelineIndexFixedSize);
  out.raw(index.metadata);
  for (const LayerDesc& layer : index.layers) {
    out.u16(static_cast<uint16_t>(layer.range.kind));
    out.u16(0);
    out.raw(layer.range.keys.start.view());
    out.raw(layer.range.keys.end.view());
    out.lsn(layer.range.lsns.start());
    out.lsn(layer.range.lsns.end());
    out.u64(layer.file_size);
  }
  out.u32(crc32c(out.view()));
  return out.take();
}

Result<TimelineIndex> decode_timeline_index(ByteView bytes) {
  const auto corrupt = [](std::string_view what) {
    return fail(ErrorCode::kCorrupt, fmt::format("timeline index: {}", what));
  };
  if (bytes.size() < kTimelineIndexFixedSize + 4) {
    return fail(ErrorCode::kTruncated, fmt::format("timeline index: {} bytes are not even a header", bytes.size()));
  }
  ByteReader in(bytes);
  if (in.u32() != kTimelineIndexMagic) return corrupt("wrong magic");
  const uint16_t format_version = in.u16();
  const uint16_t flags = in.u16();
  const uint64_t file_size = in.u64();
  if (file_size > bytes.size()) {
    return fail(ErrorCode::kTruncated, fmt::format("timeline index: {} bytes of {}", bytes.size(), file_size));
  }
  if (file_size != bytes.size()) return corrupt("bytes behind the end");
  // Magic, version, size and the checksum at the end keep their places in all versions.
  if (load<uint32_t>(&bytes[bytes.size() - 4]) != crc32c(bytes.first(bytes.size() - 4))) {
    return corrupt("checksum mismatch");
  }
  if (format_version > kTimelineIndexFormatVersion) {
    return fail(ErrorCode::kTooNew, fmt::format("timeline index: format version {}, this program knows up to {}",
                                                format_version, kTimelineIndexFormatVersion));
  }
  if (format_version == 0) return corrupt("format version 0");
  if ((flags & ~kHasAncestor) != 0) return corrupt("unknown flags");

  TimelineIndex index;
  index.timeline_id = get_timeline_id(in);
  index.start_lsn = in.lsn();
  index.disk_consistent_lsn = in.lsn();
  const TimelineIndex::Ancestor ancestor{get_timeline_id(in), in.lsn()};
  if ((flags & kHasAncestor) != 0) {
    index.ancestor = ancestor;
  } else if (ancestor != TimelineIndex::Ancestor{}) {
    return corrupt("an ancestor that the flags deny");
  }
  index.sequence = in.u64();
  const uint64_t metadata_size = in.u32();
  const uint64_t layer_count = in.u32();
  if (kTimelineIndexFixedSize + metadata_size + layer_count * kTimelineIndexLayerSize + 4 != file_size) {
    return corrupt("the parts do not add up to the file");
  }
  if (index.disk_consistent_lsn < index.start_lsn) return corrupt("disk_consistent_lsn lies before start_lsn");
  if (index.ancestor && index.ancestor->lsn != index.start_lsn) return corrupt("start_lsn is not the branch point");
  const ByteView metadata = in.raw(metadata_size);
  index.metadata.assign(metadata.begin(), metadata.end());
  index.layers.reserve(layer_count);
  for (uint64_t i = 0; i < layer_count; ++i) {
    const uint16_t kind = in.u16();
    const uint16_t zero = in.u16();
    LayerDesc layer;
    layer.range.keys.start = Key::from_bytes(in.raw(kKeySize));
    layer.range.keys.end = Key::from_bytes(in.raw(kKeySize));
    const Lsn lsn_start = in.lsn();
    const Lsn lsn_end = in.lsn();
    layer.file_size = in.u64();
    if ((kind != static_cast<uint16_t>(LayerKind::kImage) && kind != static_cast<uint16_t>(LayerKind::kDelta)) ||
        zero != 0 || !(layer.range.keys.start < layer.range.keys.end) || !(lsn_start < lsn_end)) {
      return corrupt(fmt::format("layer {} is impossible", i));
    }
    layer.range.kind = static_cast<LayerKind>(kind);
    layer.range.lsns = LsnRange(lsn_start, lsn_end);
    index.layers.push_back(layer);
  }
  return index;
}

}  // namespace helium::layer
