// Layer file header: the first 128 bytes of every image and delta layer file, written last.
// Full specification with a worked hex dump: docs/formats/layer_file.md.
//
//   offset  size  field           meaning
//        0     4  magic           kLayerMagic
//        4     2  format_version  1
//        6     2  kind            LayerKind
//        8    18  key_start       inclusive
//       26    18  key_end         exclusive
//       44     4  zero
//       48     8  lsn_start       inclusive
//       56     8  lsn_end         exclusive; for an image layer lsn_start + 1
//       64     8  file_size
//       72     8  index_offset    where data blocks end and index pages begin
//       80     4  index_pages     pages of kIndexPageSize; the root is the last
//       84     4  index_levels    1: the root is a leaf
//       88     8  filter_offset   index_offset + index_pages * kIndexPageSize
//       96     4  filter_pages    pages of kFilterPageSize, up to the end of the file
//      100     4  block_count     data blocks
//      104     8  entry_count     versions
//      112     8  key_count       different keys
//      120     4  zero
//      124     4  crc32c          over bytes [0, 124)
//
// Integers are little-endian; keys are bytes. Every function here is pure and safe from any thread.

#pragma once

#include <array>
#include <string>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "layer/key.h"

namespace helium::layer {

inline constexpr uint32_t kLayerMagic = 0x5259414C;  // "LAYR" in file order
inline constexpr uint16_t kLayerFormatVersion = 1;
inline constexpr size_t kLayerHeaderSize = 128;
inline constexpr size_t kIndexPageSize = 8192;
inline constexpr size_t kFilterPageSize = 8192;
static_assert(4 + 2 + 2 + 2 * kKeySize + 4 + 8 * 3 + 8 + 4 * 2 + 8 + 4 * 2 + 8 * 2 + 4 + 4 == kLayerHeaderSize);

// Stored in files: give new kinds new numbers.
enum class LayerKind : uint16_t {
  kImage = 1,  // the newest version of every key of its range at one LSN; a key that is missing does not exist
  kDelta = 2,  // all versions of its LSN range
};
const char* to_string(LayerKind kind);  // "image", "delta"

// What a layer covers. Names of layers, in folders, logs and (later) the object store, are made of it.
struct LayerRange {
  LayerKind kind = LayerKind::kDelta;
  KeyRange keys;
  LsnRange lsns{Lsn(0), Lsn(1)};
  friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

// "<keystart>-<keyend>__<lsnstart>-<lsnend>" for a delta, "<keystart>-<keyend>__<lsn>" for an image layer; in hex.
std::string layer_name(const LayerRange& range);

struct LayerHeader {
  LayerRange range;
  uint64_t file_size = 0;
  uint64_t index_offset = 0;
  uint32_t index_pages = 0;
  uint32_t index_levels = 0;
  uint64_t filter_offset = 0;
  uint32_t filter_pages = 0;
  uint32_t block_count = 0;
  uint64_t entry_count = 0;
  uint64_t key_count = 0;
  friend bool operator==(const LayerHeader&, const LayerHeader&) = default;
};

std::array<std::byte, kLayerHeaderSize> encode_layer_header(const LayerHeader& header);

// Reads a header back from untrusted bytes.
// Errors: kTruncated: fewer than kLayerHeaderSize bytes. kTooNew: format_version above ours.
//         kCorrupt: wrong magic or checksum, unknown kind, empty ranges, parts that do not add up to the file.
Result<LayerHeader> decode_layer_header(ByteView bytes);

}  // namespace helium::layer
