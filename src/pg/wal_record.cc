#include "pg/wal_record.h"

#include <fmt/format.h>
#include <lz4.h>
#include <zstd.h>

#include <algorithm>

#include "base/check.h"
#include "pg/pglz.h"

namespace helium::pg {
namespace {

// Block ids above the real ones name other parts of the record.
constexpr uint8_t kBlockIdMax = 32;
constexpr uint8_t kIdToplevelXid = 252;
constexpr uint8_t kIdOrigin = 253;
constexpr uint8_t kIdDataLong = 254;
constexpr uint8_t kIdDataShort = 255;

constexpr uint8_t kForkMask = 0x0F;
constexpr uint8_t kHasImage = 0x10;
constexpr uint8_t kHasData = 0x20;
constexpr uint8_t kWillInit = 0x40;
constexpr uint8_t kSameRel = 0x80;

constexpr uint8_t kImageHasHole = 0x01;

std::unexpected<Error> malformed(std::string text) { return fail(ErrorCode::kCorrupt, "WAL record: " + std::move(text)); }

// bimg_info: bits 1 and 2 changed their meaning in 15, which added lz4 and zstd.
Status decode_image_info(uint8_t info, int pg_version, BlockImage& image) {
  if (pg_version <= 14) {
    if ((info & ~0x07) != 0) return malformed(fmt::format("image flags {:#x} are unknown", info));
    image.compression = (info & 0x02) != 0 ? ImageCompression::kPglz : ImageCompression::kNone;
    image.apply = (info & 0x04) != 0;
    return {};
  }
  image.apply = (info & 0x02) != 0;
  switch (info & ~0x03) {
    case 0x00: image.compression = ImageCompression::kNone; break;
    case 0x04: image.compression = ImageCompression::kPglz; break;
    case 0x08: image.compression = ImageCompression::kLz4; break;
    case 0x10: image.compression = ImageCompression::kZstd; break;
    default: return malformed(fmt::format("image flags {:#x} are unknown", info));
  }
  return {};
}

// An image's header; its bytes come later. `length` becomes their number.
Status decode_image_header(ByteReader& reader, int pg_version, BlockImage& image, uint16_t& length) {
  length = reader.u16();
  image.hole_offset = reader.u16();
  const uint8_t info = reader.u8();
  const bool has_hole = (info & kImageHasHole) != 0;
  HELIUM_TRY(decode_image_info(info, pg_version, image));
  const bool compressed = image.compression != ImageCompression::kNone;

  if (length == 0 || length > kBlockSize || (compressed && length == kBlockSize)) {
    return malformed(fmt::format("image of {} bytes", length));
  }
  if (compressed) {
    image.hole_length = has_hole ? reader.u16() : 0;
  } else {
    image.hole_length = static_cast<uint16_t>(kBlockSize - length);
  }
  if (reader.failed()) return malformed("image header is cut off");
  const bool hole_given = image.hole_offset != 0 && image.hole_length != 0;
  const bool hole_absent = image.hole_offset == 0 && image.hole_length == 0;
  if ((has_hole ? !hole_given : !hole_absent) || image.hole_offset + image.hole_length > static_cast<int>(kBlockSize)) {
    return malformed(fmt::format("image of {} bytes with a hole of {} at {}", length, image.hole_length,
                                 image.hole_offset));
  }
  return {};
}

struct PendingBlock {
  uint16_t image_length = 0;
  uint16_t data_length = 0;
};

Status decode_block_header(ByteReader& reader, uint8_t id, int pg_version, DecodedRecord& record,
                           PendingBlock& pending) {
  BlockRef block;
  block.id = id;
  if (!record.blocks.empty() && record.blocks.back().id >= id) {
    return malformed(fmt::format("block reference {} is out of order", id));
  }
  const uint8_t fork_flags = reader.u8();
  pending.data_length = reader.u16();
  block.flags = fork_flags & ~kForkMask;
  block.will_init = (fork_flags & kWillInit) != 0;
  block.has_data = (fork_flags & kHasData) != 0;
  if (block.has_data != (pending.data_length > 0)) {
    return malformed(fmt::format("block reference {}: data flag and length {} disagree", id, pending.data_length));
  }
  if ((fork_flags & kHasImage) != 0) {
    HELIUM_TRY(decode_image_header(reader, pg_version, block.image.emplace(), pending.image_length));
  }
  if ((fork_flags & kSameRel) == 0) {
    block.rel.spcnode = reader.u32();
    block.rel.dbnode = reader.u32();
    block.rel.relnode = reader.u32();
  } else if (record.blocks.empty()) {
    return malformed(fmt::format("block reference {}: same relation as none", id));
  } else {
    block.rel = record.blocks.back().rel;
  }
  if ((fork_flags & kForkMask) >= kForkCount) {
    return malformed(fmt::format("block reference {}: fork {} does not exist", id, fork_flags & kForkMask));
  }
  block.rel.forknum = static_cast<Fork>(fork_flags & kForkMask);
  block.blkno = reader.u32();
  if (block.blkno == UINT32_MAX) return malformed(fmt::format("block reference {}: invalid block number", id));
  record.blocks.push_back(block);
  return {};
}

}  // namespace

Result<DecodedRecord> decode_record(ByteView bytes, int pg_version) {
  DecodedRecord record;
  HELIUM_TRY(decode_record(bytes, pg_version, record));
  return record;
}

Status decode_record(ByteView bytes, int pg_version, DecodedRecord& record) {
  if (pg_version < 14 || pg_version > 18) {
    return fail(ErrorCode::kInvalid, fmt::format("decode WAL record: PostgreSQL {} is not supported", pg_version));
  }
  ByteReader reader(bytes);
  record.origin_id = 0;
  record.toplevel_xid.reset();
  record.blocks.clear();
  const uint32_t total_len = reader.u32();
  record.xid = reader.u32();
  record.prev_lsn = reader.lsn();
  record.info = reader.u8();
  record.rmgr = reader.u8();
  reader.raw(2 + sizeof(uint32_t));  // padding; the CRC is the stream decoder's business
  if (reader.failed() || total_len != bytes.size()) {
    return malformed(fmt::format("length {} in {} bytes", total_len, bytes.size()));
  }

  std::array<PendingBlock, kBlockIdMax + 1> pending{};  // by position in record.blocks
  uint32_t main_length = 0;
  uint64_t promised = 0;  // bytes that the headers so far say will follow all headers
  while (reader.remaining() > promised) {
    const uint8_t id = reader.u8();
    if (id == kIdDataShort || id == kIdDataLong) {
      main_length = id == kIdDataShort ? reader.u8() : reader.u32();
      promised += main_length;
      break;  // by convention the last header
    }
    if (id == kIdOrigin) {
      record.origin_id = reader.u16();
    } else if (id == kIdToplevelXid) {
      record.toplevel_xid = reader.u32();
    } else if (id <= kBlockIdMax) {
      PendingBlock& block = pending[record.blocks.size()];
      HELIUM_TRY(decode_block_header(reader, id, pg_version, record, block));
      promised += block.image_length + block.data_length;
    } else {
      return malformed(fmt::format("block reference {} is impossible", id));
    }
    if (reader.failed()) return malformed("headers are cut off");
  }
  if (reader.failed() || reader.remaining() != promised) {
    return malformed(fmt::format("headers promise {} bytes, {} follow", promised, reader.remaining()));
  }

  for (size_t i = 0; i < record.blocks.size(); ++i) {
    BlockRef& block = record.blocks[i];
    if (block.image) block.image->bytes = reader.raw(pending[i].image_length);
    block.data = reader.raw(pending[i].data_length);
  }
  record.main_data = reader.raw(main_length);
  CHECK(reader.done());
  return {};
}

Status restore_image(const BlockImage& image, MutableByteView page) {
  CHECK(page.size() == kBlockSize);
  if (image.hole_offset + image.hole_length > static_cast<int>(kBlockSize)) return malformed("image's hole is too long");
  const size_t content_length = kBlockSize - image.hole_length;
  std::array<std::byte, kBlockSize> buffer;
  const MutableByteView target = MutableByteView(buffer).first(content_length);
  ByteView content = image.bytes;
  bool good = true;
  switch (image.compression) {
    case ImageCompression::kNone: break;
    case ImageCompression::kPglz: good = pglz_decompress(image.bytes, target); break;
    case ImageCompression::kLz4:
      good = LZ4_decompress_safe(reinterpret_cast<const char*>(image.bytes.data()),
                                 reinterpret_cast<char*>(target.data()), static_cast<int>(image.bytes.size()),
                                 static_cast<int>(target.size())) == static_cast<int>(target.size());
      break;
    case ImageCompression::kZstd:
      good = ZSTD_decompress(target.data(), target.size(), image.bytes.data(), image.bytes.size()) == target.size();
      break;
  }
  if (!good) return malformed("image does not decompress");
  if (image.compression != ImageCompression::kNone) content = target;
  if (content.size() != content_length) {
    return malformed(fmt::format("image has {} bytes in place of {}", content.size(), content_length));
  }
  const auto rest = std::ranges::copy(content.first(std::min<size_t>(image.hole_offset, content_length)), page.begin());
  const auto after_hole = std::fill_n(rest.out, image.hole_length, std::byte{0});
  std::ranges::copy(content.subspan(std::min<size_t>(image.hole_offset, content_length)), after_hole);
  return {};
}

}  // namespace helium::pg
