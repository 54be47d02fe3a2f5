// Safekeeper: all timelines of one safekeeper, and what runs beside them: broker, housekeeping, offload.
//
// Folder: <datadir>/<tenant>/<timeline>/, a tombstone <datadir>/<tenant>/<timeline>.deleted for what was deleted, and
// <datadir>/safekeeper.id, which keeps another id from using this state.
// A timeline whose files are damaged refuses (with what is wrong); the others go on.
// Opening reads control files only. Timelines that a crash left open are recovered by their first user, or in the
// background, one after another; they are published, and answer, only then.
// Errors: kNotFound: no such timeline here; kExists: deleted, or there with other facts.
// Threads: all calls are safe from any thread.

#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "broker/client.h"
#include "io/net.h"
#include "safekeeper/control_file.h"
#include "safekeeper/metrics.h"
#include "safekeeper/offloader.h"
#include "safekeeper/timeline.h"

namespace helium::safekeeper {

class Safekeeper {
 public:
  struct Options {
    uint64_t id = 0;
    std::filesystem::path datadir;
    std::optional<HostPort> broker;  // without one, commit_lsn comes from proposers only
    Environment environment = {};  // with an object store, WAL is offloaded and trimmed
    uint64_t keep_wal_bytes = 1024ull * 1024 * 1024;
    Age evict_idle_after{15 * 60 * 1000};
  };
  // Finds all timelines. Errors: kInvalid: the folder belongs to another safekeeper; kIo.
  static Result<std::unique_ptr<Safekeeper>> open(Options options);
  ~Safekeeper();  // stops
  // Names this safekeeper to others and begins to publish and listen.
  void start(const HostPort& wal_address, const HostPort& http_address);
  void stop();

  // Idempotent: the same facts again are fine.
  Status create_timeline(const ControlFile& initial);
  Status delete_timeline(const TenantTimelineId& id);
  // Recovered. Errors: also what recovery says.
  Result<std::shared_ptr<Timeline>> timeline(const TenantTimelineId& id);
  struct Listed {
    TenantTimelineId id;
    std::shared_ptr<Timeline> timeline;  // null if it is broken; perhaps not yet recovered
    std::string broken;                  // why
  };
  std::vector<Listed> timelines() const;

  uint64_t id() const { return options_.id; }
  Metrics& metrics() { return metrics_; }

 private:
  explicit Safekeeper(Options options) : options_(std::move(options)) {}
  Status recover();
  Status recover_tenant(const std::filesystem::path& folder, TenantId tenant);
  std::filesystem::path folder_of(const TenantTimelineId& id) const;
  std::filesystem::path tombstone_of(const TenantTimelineId& id) const;
  void remove_files(const TenantTimelineId& id);
  void adopt(const std::shared_ptr<Timeline>& timeline);  // with mutex_
  void note_change(const TenantTimelineId& id);
  std::shared_ptr<Timeline> find(const TenantTimelineId& id) const;  // null: not here, or broken
  void on_progress(const broker::TimelineProgress& progress);
  void publish_loop();
  void publish(const TenantTimelineId& id, const Timeline& timeline);
  void housekeep_loop();
  void recover_loop();
  void offload_loop();
  Offloader::Silence silence() const;

  const Options options_;
  std::shared_ptr<void> lock_;  // on safekeeper.id: one process per folder
  Metrics metrics_;
  HostPort wal_address_, http_address_;

  mutable std::mutex mutex_;
  struct Entry {
    std::shared_ptr<Timeline> timeline;
    Error broken;
  };
  std::map<TenantTimelineId, Entry> timelines_;
  std::set<TenantTimelineId> being_created_;

  std::mutex work_mutex_;
  std::condition_variable work_;
  bool stopping_ = false;
  bool housekeep_soon_ = false;
  std::set<TenantTimelineId> changed_;  // to be published
  std::unique_ptr<broker::BrokerClient> broker_;
  std::thread publisher_, housekeeper_, recoverer_, offloader_thread_;

  mutable std::mutex heard_mutex_;
  std::map<uint64_t, TimeSource::TimePoint> heard_;  // when each of the other safekeepers said something
};

}  // namespace helium::safekeeper
