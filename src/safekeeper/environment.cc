#include "safekeeper/environment.h"

#include "walclient/pg_socket.h"

namespace helium::safekeeper {
namespace {

constexpr Timeout kPeerStall = std::chrono::seconds(10);

}  // namespace

Status Environment::read_wal_over_network(const PeerWal& wanted, const Consume& consume) {
  return walclient::read_wal(wanted.peer, wanted.id, wanted.term, wanted.start, wanted.end, kPeerStall, consume);
}

}  // namespace helium::safekeeper
