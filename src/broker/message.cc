#include "broker/message.h"

#include <fmt/format.h>
#include <grpc/support/log.h>

#include <algorithm>

#include "base/log.h"

namespace helium::broker {
namespace {

constexpr size_t kAddressMax = 255;

template <typename IdType>
Result<IdType> id_from(std::string_view what, const std::string& bytes) {
  IdType id;
  if (bytes.size() != id.bytes.size()) {
    return fail(ErrorCode::kInvalid, fmt::format("{} of {} bytes", what, bytes.size()));
  }
  std::ranges::copy(bytes, id.bytes.begin());
  if (!id.is_valid()) return fail(ErrorCode::kInvalid, fmt::format("{} of zeros", what));
  return id;
}

template <typename IdType>
std::string id_bytes(const IdType& id) {
  return {id.bytes.begin(), id.bytes.end()};
}

Result<TenantTimelineId> ids_from(const std::string& tenant, const std::string& timeline) {
  TenantTimelineId id;
  HELIUM_ASSIGN(id.tenant, id_from<TenantId>("tenant id", tenant));
  HELIUM_ASSIGN(id.timeline, id_from<TimelineId>("timeline id", timeline));
  return id;
}

void log_line(gpr_log_func_args* args) { log::debug("grpc", {{"text", args->message}}); }

}  // namespace

v1::TimelineProgress to_message(const TimelineProgress& progress) {
  v1::TimelineProgress message;
  message.set_tenant_id(id_bytes(progress.id.tenant));
  message.set_timeline_id(id_bytes(progress.id.timeline));
  message.set_safekeeper_id(progress.safekeeper_id);
  message.set_wal_address(progress.wal_address);
  message.set_http_address(progress.http_address);
  message.set_generation(progress.generation);
  message.set_term(progress.term);
  message.set_log_term(progress.log_term);
  message.set_flush_lsn(progress.flush_lsn.bytes());
  message.set_commit_lsn(progress.commit_lsn.bytes());
  message.set_timeline_start_lsn(progress.timeline_start_lsn.bytes());
  message.set_backup_lsn(progress.backup_lsn.bytes());
  message.set_remote_consistent_lsn(progress.remote_consistent_lsn.bytes());
  message.set_filling(progress.filling);
  return message;
}

Result<TimelineProgress> from_message(const v1::TimelineProgress& message) {
  TimelineProgress progress;
  HELIUM_ASSIGN(progress.id, ids_from(message.tenant_id(), message.timeline_id()));
  if (message.wal_address().size() > kAddressMax || message.http_address().size() > kAddressMax) {
    return fail(ErrorCode::kInvalid, fmt::format("address of more than {} bytes", kAddressMax));
  }
  progress.safekeeper_id = message.safekeeper_id();
  progress.wal_address = message.wal_address();
  progress.http_address = message.http_address();
  progress.generation = message.generation();
  progress.term = message.term();
  progress.log_term = message.log_term();
  progress.flush_lsn = Lsn(message.flush_lsn());
  progress.commit_lsn = Lsn(message.commit_lsn());
  progress.timeline_start_lsn = Lsn(message.timeline_start_lsn());
  progress.backup_lsn = Lsn(message.backup_lsn());
  progress.remote_consistent_lsn = Lsn(message.remote_consistent_lsn());
  progress.filling = message.filling();
  return progress;
}

Result<std::optional<TenantTimelineId>> filter_from(const v1::SubscribeRequest& request) {
  if (request.tenant_id().empty() && request.timeline_id().empty()) return std::nullopt;
  HELIUM_ASSIGN(const TenantTimelineId id, ids_from(request.tenant_id(), request.timeline_id()));
  return id;
}

v1::SubscribeRequest to_request(const std::optional<TenantTimelineId>& filter) {
  v1::SubscribeRequest request;
  if (filter) {
    request.set_tenant_id(id_bytes(filter->tenant));
    request.set_timeline_id(id_bytes(filter->timeline));
  }
  return request;
}

void route_grpc_log() { gpr_set_log_function(log_line); }

}  // namespace helium::broker
