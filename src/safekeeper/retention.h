// Retention: which WAL goes to the object store, by whom, and which leaves the local disk. Pure decisions.
//
// The three rules that nothing is lost by:
//   1. Only finished segments that are committed to their ends are offloaded: no term will ever rewrite them.
//   2. Only WAL that is in the store leaves a disk, and never what this member needs to start again by itself: the
//      segment in which recovery begins, and everything behind commit_lsn.
//   3. Without a store nothing leaves.
// Everything else here is about speed: WAL that somebody is about to read stays for a while, up to a bound.
// Positions are LSNs of one timeline at one member; `now`-like values are ages, so there is no clock here.
// Why it is safe, in words: docs/offload.md.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"

namespace helium::safekeeper {

using Age = std::chrono::milliseconds;

// -- offload ----------------------------------------------------------------------------------------------------------

// The next segment to put into the store: the first one behind backup_lsn, if all of it is committed. backup_lsn is a
// segment's start, or zero: nothing is there yet. start_lsn: the timeline's.
std::optional<uint64_t> segment_to_offload(Lsn start_lsn, Lsn backup_lsn, Lsn commit_lsn);

// The first position that is not in the store when nothing is: the start of the segment that holds start_lsn.
Lsn backup_start(Lsn start_lsn);

// What this member knows of one member, itself included.
struct UploaderCandidate {
  uint64_t safekeeper_id = 0;
  Lsn commit_lsn;
  Age silent_for{0};  // since it was last heard of
};

inline constexpr Age kPeerIsGone{10'000};        // members that are silent for longer do not offload
inline constexpr Age kUploaderIsStuck{20'000};   // nothing was offloaded for so long: the next one helps
inline constexpr uint64_t kUploaderMaxLag = 64ull * 1024 * 1024;  // members that are further behind do not offload

// True if `self` should offload now. All members that know the same agree on one of them, another one for another
// timeline. When that one is silent, lags behind the others, or gets nothing done (stuck_for: since backup_lsn rose
// or there was nothing to do), the next one in the same order joins in; uploading twice is harmless.
bool should_offload(uint64_t self, std::span<const UploaderCandidate> members, const TimelineId& timeline, Age stuck_for);

// -- local disk -------------------------------------------------------------------------------------------------------

struct LocalWal {
  Lsn local_start_lsn;  // the first segment on disk begins here
  Lsn backup_lsn;
  Lsn commit_lsn;
  Lsn verify_lsn;       // as the control file on disk says: recovery begins here
  // Who may read soon: feeds and replicas that are connected, members that lag, the pageserver's disk.
  std::vector<Lsn> wanted_from;
  uint64_t keep_bytes = 0;  // at most so much is kept for them
};

// Where the local WAL may begin: a segment's start, at least local_start_lsn.
Lsn trim_to(const LocalWal& wal);

// -- idle timelines ---------------------------------------------------------------------------------------------------

enum class IdleAction {
  kNone,
  kUnload,  // leave memory; WAL stays on the disk
  kEvict,   // leave memory and disk
};

struct Idleness {
  bool has_store = false;
  bool is_open = false;      // WAL files are open for writing
  bool is_evicted = false;
  bool has_writers = false;  // a proposer is connected, or a catch-up runs
  bool has_readers = false;  // feeds that have something to send
  Age idle_for{0};           // since the last write, vote or read of WAL
  Age idle_after{0};
  Lsn start_lsn;             // the timeline's
  Lsn backup_lsn;
  Lsn flush_lsn;
};
IdleAction idle_action(const Idleness& idleness);

}  // namespace helium::safekeeper
