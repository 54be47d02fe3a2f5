// Goal: no bytes make the reader of a slot's state read outside. Method: decode; the length and the checksum are also made
// right.

#include "base/crc32c.h"
#include "pg/slot_file.h"

using namespace helium;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);
  (void)pg::decode_slot_file(bytes);
  if (size < 16) return 0;
  store<uint32_t>(bytes.data(), 0x1051CA1);
  store(bytes.data() + 12, static_cast<uint32_t>(size - 16));
  store(bytes.data() + 4, crc32c(ByteView(bytes).subspan(8)));
  (void)pg::decode_slot_file(bytes);
  return 0;
}
