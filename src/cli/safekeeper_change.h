// helium safekeeper add and replace: another safekeeper for the cluster, and one in the place of another.
//
// Each call is one run of the program. The memberships are at the safekeepers; .helium remembers addresses, and who is
// spare or retired. A replacement goes timeline by timeline; one that was interrupted is gone on from by the same command.

#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace helium::cli {

struct SafekeeperAddOptions {
  std::optional<uint16_t> pg_port, http_port;  // none: the next ones that are free
};
Status add_safekeeper(const SafekeeperAddOptions& options);

struct SafekeeperReplaceOptions {
  uint64_t old_id = 0;
  uint64_t new_id = 0;  // one that is not there is added
  bool abort = false;   // undo a replacement that is not finished
};
Status replace_safekeeper(const SafekeeperReplaceOptions& options);

}  // namespace helium::cli
