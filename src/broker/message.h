// TimelineProgress to and from its protobuf message. Only .cc files include this: it brings protobuf with it.

#pragma once

#include "base/result.h"
#include "broker/broker.pb.h"
#include "broker/client.h"

namespace helium::broker {

v1::TimelineProgress to_message(const TimelineProgress& progress);
// Errors: kInvalid: an id that is not 16 bytes or all zero, an address of more than 255 bytes.
Result<TimelineProgress> from_message(const v1::TimelineProgress& message);

// The filter of a subscription. Errors: kInvalid.
Result<std::optional<TenantTimelineId>> filter_from(const v1::SubscribeRequest& request);
v1::SubscribeRequest to_request(const std::optional<TenantTimelineId>& filter);

// Sends gRPC's own log, which would go to stderr in a format of its own, to ours at level debug. Idempotent.
void route_grpc_log();

}  // namespace helium::broker
