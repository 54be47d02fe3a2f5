#include "walclient/wal_feed.h"

#include <fmt/format.h>

#include "walclient/pg_socket.h"

namespace helium::walclient {

struct WalFeed::Impl {
  PgSocket socket;
  Lsn next;
};

WalFeed::WalFeed(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WalFeed::~WalFeed() = default;

Result<std::unique_ptr<WalFeed>> WalFeed::connect(const HostPort& safekeeper, const TenantTimelineId& timeline,
                                                  Lsn start, Timeout timeout) {
  HELIUM_ASSIGN(PgSocket socket, connect_wal_service(safekeeper, timeline, timeout, "wal_feed"));
  HELIUM_TRY(start_copy(socket, fmt::format("START_WAL_FEED {}", to_string(start)), timeout));
  return std::unique_ptr<WalFeed>(new WalFeed(std::make_unique<Impl>(std::move(socket), start)));
}

Result<WalFeed::Event> WalFeed::next(Timeout timeout) {
  HELIUM_ASSIGN(const auto message, impl_->socket.receive(timeout));
  if (!message) return fail(ErrorCode::kTimeout, "the WAL feed is silent");
  if (message->type == 'E') return fail(to_error(message->payload));
  if (message->type != 'd') return fail(ErrorCode::kClosed, "the safekeeper ended the WAL feed");
  HELIUM_ASSIGN(wire::FeedMessage parsed, wire::parse_feed_message(message->payload));
  if (auto* history = std::get_if<TermHistory>(&parsed)) return Event(History{std::move(*history)});
  if (const auto* keepalive = std::get_if<wire::Keepalive>(&parsed)) return Event(Keepalive{keepalive->wal_end});
  const auto& data = std::get<wire::WalData>(parsed);
  if (data.start != impl_->next || data.bytes.empty()) {
    return fail(ErrorCode::kCorrupt, fmt::format("the WAL feed goes on at {} instead of {}", to_string(data.start),
                                                 to_string(impl_->next)));
  }
  impl_->next = data.start + data.bytes.size();
  return Event(Wal{data.start, data.bytes, data.wal_end});
}

Status WalFeed::feedback(Lsn received, Lsn disk_consistent) {
  return impl_->socket.send_copy_data({wire::encode_standby_status(
      {.written = received, .flushed = disk_consistent, .applied = disk_consistent}, wire::pg_time_now())});
}

void WalFeed::stop() { impl_->socket.shutdown(); }

}  // namespace helium::walclient
