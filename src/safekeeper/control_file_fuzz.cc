// Any bytes as a control file; what decodes is encoded to the same bytes again, or, if it is of the first version, to
// bytes that mean the same. The checksum is put right, so that the fuzzer gets behind it.

#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"
#include "safekeeper/control_file.h"

using namespace helium;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);
  if (bytes.size() >= 16) store(bytes.data() + 12, crc32c(ByteView(bytes).subspan(16)));
  if (const auto control = safekeeper::decode_control_file(bytes)) {
    const Bytes again = safekeeper::encode_control_file(*control);
    if (load<uint32_t>(bytes.data() + 4) == safekeeper::kControlFormatVersion) CHECK(again == bytes);
    CHECK(*safekeeper::decode_control_file(again) == *control);
  }
  return 0;
}
