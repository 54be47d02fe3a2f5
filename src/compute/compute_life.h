// ComputeLife: everything that one life of a compute needs, from winning a term to the death of its last process.
//
// prepare() elects, bootstraps at the agreed end of WAL (X), writes the data directory, ships the synthetic checkpoint
// as the first WAL of the term, and starts the file layer. The caller then spawns postgres with command() from the main
// thread. end() undoes all of it. After a crash, a life is never repaired: a new one begins.
//
// Ownership: owns the proposer, the page client, the cache and the threads between them; shared with HTTP handlers,
// which may still hold it after end().
// Errors: prepare(): kCanceled after cancel(); kFenced, kNotFound, kInvalid: definite, trying again does not help;
//   others may be tried again.
// Threads: prepare() on one thread, cancel(), fenced() and the getters from any, end() on the main thread.

#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "base/result.h"
#include "compute/data_directory.h"
#include "compute/endpoint_spec.h"
#include "compute/page_client.h"
#include "compute/pageserver_source.h"
#include "compute/postgres_process.h"
#include "compute/wal_shipper.h"
#include "vfs/cache_server.h"
#include "walclient/wal_proposer.h"

namespace helium::compute {

class ComputeLife {
 public:
  // The main loop's bell: something happened that it must look at (fenced, damaged). From any thread, quick.
  using Wake = std::function<void()>;

  // wal_service: where the safekeepers are, as the life before knew it; empty: as the spec says.
  ComputeLife(const EndpointSpec& spec, std::vector<walclient::Safekeeper> wal_service, Wake wake);
  ~ComputeLife();
  ComputeLife(const ComputeLife&) = delete;
  ComputeLife& operator=(const ComputeLife&) = delete;

  Status prepare();
  void cancel();  // prepare() returns soon

  // After prepare(); the descriptors stay open until end().
  PostgresCommand command(const std::string& program, int library_fd, int log_fd);

  bool fenced() const { return fenced_.load(); }
  bool damaged() const { return damaged_.load(); }
  bool interception_proven() const { return cache_ && cache_->interception_proven(); }

  // How long prepare() took, for the log.
  struct Phases {
    double elected_ms = 0;       // since prepare() began
    double bootstrapped_ms = 0;  // the pageserver's answer was there
    double prepared_ms = 0;
  };
  const Phases& phases() const { return phases_; }  // after prepare()

  // After PostgreSQL has exited cleanly: files that no SQL could carry any more (statistics, the last state of slots) go
  // into WAL behind the shutdown checkpoint. Waits a few seconds for the quorum; what fails is logged.
  void keep_last_files();
  // Every PostgreSQL process is as good as dead afterwards; any thread.
  void kill_postgres();
  // Kills what is left, stops all threads; WAL that is not committed by then may or may not be.
  void end();

  uint64_t term() const { return term_.load(); }
  Lsn start_lsn() const { return Lsn(start_lsn_.load()); }
  Lsn shipped_lsn() const;
  Lsn commit_lsn() const;
  std::vector<walclient::WalProposer::SafekeeperState> safekeepers() const;
  // Where the WAL service is, as the members told last; before that, as the spec says. For the next life.
  std::vector<walclient::Safekeeper> wal_service() const;

  // For verification and metrics; null before prepare() has succeeded.
  vfs::CacheServer* cache() const { return prepared_ ? cache_.get() : nullptr; }
  PageserverSource* source() const { return prepared_ ? source_.get() : nullptr; }
  PageClient* page_client() const { return prepared_ ? client_.get() : nullptr; }
  walclient::WalProposer* proposer() const { return prepared_ ? proposer_.get() : nullptr; }

 private:
  Result<walclient::WalProposer::Elected> elect();
  Result<wire::BootstrapReply> bootstrap(const walclient::WalProposer::Elected& elected);
  Status make_tablespaces(const wire::BootstrapReply& bootstrap);
  Status make_local_files(wire::BootstrapReply& bootstrap);
  void fetch_wal_for_slots(Lsn from, Lsn start);
  Status start_services(const wire::BootstrapReply& bootstrap);
  void on_fenced(uint64_t newer_term);
  bool canceled() const { return canceled_.load(); }

  const EndpointSpec spec_;
  const Wake wake_;

  std::atomic<bool> canceled_{false};
  std::atomic<bool> fenced_{false};
  std::atomic<bool> damaged_{false};
  std::atomic<bool> prepared_{false};
  std::atomic<uint64_t> term_{0};
  std::atomic<uint64_t> start_lsn_{0};
  bool ended_ = false;

  Phases phases_;
  HostPort donor_;  // surely has committed all WAL before the start
  pg::SyntheticCheckpoint checkpoint_;
  PgSettings settings_;
  Fd pgdata_;

  mutable std::mutex mutex_;  // guards what follows while prepare() makes it
  std::vector<walclient::Safekeeper> wal_service_;  // before the present proposer
  std::unique_ptr<vfs::CacheServer> cache_;
  std::shared_ptr<walclient::WalProposer> proposer_;
  std::shared_ptr<PageClient> client_;
  std::unique_ptr<PageserverSource> source_;
  std::unique_ptr<WalShipper> shipper_;
  std::atomic<WalShipper*> shipping_{nullptr};  // for on_commit, which must not wait for mutex_
};

}  // namespace helium::compute
