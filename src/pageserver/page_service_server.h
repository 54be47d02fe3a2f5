// PageServiceServer: the page service protocol (wire/page_service.h) over TCP.
//
// A thread per connection reads requests; requests that must wait for WAL are parked without a thread; a pool of a few
// workers answers, so answers may come out of order. A connection has at most kMaxInFlight requests under way: then its
// reader waits. Memory: bounded by that and kMaxConnections.
// Fencing: a primary's requests carry its term. When a later term was seen for the timeline, in a greeting or in a WAL
// stream, its connection gets an ErrorReply with code kFenced and is closed.
// Threads: start() and stop() from one thread.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "io/net.h"
#include "pageserver/metrics.h"
#include "pageserver/tenants.h"
#include "pageserver/worker_pool.h"
#include "wire/page_service.h"

namespace helium::pageserver {

class PageServiceServer {
 public:
  static constexpr int kWorkers = 4;
  static constexpr int kMaxInFlight = 256;
  static constexpr size_t kMaxConnections = 1000;
  static constexpr std::chrono::seconds kLongestWait{60};

  PageServiceServer(Tenants& tenants, std::shared_ptr<Metrics> metrics);
  ~PageServiceServer();  // stops

  Status start(const HostPort& address);
  uint16_t port() const;
  void stop();

 private:
  struct Connection;
  struct Job;

  void accept_loop();
  void serve(const std::shared_ptr<Connection>& connection);
  Status greet(const std::shared_ptr<Connection>& connection);
  void on_request(const std::shared_ptr<Connection>& connection, wire::ClientMessage message);
  void answer(const std::shared_ptr<Job>& job, Status waited);
  // Ends connections of terms that were superseded, and joins threads of connections that ended.
  void sweep_loop();
  void fence_superseded();

  Tenants& tenants_;
  const std::shared_ptr<Metrics> metrics_;
  WorkerPool workers_{kWorkers};
  Fd listener_;
  std::thread acceptor_;
  std::thread sweeper_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::list<std::shared_ptr<Connection>> connections_;
};

}  // namespace helium::pageserver
