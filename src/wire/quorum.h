// Majorities. Pure.

#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

#include "base/lsn.h"

namespace helium {

// The smallest number of `members` of which any two sets meet.
constexpr size_t majority(size_t members) { return members / 2 + 1; }

// The highest LSN that at least `quorum` of `reached` are at or behind; invalid if there are fewer.
inline Lsn quorum_lsn(std::vector<Lsn> reached, size_t quorum) {
  if (quorum == 0 || reached.size() < quorum) return Lsn();
  std::sort(reached.begin(), reached.end(), std::greater<>());
  return reached[quorum - 1];
}

}  // namespace helium
