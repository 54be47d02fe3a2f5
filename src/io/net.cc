#include "io/net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <charconv>
#include <vector>

namespace helium {
namespace {

std::unexpected<Error> fail_net(std::string_view what, int error) {
  std::unexpected<Error> result = fail_errno(what, error);
  switch (error) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH: result.error().code = ErrorCode::kUnavailable; break;
    case EAGAIN:
    case ETIMEDOUT: result.error().code = ErrorCode::kTimeout; break;
    case ECONNRESET:
    case EPIPE: result.error().code = ErrorCode::kClosed; break;
    default: break;
  }
  return result;
}

Result<sockaddr_in> resolve(const HostPort& address) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(address.host.c_str(), nullptr, &hints, &found); error != 0) {
    return fail(ErrorCode::kUnavailable, fmt::format("resolve host '{}': {}", address.host, gai_strerror(error)));
  }
  sockaddr_in result;
  std::memcpy(&result, found->ai_addr, sizeof(result));
  freeaddrinfo(found);
  result.sin_port = htons(address.port);
  return result;
}

void set_nodelay(int fd) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

timeval to_timeval(Timeout timeout) {
  return {timeout.count() / 1000, static_cast<suseconds_t>(timeout.count() % 1000 * 1000)};
}

std::vector<iovec> to_vectors(std::initializer_list<ByteView> parts) {
  std::vector<iovec> vectors;
  for (const ByteView part : parts) {
    if (!part.empty()) vectors.push_back({const_cast<std::byte*>(part.data()), part.size()});
  }
  return vectors;
}

}  // namespace

std::string to_string(const HostPort& address) { return fmt::format("{}:{}", address.host, address.port); }

Result<HostPort> parse_host_port(std::string_view text) {
  const size_t colon = text.rfind(':');
  HostPort address;
  if (colon != std::string_view::npos && colon > 0) {
    address.host = text.substr(0, colon);
    const std::string_view port = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    if (!port.empty() && error == std::errc() && end == port.data() + port.size()) return address;
  }
  return fail(ErrorCode::kInvalid, fmt::format("'{}' is not an address; write it as HOST:PORT", text));
}

Result<Fd> tcp_listen(const HostPort& address) {
  HELIUM_ASSIGN(const sockaddr_in where, resolve(address));
  Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("create socket", errno);
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  const std::string what = fmt::format("listen on {}", to_string(address));
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), sizeof(where)) != 0) return fail_errno(what, errno);
  if (listen(fd.get(), 512) != 0) return fail_errno(what, errno);
  return fd;
}

uint16_t local_port(const Fd& socket) {
  sockaddr_in where{};
  socklen_t size = sizeof(where);
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&where), &size) != 0) return 0;
  return ntohs(where.sin_port);
}

Result<Fd> tcp_accept(const Fd& listener) {
  while (true) {
    Fd fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (fd) {
      set_nodelay(fd.get());
      return fd;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EINVAL) return fail(ErrorCode::kClosed, "listener was shut down");
    return fail_net("accept connection", errno);
  }
}

Result<Fd> tcp_connect(const HostPort& address, Timeout timeout) {
  HELIUM_ASSIGN(const sockaddr_in where, resolve(address));
  const std::string what = fmt::format("connect to {}", to_string(address));
  Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("create socket", errno);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&where), sizeof(where)) != 0) {
    if (errno != EINPROGRESS) return fail_net(what, errno);
    pollfd waiting{fd.get(), POLLOUT, 0};
    int ready;
    do {
      ready = poll(&waiting, 1, static_cast<int>(timeout.count()));
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) return fail(ErrorCode::kTimeout, what + ": no answer in time");
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return fail_net(what, error);
  }
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK);
  set_nodelay(fd.get());
  return fd;
}

Status send_all(const Fd& socket, ByteView bytes) { return send_all(socket, {bytes}); }

Status send_all(const Fd& socket, std::initializer_list<ByteView> parts) {
  std::vector<iovec> vectors = to_vectors(parts);
  size_t first = 0;
  while (first < vectors.size()) {
    msghdr message{};
    message.msg_iov = vectors.data() + first;
    message.msg_iovlen = vectors.size() - first;
    ssize_t sent = sendmsg(socket.get(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return fail_net("send", errno);
    }
    while (first < vectors.size() && static_cast<size_t>(sent) >= vectors[first].iov_len) {
      sent -= static_cast<ssize_t>(vectors[first].iov_len);
      ++first;
    }
    if (first < vectors.size()) {
      vectors[first].iov_base = static_cast<std::byte*>(vectors[first].iov_base) + sent;
      vectors[first].iov_len -= static_cast<size_t>(sent);
    }
  }
  return {};
}

Result<size_t> send_now(const Fd& socket, std::initializer_list<ByteView> parts) {
  std::vector<iovec> vectors = to_vectors(parts);
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = vectors.size();
  while (true) {
    const ssize_t sent = sendmsg(socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (errno == EAGAIN || errno == EWOULDBLOCK) return size_t{0};
    if (errno != EINTR) return fail_net("send", errno);
  }
}

Status recv_exact(const Fd& socket, MutableByteView bytes) {
  size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t n = recv(socket.get(), bytes.data() + got, bytes.size() - got, 0);
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail_net("receive", errno);
    }
    if (n == 0) {
      return fail(ErrorCode::kClosed, got == 0 ? "" : "connection closed in the middle of a message");
    }
    got += static_cast<size_t>(n);
  }
  return {};
}

Result<size_t> recv_some(const Fd& socket, MutableByteView bytes, std::optional<Timeout> timeout) {
  while (true) {
    if (timeout) {
      pollfd waiting{socket.get(), POLLIN, 0};
      const int ready = poll(&waiting, 1, static_cast<int>(timeout->count()));
      if (ready < 0 && errno == EINTR) continue;
      if (ready == 0) return fail(ErrorCode::kTimeout, "receive: nothing arrived in time");
    }
    const ssize_t n = recv(socket.get(), bytes.data(), bytes.size(), 0);
    if (n > 0) return static_cast<size_t>(n);
    if (n == 0) return fail(ErrorCode::kClosed, "");
    if (errno != EINTR) return fail_net("receive", errno);
  }
}

bool readable_now(const Fd& socket) {
  pollfd waiting{socket.get(), POLLIN, 0};
  return poll(&waiting, 1, 0) > 0;
}

void set_recv_timeout(const Fd& socket, Timeout timeout) {
  const timeval value = to_timeval(timeout);
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &value, sizeof(value));
}

void set_send_timeout(const Fd& socket, Timeout timeout) {
  const timeval value = to_timeval(timeout);
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &value, sizeof(value));
}

void shutdown_socket(const Fd& socket) { shutdown(socket.get(), SHUT_RDWR); }

}  // namespace helium
