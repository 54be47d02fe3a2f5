// DecodedRecord: one WAL record taken apart: header, block references, images, data.
//
// All views point into the record's bytes, which the caller keeps. Decoding checks every length and never reads
// outside. Layout differences between major versions end here (bimg_info of 14 against 15 and later).
// Source: PostgreSQL 15 xlogrecord.h, xlogreader.c DecodeXLogRecord.

#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "pg/constants.h"
#include "pg/rel.h"

namespace helium::pg {

enum class ImageCompression : uint8_t { kNone, kPglz, kLz4, kZstd };

struct BlockImage {
  bool apply = false;             // BKPIMAGE_APPLY; without it the image is only for consistency checking
  ImageCompression compression = ImageCompression::kNone;
  uint16_t hole_offset = 0;
  uint16_t hole_length = 0;
  ByteView bytes;                 // as stored
};

struct BlockRef {
  uint8_t id = 0;                 // block_id, 0 to 32
  RelTag rel;
  uint32_t blkno = 0;
  uint8_t flags = 0;              // fork_flags' upper bits: BKPBLOCK_HAS_IMAGE 0x10, HAS_DATA 0x20, WILL_INIT 0x40
  bool will_init = false;
  std::optional<BlockImage> image;
  bool has_data = false;
  ByteView data;                  // block data, may be there with an image too
};

struct DecodedRecord {
  uint32_t xid = 0;               // xl_xid
  Lsn prev_lsn;                   // xl_prev
  uint8_t info = 0;               // xl_info, whole; rmgr's own bits are info & 0xF0
  uint8_t rmgr = 0;
  uint16_t origin_id = 0;         // replication origin, 0 if none
  std::optional<uint32_t> toplevel_xid;
  std::vector<BlockRef> blocks;   // by ascending id; ids may have gaps, and gaps have meaning
  ByteView main_data;

  uint8_t op() const { return info & 0xF0; }
  const BlockRef* block(uint8_t id) const {
    for (const BlockRef& ref : blocks)
      if (ref.id == id) return &ref;
    return nullptr;
  }
};

// pg_version: the major version, 14 to 18. Errors: kCorrupt.
Result<DecodedRecord> decode_record(ByteView record, int pg_version);
// The same into `out`, which keeps the memory of its blocks: for one record after the other. After an error `out` means
// nothing.
Status decode_record(ByteView record, int pg_version, DecodedRecord& out);

// The page of an image: 8192 bytes, the hole zeroed. Errors: kCorrupt: wrong length, decompression fails.
Status restore_image(const BlockImage& image, MutableByteView page);

// "HEAP/INSERT" and the like, for metrics and messages; "HEAP/0x70" for what has no name.
std::string record_type_name(uint8_t rmgr, uint8_t info, int pg_version);

}  // namespace helium::pg
