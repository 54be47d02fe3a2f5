// RequestServer: answers the mailboxes of the PostgreSQL processes with threads of its own.
//
// Requests for one thing at one time are merged; misses that go forward through a file are read ahead, with a
// window that doubles up to `readahead_blocks_max`. A request whose process is gone is answered into the void.
// Ownership: arena, files and source outlive it. Errors of the source become errno values in the answer.
// Threads: start and stop from one thread.

#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "vfs/arena.h"
#include "vfs/cache_files.h"
#include "vfs/cache_server.h"

namespace helium::vfs {

class RequestServer {
 public:
  struct Options {
    int workers = 4;
    uint32_t readahead_blocks_max = 64;
    std::function<void()> every_two_seconds;
  };
  RequestServer(Arena arena, CacheFiles& files, Options options)
      : arena_(arena), files_(files), options_(std::move(options)) {}
  ~RequestServer() { stop(); }

  void start(PageSource* source);
  void stop();
  void add_metrics(CacheMetrics& metrics) const;

 private:
  struct Waiter {
    uint32_t slot;
    uint16_t ticket;
  };
  struct Request {
    Waiter from;
    MailKind kind;
    uint32_t entry;
    uint32_t blkno;
  };
  struct Flight {  // a block on its way
    BlockWord ticket;
    std::chrono::steady_clock::time_point started;
    std::vector<Waiter> waiters;
  };
  struct Stream {  // how one file is being read
    uint32_t next = 0;
    uint32_t window = 0;
  };
  using BlockId = uint64_t;  // entry << 32 | blkno
  static BlockId block_id(uint32_t entry, uint32_t blkno) { return uint64_t{entry} << 32 | blkno; }

  void work();
  std::optional<Request> take_mail();
  bool take_hints();
  void reap_dead_processes();
  void handle(const Request& request);
  void reply(const Waiter& waiter, int error);

  void make_known(const Request& request);  // kResolve, kList: merged, one caller does the work
  Status resolve(uint32_t entry);
  Status list(uint32_t entry);
  Result<ForkSizes> sizes_of(const EntryKey& relation);
  void learn_database(const EntryKey& relation);  // once it is worth it
  Result<Bytes> init_pages(const pg::RelTag& init, uint32_t nblocks);

  void fetch(const Request& request);
  uint32_t widen(uint32_t entry, uint32_t blkno);  // under mutex_: how many blocks behind this one to read too
  bool add_flight(uint32_t entry, uint32_t blkno, std::vector<uint32_t>& batch, Lsn& required, const Waiter* waiter);
  void issue(uint32_t entry, std::vector<uint32_t> batch, Lsn required);
  void landed(uint32_t entry, uint32_t blkno, Result<ByteView> page);

  const Arena arena_;
  CacheFiles& files_;
  const Options options_;
  PageSource* source_ = nullptr;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> in_flight_calls_ = 0;  // callbacks that the source still owes us

  std::mutex mutex_;
  std::unordered_map<BlockId, Flight> flights_;                    // guarded by mutex_
  std::unordered_map<uint32_t, std::vector<Waiter>> becoming_known_;  // guarded by mutex_
  // Storage's relations of a database, asked for when somebody works in it: spares a question per relation. It
  // does not age: what storage has of a relation nobody touched here is what it had at the start.
  struct Learnt {
    uint32_t questions = 0;
    bool asked = false;
    std::optional<std::unordered_map<uint32_t, ForkSizes>> relations;
  };
  std::unordered_map<uint64_t, Learnt> learnt_;                    // guarded by mutex_; by spcnode << 32 | dbnode
  std::unordered_map<uint32_t, Stream> streams_;                   // guarded by mutex_, bounded

  struct Counters {
    std::atomic<uint64_t> requests, rel_infos, list_rels, wanted, readahead, filled, fills_void, errors, micros;
  };
  Counters counters_{};
};

}  // namespace helium::vfs
