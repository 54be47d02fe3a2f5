#include "safekeeper/retention.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "pg/constants.h"

namespace helium::safekeeper {
namespace {

Lsn segment_floor(Lsn lsn) { return pg::wal_segment_start(pg::wal_segment_number(lsn)); }

// Members in an order that is another one for each timeline (highest random weight): a mix of both ids.
uint64_t weight(uint64_t safekeeper_id, const TimelineId& timeline) {
  uint64_t mixed = load<uint64_t>(timeline.bytes.data()) ^ (safekeeper_id * 0x9E3779B97F4A7C15ull);
  for (int i = 0; i < 2; ++i) {
    mixed = (mixed ^ (mixed >> 31)) * 0xBF58476D1CE4E5B9ull;
    mixed ^= mixed >> 29;
  }
  return mixed;
}

}  // namespace

Lsn backup_start(Lsn start_lsn) { return segment_floor(start_lsn); }

std::optional<uint64_t> segment_to_offload(Lsn start_lsn, Lsn backup_lsn, Lsn commit_lsn) {
  const uint64_t segno = pg::wal_segment_number(std::max(backup_lsn, backup_start(start_lsn)));
  if (pg::wal_segment_start(segno + 1) > commit_lsn) return std::nullopt;
  return segno;
}

bool should_offload(uint64_t self, std::span<const UploaderCandidate> members, const TimelineId& timeline,
                    Age stuck_for) {
  Lsn newest;
  for (const UploaderCandidate& member : members) {
    if (member.silent_for <= kPeerIsGone) newest = std::max(newest, member.commit_lsn);
  }
  int before_us = 0;  // able members that come first
  bool able = false;
  for (const UploaderCandidate& member : members) {
    const bool is_able = member.safekeeper_id == self || (member.silent_for <= kPeerIsGone &&
                                                          newest - member.commit_lsn <= kUploaderMaxLag);
    if (!is_able) continue;
    if (member.safekeeper_id == self) {
      able = newest <= member.commit_lsn || newest - member.commit_lsn <= kUploaderMaxLag;
    } else if (weight(member.safekeeper_id, timeline) > weight(self, timeline)) {
      ++before_us;
    }
  }
  if (!able) ++before_us;  // somebody is further; but if nobody gets it done, we do
  return stuck_for >= before_us * kUploaderIsStuck;
}

Lsn trim_to(const LocalWal& wal) {
  // What must stay.
  const Lsn bound = segment_floor(std::min({wal.backup_lsn, wal.commit_lsn, wal.verify_lsn}));
  // What is good to have here, up to keep_bytes.
  Lsn wanted = bound;
  for (const Lsn lsn : wal.wanted_from) wanted = std::min(wanted, segment_floor(lsn));
  const Lsn furthest = wal.commit_lsn.bytes() > wal.keep_bytes ? segment_floor(Lsn(wal.commit_lsn.bytes() - wal.keep_bytes)) : Lsn();
  return std::max(wal.local_start_lsn, std::min(bound, std::max(wanted, furthest)));
}

// Rows are tried in order:
//   1 somebody writes or reads, or it was a moment ago   nothing
//   2 evicted already                                    nothing
//   3 all finished segments are in the store             evict
//   4 open                                               unload
//   5 else                                               nothing
IdleAction idle_action(const Idleness& idleness) {
  const bool in_use = idleness.has_writers || idleness.has_readers || idleness.idle_for < idleness.idle_after;
  if (in_use) return IdleAction::kNone;               // 1
  if (idleness.is_evicted) return IdleAction::kNone;  // 2
  const Lsn in_store = std::max(idleness.backup_lsn, backup_start(idleness.start_lsn));
  if (idleness.has_store && segment_floor(idleness.flush_lsn) <= in_store) return IdleAction::kEvict;  // 3
  return idleness.is_open ? IdleAction::kUnload : IdleAction::kNone;                                  // 4, 5
}

}  // namespace helium::safekeeper
