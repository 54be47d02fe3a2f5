// Any bytes as a timeline index: an error, or a value that encodes to the same bytes.

#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"
#include "layer/timeline_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace helium;
  Bytes bytes(size);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, bytes.begin());
  if (size >= layer::kTimelineIndexFixedSize + 4) {  // past magic, size and checksum
    store(&bytes[0], layer::kTimelineIndexMagic);
    store(&bytes[4], layer::kTimelineIndexFormatVersion);
    store(&bytes[8], static_cast<uint64_t>(size));
    store(&bytes[size - 4], crc32c(ByteView(bytes).first(size - 4)));
  }
  const auto index = layer::decode_timeline_index(bytes);
  if (index) CHECK(std::ranges::equal(layer::encode_timeline_index(*index), bytes));
  return 0;
}
