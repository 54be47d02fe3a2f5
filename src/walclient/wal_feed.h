// WalFeed: committed WAL of one timeline from one safekeeper, as a pageserver reads it (START_WAL_FEED).
//
// Only committed WAL arrives, in order, without gaps; chunks may split records, what arrived before a keepalive's
// commit_lsn is whole. The term history comes first and again at each change: a reader that already has WAL refuses
// the stream unless fit_history(its own, its last LSN, announced) is kAgrees (rule 6).
// A start ahead of the safekeeper's commit_lsn waits there. Keepalives come at least once a second.
// Errors: kUnavailable (nobody listens), kNotFound (no such timeline there), kLsnTooOld (before the timeline's start),
//   kClosed (the safekeeper ended), kTimeout (nothing came in time; call again), kCorrupt.
// Threads: next() from one thread, feedback() from another one; stop() from any makes next() return kClosed.

#pragma once

#include <memory>
#include <variant>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "io/net.h"
#include "wire/term_history.h"

namespace helium::walclient {

class WalFeed {
 public:
  struct History {
    TermHistory entries;  // cut at the safekeeper's commit_lsn
  };
  struct Wal {
    Lsn start;
    ByteView bytes;  // valid until the next call of next()
    Lsn commit_lsn;  // the safekeeper's, when it sent this; at least start + bytes.size()
  };
  struct Keepalive {
    Lsn commit_lsn;
  };
  using Event = std::variant<History, Wal, Keepalive>;

  // `start`: a record end of this timeline, or its start.
  static Result<std::unique_ptr<WalFeed>> connect(const HostPort& safekeeper, const TenantTimelineId& timeline,
                                                  Lsn start, Timeout timeout);
  ~WalFeed();
  WalFeed(const WalFeed&) = delete;
  WalFeed& operator=(const WalFeed&) = delete;

  Result<Event> next(Timeout timeout);

  // Tells the safekeeper how far this reader is: received, and safe on its own disk.
  Status feedback(Lsn received, Lsn disk_consistent);

  void stop();

 private:
  struct Impl;
  explicit WalFeed(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace helium::walclient
