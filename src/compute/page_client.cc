#include "compute/page_client.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"

namespace helium::compute {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBackoffMin{5};
constexpr milliseconds kBackoffMax{500};
constexpr milliseconds kConnectTimeout{2000};
constexpr milliseconds kGreetingTimeout{2000};
constexpr milliseconds kRetryDelayMin{20};
constexpr milliseconds kRetryDelayMax{1000};
constexpr size_t kReceiveBuffer = 1024 * 1024;

bool time_may_cure(ErrorCode code) {
  return code == ErrorCode::kUnavailable || code == ErrorCode::kTimeout || code == ErrorCode::kCanceled;
}

// A peer that vanished without a word is noticed within about ten seconds.
void notice_dead_peers(const Fd& socket) {
  const int on = 1;
  const int idle_seconds = 5;
  const int interval_seconds = 2;
  const int probes = 3;
  const unsigned unacknowledged_ms = 10000;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof(idle_seconds));
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof(interval_seconds));
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof(unacknowledged_ms));
}

Result<wire::ServerMessage> receive_message(const Fd& socket, Bytes& payload) {
  std::array<std::byte, wire::kFrameHeaderSize> head;
  HELIUM_TRY(recv_exact(socket, head));
  HELIUM_ASSIGN(const wire::FrameHeader header, wire::decode_frame_header(head));
  payload.resize(header.payload_size);
  HELIUM_TRY(recv_exact(socket, payload));
  return wire::decode_server_message(header.type, payload);
}

}  // namespace

PageClient::PageClient(Options options) : options_(std::move(options)) {
  reader_ = std::thread([this] { run_reader(); });
  sender_ = std::thread([this] { run_sender(); });
}

PageClient::~PageClient() { stop(); }

void PageClient::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (socket_) shutdown_socket(*socket_);
    changed_.notify_all();
  }
  if (reader_.joinable()) reader_.join();
  if (sender_.joinable()) sender_.join();
  fail_all(Error{ErrorCode::kCanceled, "the compute is stopping"});
}

PageClient::Metrics PageClient::metrics() const {
  const std::lock_guard lock(mutex_);
  return Metrics{next_id_.load() - 1, answers_.load(), connects_.load(), retries_.load(), pending_.size()};
}

// ---- sending

void PageClient::post(uint64_t id, Bytes frame, Done done, milliseconds delay) {
  std::optional<Error> refused;
  {
    const std::lock_guard lock(mutex_);
    if (final_error_) {
      refused = final_error_;
    } else {
      Pending& pending = pending_[id];
      pending.done = std::move(done);
      pending.frame = std::move(frame);
      if (delay.count() > 0) {
        pending.retry_at = Clock::now() + delay;
        pending.waits_for_retry = true;
        changed_.notify_all();
      } else if (socket_) {
        send_now_or_later(pending.frame);
      }
    }
  }
  if (refused) done(fail(std::move(*refused)));
}

// Sends from the caller's thread when that does not block: it saves a switch of threads for each page.
void PageClient::send_now_or_later(ByteView frame) {
  if (!sender_busy_ && unsent_.empty()) {
    const ssize_t sent = ::send(socket_->get(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) frame = frame.subspan(static_cast<size_t>(sent));
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      shutdown_socket(*socket_);  // the reader notices and connects again; the frame is pending
      return;
    }
  }
  if (frame.empty()) return;
  unsent_.insert(unsent_.end(), frame.begin(), frame.end());
  changed_.notify_all();
}

void PageClient::queue_due_retries() {
  const Clock::time_point now = Clock::now();
  for (auto& [id, pending] : pending_) {
    if (!pending.waits_for_retry || pending.retry_at > now) continue;
    pending.waits_for_retry = false;
    retries_.fetch_add(1, std::memory_order_relaxed);
    unsent_.insert(unsent_.end(), pending.frame.begin(), pending.frame.end());
  }
}

void PageClient::run_sender() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    std::optional<Clock::time_point> next_retry;
    if (socket_) {
      queue_due_retries();
      for (const auto& [id, pending] : pending_) {
        if (pending.waits_for_retry) next_retry = std::min(next_retry.value_or(pending.retry_at), pending.retry_at);
      }
    }
    if (!socket_ || unsent_.empty()) {
      if (next_retry) {
        changed_.wait_until(lock, *next_retry);
      } else {
        changed_.wait(lock);
      }
      continue;
    }
    const std::shared_ptr<Fd> socket = socket_;
    const Bytes batch = std::exchange(unsent_, {});
    sender_busy_ = true;
    lock.unlock();
    if (Status sent = send_all(*socket, batch); !sent) shutdown_socket(*socket);
    lock.lock();
    sender_busy_ = false;
  }
}

// ---- receiving

Result<Fd> PageClient::connect() {
  HELIUM_ASSIGN(Fd socket, tcp_connect(options_.pageserver, kConnectTimeout));
  notice_dead_peers(socket);
  HELIUM_TRY(greet(socket));
  return socket;
}

Status PageClient::greet(const Fd& socket) {
  set_recv_timeout(socket, kGreetingTimeout);
  HELIUM_TRY(send_all(socket, wire::encode(wire::Hello{options_.timeline, options_.term, true})));
  Bytes payload;
  HELIUM_ASSIGN(const wire::ServerMessage answer, receive_message(socket, payload));
  if (const auto* error = std::get_if<wire::ErrorReply>(&answer)) return fail(error->error);
  const auto* ack = std::get_if<wire::HelloAck>(&answer);
  if (ack == nullptr) return fail(ErrorCode::kCorrupt, "the greeting was answered with another message");
  if (ack->pg_version != static_cast<uint32_t>(options_.pg_version)) {
    return fail(ErrorCode::kInvalid, fmt::format("the timeline is of PostgreSQL {}, the endpoint of {}",
                                                 ack->pg_version, options_.pg_version));
  }
  set_recv_timeout(socket, milliseconds(0));
  return {};
}

