#include "pg/constants.h"

#include <fmt/format.h>

namespace helium::pg {

const char* rmgr_name(uint8_t rmgr) {
  static constexpr const char* kNames[] = {
      "xlog",  "transaction", "storage", "clog", "database", "tablespace", "multixact", "relmap",
      "standby", "heap2",     "heap",    "btree", "hash",    "gin",        "gist",      "sequence",
      "spgist", "brin",       "committs", "replicationorigin", "generic",  "logicalmessage"};
  static_assert(std::size(kNames) == kLastBuiltinRmgr + 1);
  if (rmgr <= kLastBuiltinRmgr) return kNames[rmgr];
  return rmgr >= kFirstCustomRmgr ? "custom" : "unknown";
}

std::string wal_segment_name(uint32_t pg_timeline, uint64_t segno) {
  constexpr uint64_t kSegmentsPerId = 0x100000000 / kWalSegmentSize;
  return fmt::format("{:08X}{:08X}{:08X}", pg_timeline, segno / kSegmentsPerId, segno % kSegmentsPerId);
}

}  // namespace helium::pg
