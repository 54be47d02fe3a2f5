// VersionQuery: which versions of one key a read wants. In-memory layers and layer files answer the same question.

#pragma once

#include <vector>

#include "layer/value.h"

namespace helium::layer {

enum class Until {
  kWillInit,  // down to and including the first version with will_init
  kFirst,     // the newest only
  kAll,       // everything in (after, at]
};

struct VersionQuery {
  Key key;
  Lsn at;     // inclusive
  Lsn after;  // exclusive; used with kAll
  Until until = Until::kWillInit;

  // This version is the last that is wanted.
  bool ends_at(const Version& version) const {
    return until == Until::kFirst || (until == Until::kWillInit && version.will_init);
  }
};

}  // namespace helium::layer
