// Goal: no bytes make the reader of replication origins read outside, or disagree with the writer.
// Method: decode; what decodes is encoded and decoded again. The checksum is also made right.

#include "base/check.h"
#include "base/crc32c.h"
#include "pg/origin_file.h"

using namespace helium;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);
  (void)pg::decode_origin_file(bytes);
  if (size < 4) return 0;
  store(bytes.data() + size - 4, crc32c(ByteView(bytes).first(size - 4)));
  if (const auto origins = pg::decode_origin_file(bytes)) CHECK(*pg::decode_origin_file(pg::encode_origin_file(*origins)) == *origins);
  return 0;
}
