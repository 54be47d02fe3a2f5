// BrokerServer: the storage broker's gRPC service. Publishers' streams feed a Hub, subscribers' streams drain it.
//
// All state is in memory: after a restart publishers reconnect and say everything again. gRPC's threads do the work;
// a subscriber costs no thread. Thread safe. Protocol: docs/protocols/broker.md.

#pragma once

#include <memory>

#include "base/result.h"
#include "broker/hub.h"
#include "io/net.h"

namespace helium::broker {

class BrokerServer {
 public:
  // Errors: kIo when the address cannot be listened on. Port 0 takes a free one.
  static Result<std::unique_ptr<BrokerServer>> start(const HostPort& address, Hub::Limits limits = {});
  ~BrokerServer();  // stops

  uint16_t port() const;
  Hub::Counts counts() const;
  // Ends all streams at once and returns when nothing runs any more.
  void stop();

 private:
  struct Impl;
  explicit BrokerServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace helium::broker
