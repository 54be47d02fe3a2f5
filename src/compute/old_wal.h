// Old WAL: what lies before a compute's start, fetched for replication slots that still need it.
//
// A compute begins with an empty pg_wal; PostgreSQL reads WAL from a slot's restart_lsn on out of segment files. Safekeepers
// keep all WAL of a timeline (what was offloaded they fetch back), so the agent asks one of them, as a standby does
// (START_REPLICATION PHYSICAL).
// Unit: LSNs. Owns nothing. Errors: kUnavailable: none of them gave it all, with the last one's reason; kIo, kNoSpace.
// Threads: one.

#pragma once

#include <filesystem>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "walclient/wal_proposer.h"

namespace helium::compute {

// Writes the bytes of [start of the segment that holds `from`, upto) into segment files of `pg_wal`; a file that is there
// keeps its other bytes. `upto` is committed. Safekeepers are asked in their order, the next one goes on where one failed.
Status fetch_old_wal(const std::vector<walclient::Safekeeper>& safekeepers, const TenantTimelineId& timeline,
                     const std::filesystem::path& pg_wal, Lsn from, Lsn upto);

}  // namespace helium::compute
