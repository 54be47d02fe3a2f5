// TimelineIndex: the content of <timeline>/index, the one mutable pointer of a timeline on disk.
// It names exactly the layer files that count, and the LSN up to which they are complete. It is replaced as a whole
// (Disk::replace_file). Full specification with a worked hex dump: docs/formats/timeline_index.md.
//
//   offset  size  field
//        0     4  magic                kTimelineIndexMagic
//        4     2  format_version       1
//        6     2  flags                1: has an ancestor
//        8     8  file_size
//       16    16  timeline_id
//       32     8  start_lsn
//       40     8  disk_consistent_lsn
//       48    16  ancestor_id          zeros without one
//       64     8  ancestor_lsn         0 without one
//       72     8  sequence             1 at creation, one more at each replacement
//       80     4  metadata_size
//       84     4  layer_count
//       88     …  metadata, the owner's bytes
//        …     …  layers, 64 bytes each, in the order in which they were added:
//                 kind u16, zero u16, key_start 18, key_end 18, lsn_start u64, lsn_end u64, file_size u64
//        …     4  crc32c over everything before it
//
// Integers are little-endian. Pure functions; safe from any thread.

#pragma once

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "layer/layer_file.h"

namespace helium::layer {

inline constexpr uint32_t kTimelineIndexMagic = 0x58494C54;  // "TLIX" in file order
inline constexpr uint16_t kTimelineIndexFormatVersion = 1;
inline constexpr size_t kTimelineIndexFixedSize = 88;
inline constexpr size_t kTimelineIndexLayerSize = 2 + 2 + 2 * kKeySize + 3 * 8;
static_assert(kTimelineIndexLayerSize == 64, "on disk since format version 1");

struct TimelineIndex {
  struct Ancestor {
    TimelineId id;
    Lsn lsn;
    friend bool operator==(const Ancestor&, const Ancestor&) = default;
  };
  TimelineId timeline_id;
  Lsn start_lsn;
  Lsn disk_consistent_lsn;
  std::optional<Ancestor> ancestor;
  uint64_t sequence = 1;
  Bytes metadata;
  std::vector<LayerDesc> layers;
  friend bool operator==(const TimelineIndex&, const TimelineIndex&) = default;
};

Bytes encode_timeline_index(const TimelineIndex& index);

// From untrusted bytes. Errors: kTruncated: fewer bytes than promised; kTooNew; kCorrupt: anything else.
Result<TimelineIndex> decode_timeline_index(ByteView bytes);

}  // namespace helium::layer
