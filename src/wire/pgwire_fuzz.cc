// Any bytes as startup packet, message header, command, feed and standby message: an answer or an error, never more.

#include "wire/pgwire.h"

using namespace helium;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteView bytes(reinterpret_cast<const std::byte*>(data), size);
  if (const auto packet = wire::parse_startup_packet(bytes)) {
    for (const auto& [name, value] : packet->parameters) wire::parse_options(value);
  }
  (void)wire::parse_message_header(bytes, 1 << 20);
  (void)wire::parse_error_response(bytes);
  (void)wire::parse_wal_command(as_text(bytes));
  (void)wire::parse_options(as_text(bytes));
  (void)wire::parse_feed_message(bytes);
  (void)wire::parse_standby_message(bytes);
  return 0;
}
