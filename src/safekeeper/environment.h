// Environment: what a timeline stands on besides the messages it gets: disk, time, peers. In production the operating
// system and the network; in the simulation (src/sim) a disk that forgets, a clock that jumps, and a lossy network.

#pragma once

#include <functional>
#include <memory>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "io/disk.h"
#include "io/net.h"
#include "io/time_source.h"
#include "store/object_store.h"

namespace helium::safekeeper {

struct Environment {
  std::shared_ptr<Disk> disk = real_disk();
  const TimeSource* time = &real_time();  // outlives the timeline
  std::shared_ptr<ObjectStore> store;     // null: WAL stays on the disk

  // WAL [start, end) of `term` from a peer (READ_WAL), in order, piece by piece. Blocks; gives up when `consume` does.
  struct PeerWal {
    HostPort peer;
    TenantTimelineId id;
    uint64_t term = 0;
    Lsn start, end;
  };
  using Consume = std::function<Status(Lsn start, ByteView bytes)>;
  std::function<Status(const PeerWal& wanted, const Consume& consume)> read_peer_wal = read_wal_over_network;

  static Status read_wal_over_network(const PeerWal& wanted, const Consume& consume);
};

}  // namespace helium::safekeeper
