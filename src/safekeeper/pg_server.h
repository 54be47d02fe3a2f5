// PgServer: the safekeeper's PostgreSQL protocol port: one thread per connection.
//
// A connection names its timeline in the startup packet's options (`-c tenant_id=… -c timeline_id=…`); without one every
// command that needs WAL fails with an error that says so (rule 10). Anybody may connect ("trust").
// Commands: docs/protocols/wal_commit.md (push, feed, read) and PostgreSQL's streaming replication protocol.
// Threads: start() and stop() from one thread.

#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "base/result.h"
#include "io/net.h"
#include "safekeeper/safekeeper.h"
#include "walclient/pg_socket.h"

namespace helium::safekeeper {

class PgServer {
 public:
  explicit PgServer(Safekeeper& safekeeper) : safekeeper_(safekeeper) {}
  ~PgServer();  // stops

  // Returns when connections are accepted. Errors: as tcp_listen.
  Status start(const HostPort& address);
  uint16_t port() const { return port_; }
  // Ends all connections; returns when their threads are done.
  void stop();

 private:
  void accept_loop();
  void serve(uint64_t number, std::shared_ptr<walclient::PgSocket> socket);

  Safekeeper& safekeeper_;
  Fd listener_;
  uint16_t port_ = 0;
  std::thread acceptor_;

  std::mutex mutex_;
  std::condition_variable ended_;
  bool stopping_ = false;
  uint64_t next_number_ = 1;
  std::map<uint64_t, std::shared_ptr<walclient::PgSocket>> connections_;
};

}  // namespace helium::safekeeper
