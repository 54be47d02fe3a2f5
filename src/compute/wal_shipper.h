// WalShipper: turns PostgreSQL's writes to pg_wal into quorum commits.
//
// PostgreSQL writes WAL in whole 8 kB pages and rewrites the last one with more in it, so behind the last complete
// record there may be half a record, zeros, or what a recycled segment held before. The shipper reads from the last
// record end up to what was written, ships whole CRC-checked records only, and remembers for each write (its sequence
// number) the record end that it reached. When the quorum has committed that position, everything that a fdatasync
// behind that write may promise is safe: PostgreSQL completes all records up to its flush target before it writes.
// Shipping starts at the write, not at the sync, so that the network works while PostgreSQL gets there.
//
// Unit: LSNs are record ends; sequence numbers count writes. Ownership: callbacks must outlive it; the destructor
// stops the thread. Errors: WAL that cannot be read or parsed although PostgreSQL must have completed it is reported
// once through on_damaged; nothing is acknowledged from then on.
// Threads: one of its own; on_commit() and the getters from any.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "compute/local_wal.h"
#include "pg/wal_stream.h"

namespace helium::compute {

class WalShipper {
 public:
  struct Written {
    uint64_t seq = 0;    // writes so far
    Lsn written_upto;    // end of the highest one
  };
  struct Options {
    std::filesystem::path wal_folder;
    Lsn start;                                          // record end: WAL behind it is to be shipped
    int pg_version = 0;                                 // of the timeline: other WAL is damage; 0: not known
    std::function<Written(uint64_t after_seq)> wait;    // returns on a write behind after_seq, or after a while
    std::function<void(Lsn start, ByteView)> append;    // to the proposer; may wait for room
    std::function<Lsn()> commit_lsn;                    // of the proposer
    std::function<void(uint64_t seq)> publish_flushed;  // quick
    std::function<void(const Error&)> on_damaged;
    std::function<void(Lsn written_upto)> on_progress;  // after each round, for the WAL reserve; may be empty
  };

  explicit WalShipper(Options options);
  ~WalShipper();
  WalShipper(const WalShipper&) = delete;
  WalShipper& operator=(const WalShipper&) = delete;

  void start();
  void stop();  // returns when the thread has ended; `wait` must return soon

  // The proposer's commit_lsn advanced: releases the syncs that waited for it.
  void on_commit(Lsn commit_lsn);

  // The end of the last record handed to the proposer.
  Lsn shipped_lsn() const { return Lsn(shipped_.load(std::memory_order_acquire)); }

  // One round: ships what `written` makes complete and remembers its sequence number. The thread's body; for tests.
  Status ship(const Written& written);

 private:
  struct NextRecord {
    Lsn end;
    size_t read_size;  // bytes to read at once, so that at least this record is whole
  };
  // Nothing if the record has not been written as a whole yet.
  Result<std::optional<NextRecord>> next_record(Lsn from, Lsn written_upto);
  struct Parsed {
    Lsn end;                     // of the last whole record
    std::optional<Error> error;  // why the one behind it is none; nothing if bytes are missing
  };
  Parsed parse(ByteView bytes);
  // Ships what is whole behind shipped_lsn(); false when nothing more is.
  Result<bool> ship_some(Lsn written_upto);
  void remember(uint64_t seq, Lsn position);
  void release(Lsn commit_lsn);
  void run();

  const Options options_;
  // Confined to the thread.
  LocalWal wal_;
  pg::WalStreamDecoder decoder_;
  Bytes buffer_;
  uint64_t seen_seq_ = 0;

  std::atomic<uint64_t> shipped_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;

  struct Waiting {
    uint64_t seq;
    Lsn position;
  };
  std::mutex mutex_;
  std::deque<Waiting> waiting_;  // guarded by mutex_; ascending in both
};

// Where a record of `total_len` bytes that starts at `record_start` ends (aligned), page headers counted in.
Lsn record_end_of(Lsn record_start, uint32_t total_len);

}  // namespace helium::compute
