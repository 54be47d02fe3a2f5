// PageClient: one multiplexed connection to the pageserver, kept up for ever.
//
// Requests are answered in any order. When the connection is lost it is made again with a bounded backoff, and every
// request without an answer is sent again: all of them are reads, so that doubling one does no harm. Errors that time
// may cure (kUnavailable, kTimeout, kCanceled at the pageserver) are retried here and reach nobody.
//
// Ownership: callbacks are kept until they are called, exactly once each; stop() answers what is left with kCanceled.
// Errors that callers see: kFenced: a later term exists; kCanceled: stop(); before the first successful greeting also
//   what the greeting was refused with (kNotFound: no such timeline); otherwise the pageserver's (kRedo, kCorrupt, …).
// Threads: any may send; callbacks run on the reader's thread, must be quick, and may send. Two threads of its own.
// Protocol: wire/page_service.h.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "io/fd.h"
#include "io/net.h"
#include "wire/page_service.h"

namespace helium::compute {

class PageClient {
 public:
  struct Options {
    HostPort pageserver;
    TenantTimelineId timeline;
    uint64_t term = 0;
    int pg_version = 15;
    std::function<void()> on_fenced;  // once, from the reader's thread, before any callback sees kFenced
  };
  // The message's views are valid during the call.
  using Done = std::function<void(Result<const wire::ServerMessage*>)>;

  struct Metrics {
    uint64_t requests = 0;
    uint64_t answers = 0;
    uint64_t connects = 0;   // successful greetings
    uint64_t retries = 0;    // requests sent again after an error that time may cure
    uint64_t in_flight = 0;
  };

  explicit PageClient(Options options);
  ~PageClient();
  PageClient(const PageClient&) = delete;
  PageClient& operator=(const PageClient&) = delete;

  // The request's id is set here. With a delay it leaves later.
  void send(wire::RelInfoRequest request, Done done) { enqueue(std::move(request), std::move(done)); }
  void send(wire::ListRelsRequest request, Done done) { enqueue(std::move(request), std::move(done)); }
  void send(wire::GetPagesRequest request, Done done, std::chrono::milliseconds delay = {}) {
    enqueue(std::move(request), std::move(done), delay);
  }
  void send(wire::ListSlruRequest request, Done done) { enqueue(std::move(request), std::move(done)); }
  void send(wire::BootstrapRequest request, Done done) { enqueue(std::move(request), std::move(done)); }

  // Sends and waits for the reply of that type.
  template <typename Reply, typename Request>
  Result<Reply> call(Request request) {
    return wait_for<Reply>([&](Done done) { send(std::move(request), std::move(done)); });
  }

  void stop();
  bool connected() const { return connected_.load(); }
  Metrics metrics() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Pending {
    Bytes frame;
    Done done;
    Clock::time_point retry_at{};  // not sent before
    std::chrono::milliseconds retry_delay{0};
    bool waits_for_retry = false;
  };

  template <typename Reply, typename Send>
  static Result<Reply> wait_for(Send send);

  template <typename Request>
  void enqueue(Request request, Done done, std::chrono::milliseconds delay = {}) {
    request.request_id = next_id_.fetch_add(1);
    post(request.request_id, wire::encode(request), std::move(done), delay);
  }
  void post(uint64_t id, Bytes frame, Done done, std::chrono::milliseconds delay);
  void send_now_or_later(ByteView frame);  // mutex_ held

  void run_reader();
  Result<Fd> connect();
  Status greet(const Fd& socket);
  Status read_answers(const Fd& socket);
  void adopt(std::shared_ptr<Fd> socket);
  void dispatch(const wire::ServerMessage& message);
  void retry_later(std::map<uint64_t, Pending>::iterator pending);  // mutex_ held
  void report_fenced(const Error& error);
  void fail_all(const Error& error);
  bool wait_unless_stopping(std::chrono::milliseconds time);

  void run_sender();
  void queue_due_retries();  // mutex_ held

  const Options options_;
  std::atomic<uint64_t> next_id_{1};
  std::atomic<bool> connected_{false};
  std::atomic<uint64_t> answers_{0};
  std::atomic<uint64_t> connects_{0};
  std::atomic<uint64_t> retries_{0};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  bool stopping_ = false;
  std::optional<Error> final_error_;  // fenced or stopped: later requests fail at once
  std::map<uint64_t, Pending> pending_;
  Bytes unsent_;              // of the present connection
  bool sender_busy_ = false;  // the sender is in send(): nobody else may write
  std::shared_ptr<Fd> socket_;
  bool was_connected_ = false;

  std::thread reader_;
  std::thread sender_;
};

template <typename Reply, typename Send>
Result<Reply> PageClient::wait_for(Send send) {
  struct Answer {
    std::mutex mutex;
    std::condition_variable there;
    std::optional<Result<Reply>> value;
  };
  auto answer = std::make_shared<Answer>();
  send([answer](Result<const wire::ServerMessage*> message) {
    const std::lock_guard lock(answer->mutex);
    if (!message) {
      answer->value = fail(std::move(message).error());
    } else if (const Reply* reply = std::get_if<Reply>(*message)) {
      answer->value = *reply;
    } else {
      answer->value = fail(ErrorCode::kCorrupt, "the pageserver answered with a message of another type");
    }
    answer->there.notify_all();
  });
  std::unique_lock lock(answer->mutex);
  answer->there.wait(lock, [&] { return answer->value.has_value(); });
  return std::move(*answer->value);
}

}  // namespace helium::compute
