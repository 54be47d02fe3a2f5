// WalProposer: a compute's end of the WAL service. Wins a term, then commits WAL on a majority of safekeepers.
//
// Unit: LSNs are record ends. Owns one thread per safekeeper for sending and one for receiving, and its connections;
// the destructor stops them. Lost safekeepers are tried again for ever; one that lags behind the buffer is fed from a
// donor (READ_WAL) and never delays the others. The membership may change at any time: new members are connected to,
// those that left are dropped, the term stays (docs/protocols/membership.md).
// Errors: elect(): kFenced: another compute won a later term, again and again; kTimeout: no majority in time;
//   kInvalid: the safekeepers know the timeline differently (system id, version);
//   kNotFound: a majority does not have the timeline.
// Threads: elect() once, then append() from one thread; commit_lsn(), stats() and stop() from any.
// Protocol: docs/protocols/wal_commit.md. The decisions are in walclient/proposer.h, which is pure.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "io/net.h"
#include "wire/term_history.h"

namespace helium::walclient {

using helium::TermHistory;
using helium::TermSwitch;

struct Safekeeper {
  uint64_t id = 0;
  HostPort address;  // its pg protocol port
};

class WalProposer {
 public:
  struct Options {
    TenantTimelineId timeline;
    int pg_version = 15;
    uint64_t system_id = 0;   // 0: not known yet; learned from the safekeepers, who must agree
    std::vector<Safekeeper> safekeepers;  // to begin with: they tell who the members are, now and later
    size_t buffer_bytes = 64 * 1024 * 1024;
    // Another compute holds a later term: end everything. Called at most once, after elect(), at once, from a thread of
    // its own; it may call stop(), but must not destroy the proposer.
    std::function<void(uint64_t newer_term)> on_fenced;
    // commit_lsn advanced. From an internal thread, in order; must be quick and must not call back.
    std::function<void(Lsn)> on_commit;
  };

  struct Elected {
    uint64_t term = 0;
    Lsn start_lsn;        // X: the end of WAL that the majority agreed on; committed
    HostPort donor;       // a safekeeper that has committed WAL up to X
    uint64_t system_id = 0;
    Lsn timeline_start;   // the timeline's first LSN at the safekeepers
  };

  explicit WalProposer(Options options);
  ~WalProposer();
  WalProposer(const WalProposer&) = delete;
  WalProposer& operator=(const WalProposer&) = delete;

  // Wins a term, makes a majority adopt its start X, and tells the safekeepers that X is committed.
  Result<Elected> elect(Timeout timeout);

  // WAL at `start` = the end of what was appended before (X at first); whole records. Copies into a bounded buffer and
  // returns; waits while the buffer is full of uncommitted WAL. After stop() or fencing it does nothing.
  void append(Lsn start, ByteView whole_records);

  // What a majority holds durably in this term. Never falls.
  Lsn commit_lsn() const;
  // Waits until commit_lsn() >= lsn. Errors: kTimeout, kFenced, kCanceled.
  Status wait_commit(Lsn lsn, Timeout timeout);

  struct SafekeeperState {
    uint64_t id = 0;
    HostPort address;
    bool connected = false;
    Lsn flush_lsn;
  };
  // Those that it speaks to: as the options say at first, then as the membership does. Also after stop().
  std::vector<SafekeeperState> safekeepers() const;
  TermHistory term_history() const;  // of the elected term

  // Ends all threads; appended WAL that is not committed yet may or may not be.
  void stop();

 private:
  friend struct WalProposerInside;  // a test's
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helium::walclient
