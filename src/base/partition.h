// count_while: how many of the indices [0, count) satisfy `holds`, which is true for a first part of them and false
// for the rest (binary search; `holds` is asked about log2(count) times).

#pragma once

#include <cstddef>

namespace helium {

template <typename Predicate>
size_t count_while(size_t count, const Predicate& holds) {
  size_t low = 0;
  size_t high = count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (holds(middle)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace helium
