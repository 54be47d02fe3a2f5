// Goal: no bytes make the page service codec read outside, allocate without bound or disagree with itself.
// Method: decode as either side; what decodes is encoded and decoded again.

#include <cstdint>

#include "base/check.h"
#include "wire/page_service.h"

using namespace helium;
using namespace helium::wire;

namespace {
ByteView payload_of(const Bytes& frame) { return ByteView(frame).subspan(kFrameHeaderSize); }
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ByteView payload(reinterpret_cast<const std::byte*>(data + 1), size - 1);
  if (auto message = decode_client_message(data[0], payload)) {
    const Bytes again = std::visit([](const auto& m) { return encode(m); }, *message);
    CHECK(again.size() == kFrameHeaderSize + payload.size());
    CHECK(*decode_client_message(data[0], payload_of(again)) == *message);
  }
  if (auto message = decode_server_message(data[0], payload)) {
    const Bytes again = std::visit([](const auto& m) { return encode(m); }, *message);
    CHECK(decode_server_message(data[0], payload_of(again)).has_value());
  }
  return 0;
}
