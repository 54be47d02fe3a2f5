// pg_logical/replorigin_checkpoint: how far each replication origin has been applied. PostgreSQL reads it at start only.
//
//   offset  size  field
//        0     4  magic 0x1257DADE
//        4  16 n  entries: u16 origin id, 6 bytes zero, u64 remote LSN
//           4  CRC-32C of all that is before it
//
// Integers are little-endian. Pure. Errors: kCorrupt: not such a file.
// Source: PostgreSQL 14 to 18 origin.c (CheckPointReplicationOrigin, ReplicationStateOnDisk).

#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"

namespace helium::pg {

inline constexpr const char* kOriginFile = "pg_logical/replorigin_checkpoint";

struct OriginProgress {
  uint16_t origin_id = 0;
  Lsn remote_lsn;
  friend bool operator==(const OriginProgress&, const OriginProgress&) = default;
};
Bytes encode_origin_file(const std::vector<OriginProgress>& origins);
Result<std::vector<OriginProgress>> decode_origin_file(ByteView bytes);

}  // namespace helium::pg