void PageClient::adopt(std::shared_ptr<Fd> socket) {
  const std::lock_guard lock(mutex_);
  socket_ = std::move(socket);
  if (!socket_) return;
  unsent_.clear();
  for (auto& [id, pending] : pending_) {
    pending.waits_for_retry = false;
    unsent_.insert(unsent_.end(), pending.frame.begin(), pending.frame.end());
  }
  if (stopping_) shutdown_socket(*socket_);
  was_connected_ = true;
  changed_.notify_all();
}

bool PageClient::wait_unless_stopping(milliseconds time) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, time, [&] { return stopping_; });
}

void PageClient::run_reader() {
  milliseconds backoff = kBackoffMin;
  bool complained = false;
  do {
    Result<Fd> connection = connect();
    if (connection) {
      complained = false;
      backoff = kBackoffMin;
      connects_.fetch_add(1);
      auto socket = std::make_shared<Fd>(std::move(*connection));
      adopt(socket);
      connected_ = true;
      const Status ended = read_answers(*socket);
      connected_ = false;
      {
        // The sender may be in the middle of a frame on the old socket: only it knows when it is out.
        shutdown_socket(*socket);
        std::unique_lock lock(mutex_);
        socket_.reset();
        changed_.notify_all();
      }
      if (ended.error().code == ErrorCode::kFenced) return report_fenced(ended.error());
      log::info("pageserver connection lost", {{"pageserver", to_string(options_.pageserver)}, {"error", ended.error()}});
    } else {
      const Error& error = connection.error();
      if (error.code == ErrorCode::kFenced) return report_fenced(error);
      bool first = false;
      {
        const std::lock_guard lock(mutex_);
        first = !was_connected_;
      }
      const bool definite = error.code == ErrorCode::kNotFound || error.code == ErrorCode::kInvalid ||
                            error.code == ErrorCode::kTooNew || error.code == ErrorCode::kCorrupt;
      if (first && definite) {
        fail_all(Error(error).context(fmt::format("pageserver at {}", to_string(options_.pageserver))));
      }
      if (!complained) {
        log::info("cannot reach the pageserver, trying again",
                  {{"pageserver", to_string(options_.pageserver)}, {"error", error}});
        complained = true;
      }
    }
    backoff = std::min(backoff * 2, kBackoffMax);
  } while (wait_unless_stopping(backoff));
}

// Ends with the connection; the error says why.
Status PageClient::read_answers(const Fd& socket) {
  Bytes buffer(kReceiveBuffer);
  size_t begin = 0;
  size_t end = 0;
  while (true) {
    while (end - begin >= wire::kFrameHeaderSize) {
      const std::span<const std::byte, wire::kFrameHeaderSize> head(buffer.data() + begin, wire::kFrameHeaderSize);
      HELIUM_ASSIGN(const wire::FrameHeader header, wire::decode_frame_header(head));
      const size_t frame = wire::kFrameHeaderSize + header.payload_size;
      if (end - begin < frame) {
        if (frame > buffer.size()) buffer.resize(frame);
        break;
      }
      const ByteView payload(buffer.data() + begin + wire::kFrameHeaderSize, header.payload_size);
      HELIUM_ASSIGN(const wire::ServerMessage message, wire::decode_server_message(header.type, payload));
      if (const auto* error = std::get_if<wire::ErrorReply>(&message)) {
        if (error->error.code == ErrorCode::kFenced) return fail(error->error);
        if (error->request_id == 0) return fail(error->error);
      }
      dispatch(message);
      begin += frame;
    }
    std::memmove(buffer.data(), buffer.data() + begin, end - begin);
    end -= begin;
    begin = 0;
    HELIUM_ASSIGN(const size_t got, recv_some(socket, MutableByteView(buffer).subspan(end)));
    if (got == 0) return fail(ErrorCode::kClosed, "the pageserver closed the connection");
    end += got;
  }
}

void PageClient::retry_later(std::map<uint64_t, Pending>::iterator it) {
  Pending& pending = it->second;
  pending.retry_delay = std::clamp(pending.retry_delay * 2, kRetryDelayMin, kRetryDelayMax);
  pending.retry_at = Clock::now() + pending.retry_delay;
  pending.waits_for_retry = true;
  changed_.notify_all();
}

void PageClient::dispatch(const wire::ServerMessage& message) {
  Done done;
  const auto* error = std::get_if<wire::ErrorReply>(&message);
  {
    const std::lock_guard lock(mutex_);
    const auto it = pending_.find(wire::request_id_of(message));
    if (it == pending_.end()) return;  // the answer to the first of two sendings
    if (error != nullptr && time_may_cure(error->error.code)) return retry_later(it);
    done = std::move(it->second.done);
    pending_.erase(it);
  }
  answers_.fetch_add(1, std::memory_order_relaxed);
  if (error != nullptr) {
    done(fail(error->error));
  } else {
    done(&message);
  }
}

void PageClient::report_fenced(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    final_error_ = error;
  }
  if (options_.on_fenced) options_.on_fenced();
  fail_all(error);
}

void PageClient::fail_all(const Error& error) {
  std::map<uint64_t, Pending> failed;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ && !final_error_) final_error_ = error;
    failed.swap(pending_);
  }
  for (auto& [id, pending] : failed) pending.done(fail(error));
}

}  // namespace helium::compute
