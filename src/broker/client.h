// BrokerClient: tell others how far a safekeeper is, and hear it from them, through the storage broker.
//
// Best effort by design: what is lost is said again by the next publish, and nobody's correctness depends on it.
// The newest value per (timeline, safekeeper) wins; older ones that were not sent yet are replaced, so memory is
// bounded by the number of those pairs. The client connects, and reconnects for ever, in threads of its own, with a
// back-off from 50 ms to 1 s; publish() and subscribe() never block on the network and never fail.
// Errors: none; state changes of the connection are logged. Thread safe.
// Protocol: docs/protocols/broker.md. gRPC stays out of this header.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/ids.h"
#include "base/lsn.h"
#include "io/net.h"

namespace helium::broker {

// What one safekeeper says about one timeline.
struct TimelineProgress {
  TenantTimelineId id;
  uint64_t safekeeper_id = 0;
  std::string wal_address;   // "host:port" of the PostgreSQL protocol
  std::string http_address;  // "host:port"
  uint32_t generation = 0;   // of the membership
  uint64_t term = 0;         // highest term voted for
  uint64_t log_term = 0;     // the term that owns flush_lsn; commit_lsn was computed in it
  Lsn flush_lsn;
  Lsn commit_lsn;
  Lsn timeline_start_lsn;
  Lsn backup_lsn;             // WAL up to here is in the object store; zero: none, or not known
  Lsn remote_consistent_lsn;  // a pageserver has WAL up to here safe on its disk, as far as heard
  bool filling = false;      // a newcomer that does not count yet
  friend bool operator==(const TimelineProgress&, const TimelineProgress&) = default;
};

class BrokerClient {
 public:
  explicit BrokerClient(HostPort broker);
  // Ends all threads, within 200 ms; values that were not sent yet are dropped. No callback runs afterwards.
  ~BrokerClient();
  BrokerClient(const BrokerClient&) = delete;
  BrokerClient& operator=(const BrokerClient&) = delete;

  void publish(const TimelineProgress& progress);

  // Calls `on_progress` from a thread of the client: first with the last known value of every safekeeper (again after
  // each reconnect), then with each new one. Without an id: all timelines. The callback must be quick and must not
  // call this client's destructor.
  void subscribe(std::optional<TenantTimelineId> id, std::function<void(const TimelineProgress&)> on_progress);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helium::broker
