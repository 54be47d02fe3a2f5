// Goal: no payload of a logical message makes its decoder read outside, and a good one says what its encoder was told.
// Method: decode; the code is also made right, and what is good then is encoded again to the same bytes.

#include <algorithm>

#include "base/check.h"
#include "pg/auxiliary_file.h"

using namespace helium;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const pg::AuxiliaryKey key{std::byte{7}};
  Bytes bytes(reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);
  (void)pg::auxiliary_kind(as_text(bytes));
  pg::AuxiliaryMessage message;
  (void)pg::decode_auxiliary_message(bytes, key, message);
  const auto code = pg::auxiliary_code(key, bytes, {});
  bytes.insert(bytes.end(), code.begin(), code.end());
  if (pg::decode_auxiliary_message(bytes, key, message) != pg::AuxiliaryVerdict::kGood) return 0;
  const Bytes again = pg::encode_auxiliary_message(message, key);
  const ByteView payload = ByteView(again).subspan(pg::kLogicalMessageHead + pg::kAuxiliaryPrefix.size() + 1);
  CHECK(std::ranges::equal(payload, bytes));
  return 0;
}
