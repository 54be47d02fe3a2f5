// TCP with blocking sockets: one thread per connection is enough for the few connections that Helium's
// services have. Every wait has a bound or ends by shutdown_socket() from another thread.
//
// Errors: kUnavailable when nobody listens or the connection is refused, kTimeout, kClosed when the peer
// went away, kIo otherwise. Functions on one socket may be called by one reader and one writer at a time.

#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "io/fd.h"

namespace helium {

struct HostPort {
  std::string host;
  uint16_t port = 0;
  friend auto operator<=>(const HostPort&, const HostPort&) = default;
};
std::string to_string(const HostPort& address);
inline std::string format_as(const HostPort& address) { return to_string(address); }
// "127.0.0.1:5454"; errors: kInvalid.
Result<HostPort> parse_host_port(std::string_view text);

using Timeout = std::chrono::milliseconds;

// Listens with SO_REUSEADDR; port 0 takes a free one (ask local_port). Errors say "address in use" by name.
Result<Fd> tcp_listen(const HostPort& address);
uint16_t local_port(const Fd& socket);
// Waits for a connection (TCP_NODELAY set). kClosed after shutdown_socket on the listener.
Result<Fd> tcp_accept(const Fd& listener);
// Connects within `timeout`; TCP_NODELAY set.
Result<Fd> tcp_connect(const HostPort& address, Timeout timeout);

// Sends all, or fails.
Status send_all(const Fd& socket, ByteView bytes);
Status send_all(const Fd& socket, std::initializer_list<ByteView> parts);
// Sends what the socket has room for at this moment, perhaps nothing; returns how many bytes that were.
Result<size_t> send_now(const Fd& socket, std::initializer_list<ByteView> parts);
// Receives exactly bytes.size(), or fails. kClosed with an empty message if the peer closed before the first byte.
Status recv_exact(const Fd& socket, MutableByteView bytes);
// Receives what is there, at least one byte; waits for at most `timeout` (nullopt: for ever).
Result<size_t> recv_some(const Fd& socket, MutableByteView bytes, std::optional<Timeout> timeout = {});
// True when a receive would not block.
bool readable_now(const Fd& socket);
// Bounds every later receive; kTimeout when it passes.
void set_recv_timeout(const Fd& socket, Timeout timeout);
void set_send_timeout(const Fd& socket, Timeout timeout);
// Makes blocked calls on it return, from any thread; the descriptor stays open.
void shutdown_socket(const Fd& socket);

}  // namespace helium
