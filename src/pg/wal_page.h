// The header of a WAL page, as facts shared by the stream decoder and the builder.
//
//   offset  size  field                          long header, at a segment's start, goes on:
//        0     2  xlp_magic (per major version)      24     8  xlp_sysid
//        2     2  xlp_info, kXlp… bits               32     4  xlp_seg_size
//        4     4  xlp_tli                            36     4  xlp_xlog_blcksz
//        8     8  xlp_pageaddr
//       16     4  xlp_rem_len: bytes of the record that began on an earlier page
//       20     4  padding
//
// Specification with a worked dump: docs/formats/wal_segment.md. Source: PostgreSQL 15 xlog_internal.h. Pure.

#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "pg/constants.h"

namespace helium::pg {

inline constexpr uint16_t kXlpFirstIsContrecord = 0x0001;
inline constexpr uint16_t kXlpLongHeader = 0x0002;
inline constexpr uint16_t kXlpBkpRemovable = 0x0004;  // until 17
inline constexpr uint16_t kXlpFirstIsOverwriteContrecord = 0x0008;
inline constexpr uint16_t kXlpAllFlags = 0x000F;

// The major version whose WAL pages carry this magic; 0 if it is none of ours.
int pg_version_of_wal_magic(uint16_t magic);

}  // namespace helium::pg
