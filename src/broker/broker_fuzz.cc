// Any bytes as a message from a peer: parsed by protobuf, checked by from_message, and what passes survives a round trip.

#include "base/check.h"
#include "broker/message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace helium::broker;
  v1::TimelineProgress message;
  if (message.ParseFromArray(data, static_cast<int>(size))) {
    if (const auto progress = from_message(message)) CHECK(*from_message(to_message(*progress)) == *progress);
  }
  v1::SubscribeRequest request;
  if (request.ParseFromArray(data, static_cast<int>(size))) static_cast<void>(filter_from(request));
  return 0;
}
