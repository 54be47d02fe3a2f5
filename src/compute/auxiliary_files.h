// Auxiliary files at the compute's ends: what the start makes of those that storage has, and what a clean stop still has
// to tell (pg/auxiliary_file.h; decision 0006).
//
// Ownership: functions on values and paths. Errors: kInvalid: storage names a file that is not on the short list, or is too
// large; kCorrupt: the state of a slot, the control file. Threads: one.

#pragma once

#include <filesystem>
#include <optional>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pg/auxiliary_file.h"
#include "pg/control_file.h"
#include "wire/page_service.h"

namespace helium::compute {

pg::AuxiliaryKey auxiliary_key(const pg::ControlFile& control, const TimelineId& timeline);

// What the slots of the answer ask of the compute.
struct SlotNeeds {
  int32_t slots = 0;
  bool logical = false;
  std::optional<Lsn> wal_from;  // the oldest WAL that one of them needs
};
// Also takes slots that ended with their session out of the answer.
Result<SlotNeeds> take_slots(wire::BootstrapReply& bootstrap);

// Refuses paths below pg_replslot, pg_logical and pg_stat that no compute of ours has put into WAL.
Status check_auxiliary_path(const std::string& path, size_t size);

// After PostgreSQL has exited: a record for each auxiliary file that is not in WAL yet, as WAL that follows the shutdown
// checkpoint. No WAL if nothing is to be told, or if the exit was not a clean one.
struct LastWal {
  Bytes wal;
  Lsn end;
  int files = 0;
};
Result<LastWal> build_last_wal(const std::filesystem::path& pgdata, Lsn end_of_wal, int pg_version,
                               const TimelineId& timeline);

}  // namespace helium::compute
