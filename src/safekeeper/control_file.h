// The safekeeper's control file: all that one timeline must remember besides its WAL.
//
// `safekeeper.control` in the timeline's folder, little-endian, replaced atomically (io/durable_file.h):
//
//   offset  size  field
//        0     4  magic "HLSK"
//        4     4  format_version  1
//        8     4  payload_size
//       12     4  crc32c over the payload
//       16     …  payload, in the order of the struct below; lists are u32 count, then elements; texts u32 size, bytes
//
// Full specification with a worked hex dump: docs/formats/safekeeper_control_file.md. Pure.
// Errors of decode: kTruncated, kCorrupt, kTooNew.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "safekeeper/acceptor.h"

namespace helium::safekeeper {

inline constexpr uint32_t kControlMagic = 0x4B534C48;  // "HLSK" in file order
inline constexpr uint32_t kControlFormatVersion = 1;
inline constexpr const char* kControlFileName = "safekeeper.control";

struct Member {
  uint64_t id = 0;
  std::string host;
  uint16_t pg_port = 0;
  uint16_t http_port = 0;
  friend bool operator==(const Member&, const Member&) = default;
};

struct ControlFile {
  // Constant for the timeline.
  uint64_t safekeeper_id = 0;  // whose state this is; another safekeeper refuses it
  TenantTimelineId id;
  uint32_t pg_version = 0;     // major
  uint64_t system_id = 0;
  // The membership, of generation acceptor.generation.
  std::vector<Member> members;

  AcceptorState acceptor;

  // For recovery. The WAL was complete and synced up to flushed_lsn when this was written; a record ends at
  // verify_lsn, from where recovery reads (near the start of the last segment).
  Lsn flushed_lsn;
  Lsn verify_lsn;

  friend bool operator==(const ControlFile&, const ControlFile&) = default;
};

Bytes encode_control_file(const ControlFile& control);
Result<ControlFile> decode_control_file(ByteView file);

}  // namespace helium::safekeeper
