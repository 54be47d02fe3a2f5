// Any bytes as a message; what decodes is encoded to the same bytes again.

#include <algorithm>

#include "base/check.h"
#include "wire/wal_commit.h"

using namespace helium;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteView bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto same = [&](const Bytes& encoded) { return std::ranges::equal(encoded, bytes); };
  if (const auto message = wire::decode_proposer_message(bytes)) CHECK(same(wire::encode(*message)));
  if (const auto message = wire::decode_acceptor_message(bytes)) CHECK(same(wire::encode(*message)));
  return 0;
}
