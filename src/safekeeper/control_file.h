// The safekeeper's control file: all that one timeline must remember besides its WAL.
//
// `safekeeper.control` in the timeline's folder, little-endian, replaced atomically (io/durable_file.h):
//
//   offset  size  field
//        0     4  magic "HLSK"
//        4     4  format_version  2 (1 is still read)
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
inline constexpr uint32_t kControlFormatVersion = 2;
inline constexpr const char* kControlFileName = "safekeeper.control";

struct ControlFile {
  // Constant for the timeline.
  uint64_t safekeeper_id = 0;  // whose state this is; another safekeeper refuses it
  TenantTimelineId id;
  uint32_t pg_version = 0;     // major
  uint64_t system_id = 0;
  AcceptorState acceptor;

  // For recovery. The WAL was complete and synced up to flushed_lsn when this was written; a record ends at
  // verify_lsn, from where recovery reads (near the start of the last segment).
  Lsn flushed_lsn;
  Lsn verify_lsn;

  // Where the WAL is. Version 1 files get start_lsn, and nothing in the store.
  Lsn local_start_lsn;         // WAL before it is not on the local disk (any more)
  Lsn backup_lsn;              // WAL up to here is in the object store; none: invalid
  Lsn remote_consistent_lsn;   // the pageserver needs no WAL before it, as far as was heard; nothing heard: invalid
  bool evicted = false;        // no WAL is on the local disk: it is in the store, the last part in partial_object
  std::string partial_object;  // the name of the object that holds an unfinished segment; empty: none
  bool clean_close = false;    // flushed_lsn is the end of all WAL that was ever written: recovery need not read

  friend bool operator==(const ControlFile&, const ControlFile&) = default;
};

Bytes encode_control_file(const ControlFile& control);  // version 2
Result<ControlFile> decode_control_file(ByteView file);

}  // namespace helium::safekeeper
