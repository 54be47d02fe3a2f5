// PgSocket: PostgreSQL protocol messages over one TCP connection, buffered.
//
// Owns the socket. One thread receives and one thread sends at a time (they may be two). Payload views are valid until
// the next receive. Errors: as io/net.h, and kCorrupt for bytes that the protocol does not allow.

#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "io/net.h"
#include "wire/pgwire.h"

namespace helium::walclient {

class PgSocket {
 public:
  // payload_max: of a received message.
  explicit PgSocket(Fd socket, uint32_t payload_max = 8 * 1024 * 1024);

  struct Message {
    char type = 0;
    ByteView payload;
  };
  // The next message; nullopt: none that is complete within `timeout` (zero: only what is here already).
  Result<std::optional<Message>> receive(std::optional<Timeout> timeout);
  // The next startup packet's body (no type byte in front).
  Result<ByteView> receive_startup(Timeout timeout);

  Status send(ByteView whole_messages);
  // One message whose payload is put together from parts, without copying them.
  Status send_message(char type, std::initializer_list<ByteView> payload);
  Status send_copy_data(std::initializer_list<ByteView> payload) { return send_message('d', payload); }
  // The same without waiting. Returns what the socket had no room for: send() it before anything else.
  Result<Bytes> send_copy_data_now(ByteView head, ByteView tail);

  const Fd& fd() const { return socket_; }
  void shutdown() { shutdown_socket(socket_); }
  // Makes the receiver see the end of the stream; sending still works.
  void shutdown_receive();
  // Ends sending and reads until the peer has closed (within a second), so that it surely gets what was sent last.
  void close_gently();

 private:
  // More bytes from the socket, of a message of `need` bytes. false: none came in time.
  Result<bool> fill(size_t need, std::optional<Timeout> timeout);

  Fd socket_;
  const uint32_t payload_max_;
  Bytes buffer_;       // received bytes are [begin_, end_)
  size_t begin_ = 0;
  size_t end_ = 0;
};

// Connects to a WAL service and names the timeline; returns when it is ready for a query.
Result<PgSocket> connect_wal_service(const HostPort& address, const TenantTimelineId& timeline, Timeout timeout,
                                     std::string_view application_name);

// Sends a command and waits for CopyBothResponse or CopyOutResponse. Errors: with the server's own text;
// kNotFound for SQLSTATE 42704, kLsnTooOld for 58P01, else kInvalid.
Status start_copy(PgSocket& socket, const std::string& command, Timeout timeout);

// The error that an ErrorResponse tells of.
Error to_error(ByteView error_response_payload);

// READ_WAL: WAL [start, end) that the server's acceptor holds, given to `consume` in order, in pieces, while the
// server's term or log term is `term`. Errors: as connect and start_copy; what `consume` returns.
Status read_wal(const HostPort& address, const TenantTimelineId& timeline, uint64_t term, Lsn start, Lsn end,
                Timeout timeout, const std::function<Status(Lsn start, ByteView bytes)>& consume);

}  // namespace helium::walclient
