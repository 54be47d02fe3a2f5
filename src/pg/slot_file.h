// pg_replslot/NAME/state: what a replication slot remembers. Only what Helium needs to know is read.
//
//   offset  size  field
//        0     4  magic 0x1051CA1
//        4     4  CRC-32C of all that follows
//        8     4  version: 2 in 14 and 15, 3 in 16, 5 in 17 and 18
//       12     4  length behind this field
//       16    64  name, zero-terminated
//       80     4  database, 0: a physical slot
//       84     4  persistency: 0 persistent, 1 ephemeral, 2 temporary
//       88     8  xmin, catalog_xmin
//       96     8  restart_lsn: WAL from here on is needed; 0: none yet, or not any more
//
// Integers are little-endian. Pure. Errors: kCorrupt: not such a file; kTooNew: of a version that is not known.
// Source: PostgreSQL 14 to 18 slot.c (ReplicationSlotOnDisk), slot.h (ReplicationSlotPersistentData).

#pragma once

#include <string>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"

namespace helium::pg {

struct SlotFile {
  std::string name;
  uint32_t dbnode = 0;
  bool persistent = false;  // others end with their session
  Lsn restart_lsn;

  bool logical() const { return dbnode != 0; }
};
Result<SlotFile> decode_slot_file(ByteView bytes);

}  // namespace helium::pg
