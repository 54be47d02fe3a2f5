#include "layer/value.h"

namespace helium::layer {

const char* to_string(ValueKind kind) {
  switch (kind) {
    case ValueKind::kImage: return "image";
    case ValueKind::kRecord: return "record";
    case ValueKind::kZeroPage: return "zero_page";
    case ValueKind::kTombstone: return "tombstone";
    case ValueKind::kData: return "data";
  }
  return "unknown";
}

}  // namespace helium::layer
