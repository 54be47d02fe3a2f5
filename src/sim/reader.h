// Reader: a pageserver. It follows one safekeeper, switches to another, checks histories and records, and forgets on a
// crash what it had not made durable. Not thread safe.

#pragma once

#include <memory>
#include <optional>

#include "pg/wal_stream.h"
#include "safekeeper/feed_cursor.h"
#include "sim/network.h"

namespace helium::sim {

class Node;
class World;

class Reader {
 public:
  Reader(World& world, Address address);

  void poll();     // takes what there is, from the one it follows or from another one
  void forget();   // crashes
  Lsn position() const { return decoder_.record_end_lsn(); }

 private:
  void connect();
  void disconnect() { cursor_.reset(); }
  bool take(const safekeeper::FeedCursor::Item& item);

  World& world_;
  const Address address_;
  pg::WalStreamDecoder decoder_;
  TermHistory history_;        // as announced with what was read
  Lsn durable_;
  TermHistory durable_history_;
  Node* node_ = nullptr;
  uint64_t life_ = 0;          // of the node
  const safekeeper::Timeline* timeline_ = nullptr;  // of that life
  std::unique_ptr<safekeeper::FeedCursor> cursor_;
  bool history_fits_ = false;  // that of this connection
  Lsn served_;                 // the commit_lsn that this connection has told of
};

}  // namespace helium::sim
