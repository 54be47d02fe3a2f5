// Goal: no bytes of a damaged layer or index make a value's decoder read outside or disagree with its encoder.
// Method: decode as each kind; what decodes is encoded and decoded again.

#include "base/check.h"
#include "pageserver/values.h"

using namespace helium;
using namespace helium::pageserver;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteView bytes(reinterpret_cast<const std::byte*>(data), size);
  if (const auto value = decode_rel_size(bytes)) CHECK(*decode_rel_size(encode(*value)) == *value);
  if (const auto value = decode_wal_position(bytes)) CHECK(*decode_wal_position(encode(*value)) == *value);
  if (const auto value = decode_repl_origin(bytes)) CHECK(*decode_repl_origin(encode(*value)) == *value);
  if (const auto value = decode_aux_file(bytes)) CHECK(*decode_aux_file(encode(*value)) == *value);
  if (const auto value = decode_timeline_metadata(bytes)) CHECK(*decode_timeline_metadata(encode(*value)) == *value);
  (void)decode_zero_range(bytes);
  (void)decode_slru_size(bytes);
  return 0;
}
