#include "walclient/pg_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>

namespace helium::walclient {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRoomMin = 16 * 1024;  // what one receive may bring

Timeout remaining(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<Timeout>(deadline - Clock::now());
  return std::max(left, Timeout(0));
}

}  // namespace

PgSocket::PgSocket(Fd socket, uint32_t payload_max) : socket_(std::move(socket)), payload_max_(payload_max) {}

Result<bool> PgSocket::fill(size_t need, std::optional<Timeout> timeout) {
  if (begin_ == end_) begin_ = end_ = 0;
  if (buffer_.size() - begin_ < need || buffer_.size() - end_ < kRoomMin) {
    std::copy(buffer_.begin() + begin_, buffer_.begin() + end_, buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
    // With a long message comes room for the beginning of the next.
    if (buffer_.size() < need + kRoomMin) buffer_.resize(std::max<size_t>(2 * need, 4 * kRoomMin));
  }
  const MutableByteView room(buffer_.data() + end_, buffer_.size() - end_);
  if (timeout && timeout->count() == 0) {
    const ssize_t n = recv(socket_.get(), room.data(), room.size(), MSG_DONTWAIT);
    if (n > 0) {
      end_ += static_cast<size_t>(n);
      return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  }
  Result<size_t> n = recv_some(socket_, room, timeout);
  if (!n) {
    if (n.error().code == ErrorCode::kTimeout) return false;
    return fail(std::move(n).error());
  }
  end_ += *n;
  return true;
}

Result<std::optional<PgSocket::Message>> PgSocket::receive(std::optional<Timeout> timeout) {
  const auto deadline = Clock::now() + timeout.value_or(Timeout(0));
  while (true) {
    size_t need = wire::kMessageHeaderSize;
    if (end_ - begin_ >= wire::kMessageHeaderSize) {
      const ByteView here(buffer_.data() + begin_, end_ - begin_);
      HELIUM_ASSIGN(const wire::MessageHeader header, wire::parse_message_header(here, payload_max_));
      need += header.payload_size;
      if (here.size() >= need) {
        begin_ += need;
        return Message{header.type, here.subspan(wire::kMessageHeaderSize, header.payload_size)};
      }
    }
    HELIUM_ASSIGN(const bool more, fill(need, timeout ? std::optional(remaining(deadline)) : std::nullopt));
    if (!more) return std::optional<Message>();
  }
}

Result<ByteView> PgSocket::receive_startup(Timeout timeout) {
  const auto deadline = Clock::now() + timeout;
  while (true) {
    size_t need = 4;
    if (end_ - begin_ >= 4) {
      const auto* p = reinterpret_cast<const uint8_t*>(buffer_.data() + begin_);
      const uint32_t length = uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
      if (length < 8 || length > wire::kMaxStartupPacket) {
        return fail(ErrorCode::kCorrupt, fmt::format("startup packet of {} bytes", length));
      }
      if (end_ - begin_ >= length) {
        const ByteView body(buffer_.data() + begin_ + 4, length - 4);
        begin_ += length;
        return body;
      }
      need = length;
    }
    HELIUM_ASSIGN(const bool more, fill(need, remaining(deadline)));
    if (!more) return fail(ErrorCode::kTimeout, "no startup packet in time");
  }
}

Status PgSocket::send(ByteView whole_messages) { return send_all(socket_, whole_messages); }

Status PgSocket::send_message(char type, std::initializer_list<ByteView> payload) {
  size_t size = 0;
  for (const ByteView part : payload) size += part.size();
  const auto header = wire::encode_message_header(type, size);
  CHECK(payload.size() <= 2);
  const ByteView* parts = payload.begin();
  return send_all(socket_, {header, payload.size() > 0 ? parts[0] : ByteView(),
                            payload.size() > 1 ? parts[1] : ByteView()});
}

Result<Bytes> PgSocket::send_copy_data_now(ByteView head, ByteView tail) {
  const auto header = wire::encode_message_header('d', head.size() + tail.size());
  HELIUM_ASSIGN(size_t sent, send_now(socket_, {header, head, tail}));
  Bytes left;
  for (const ByteView part : {ByteView(header), head, tail}) {
    const size_t done = std::min(sent, part.size());
    left.insert(left.end(), part.begin() + static_cast<ptrdiff_t>(done), part.end());
    sent -= done;
  }
  return left;
}

void PgSocket::shutdown_receive() { ::shutdown(socket_.get(), SHUT_RD); }

void PgSocket::close_gently() {
  ::shutdown(socket_.get(), SHUT_WR);
  const auto deadline = Clock::now() + std::chrono::seconds(1);
  std::byte scrap[4096];
  while (Clock::now() < deadline && recv_some(socket_, scrap, remaining(deadline))) {
  }
}

Error to_error(ByteView payload) {
  const Result<wire::ErrorFields> fields = wire::parse_error_response(payload);
  if (!fields) return fields.error();
  ErrorCode code = ErrorCode::kInvalid;
  if (fields->sqlstate == "42704") code = ErrorCode::kNotFound;
  if (fields->sqlstate == "58P01") code = ErrorCode::kLsnTooOld;
  if (fields->sqlstate == "57P01") code = ErrorCode::kClosed;
  if (fields->sqlstate == "XX001") code = ErrorCode::kCorrupt;
  return Error{code, fields->message};
}

Result<PgSocket> connect_wal_service(const HostPort& address, const TenantTimelineId& timeline, Timeout timeout,
                                     std::string_view application_name) {
  const auto deadline = Clock::now() + timeout;
  HELIUM_ASSIGN(Fd fd, tcp_connect(address, timeout));
  PgSocket socket(std::move(fd));
  HELIUM_TRY(socket.send(wire::encode_startup_packet(
      {{"user", "cloud_admin"},
       {"replication", "true"},
       {"application_name", std::string(application_name)},
       {"options", fmt::format("-c tenant_id={} -c timeline_id={}", to_string(timeline.tenant),
                               to_string(timeline.timeline))}})));
  while (true) {
    HELIUM_ASSIGN(const std::optional<PgSocket::Message> message, socket.receive(remaining(deadline)));
    if (!message) return fail(ErrorCode::kTimeout, fmt::format("connect to {}: no answer in time", to_string(address)));
    if (message->type == 'E') return fail(to_error(message->payload));
    if (message->type == 'Z') return socket;
  }
}

Status start_copy(PgSocket& socket, const std::string& command, Timeout timeout) {
  const auto deadline = Clock::now() + timeout;
  wire::MessageWriter query;
  query.begin('Q').text(command).end();
  HELIUM_TRY(socket.send(query.view()));
  while (true) {
    HELIUM_ASSIGN(const std::optional<PgSocket::Message> message, socket.receive(remaining(deadline)));
    if (!message) return fail(ErrorCode::kTimeout, fmt::format("{}: no answer in time", command));
    if (message->type == 'E') return fail(to_error(message->payload));
    if (message->type == 'W' || message->type == 'H') return {};
  }
}

Status read_wal(const HostPort& address, const TenantTimelineId& timeline, uint64_t term, Lsn start, Lsn end,
                Timeout timeout, const std::function<Status(Lsn start, ByteView bytes)>& consume) {
  HELIUM_ASSIGN(PgSocket socket, connect_wal_service(address, timeline, timeout, "catch_up"));
  HELIUM_TRY(start_copy(socket, fmt::format("READ_WAL {} {} {}", term, to_string(start), to_string(end)), timeout));
  Lsn next = start;
  while (next < end) {
    HELIUM_ASSIGN(const std::optional<PgSocket::Message> message, socket.receive(timeout));
    if (!message) return fail(ErrorCode::kTimeout, fmt::format("read WAL from {}: stalled", to_string(address)));
    if (message->type == 'E') return fail(to_error(message->payload));
    if (message->type != 'd') return fail(ErrorCode::kClosed, "WAL ended early");
    HELIUM_ASSIGN(const wire::FeedMessage parsed, wire::parse_feed_message(message->payload));
    const auto* data = std::get_if<wire::WalData>(&parsed);
    if (data == nullptr || data->start != next || data->bytes.size() > end - next) {
      return fail(ErrorCode::kCorrupt, fmt::format("read WAL from {}: not what was asked for", to_string(address)));
    }
    HELIUM_TRY(consume(next, data->bytes));
    next = next + data->bytes.size();
  }
  return {};
}

}  // namespace helium::walclient
