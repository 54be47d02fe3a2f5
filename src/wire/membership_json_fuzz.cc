// Any text as a message of a membership change; what decodes means the same after another round.

#include "base/check.h"
#include "wire/membership_json.h"

using namespace helium;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto membership = wire::decode_membership_json(text)) {
    CHECK(*wire::decode_membership_json(wire::encode_json(*membership)) == *membership);
  }
  (void)wire::decode_prepare_json(text);
  (void)wire::decode_accept_json(text);
  (void)wire::decode_fill_json(text);
  if (const auto reply = wire::decode_membership_reply_json(text)) {
    const std::string again = wire::encode_json(*reply);
    CHECK(wire::encode_json(*wire::decode_membership_reply_json(again)) == again);
  }
  return 0;
}
