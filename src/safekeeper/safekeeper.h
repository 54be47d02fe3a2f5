// Safekeeper: all timelines of one safekeeper, and what runs beside them: broker, housekeeping.
//
// Folder: <datadir>/<tenant>/<timeline>/, a tombstone <datadir>/<tenant>/<timeline>.deleted for what was deleted, and
// <datadir>/safekeeper.id, which keeps another id from using this state.
// A timeline whose files are damaged refuses (with what is wrong); the others go on.
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
#include "safekeeper/timeline.h"

namespace helium::safekeeper {

class Safekeeper {
 public:
  struct Options {
    uint64_t id = 0;
    std::filesystem::path datadir;
    std::optional<HostPort> broker;  // without one, commit_lsn comes from proposers only
    Environment environment = {};
  };
  // Recovers all timelines. Errors: kInvalid: the folder belongs to another safekeeper; kIo.
  static Result<std::unique_ptr<Safekeeper>> open(Options options);
  ~Safekeeper();  // stops
  // Names this safekeeper to others and begins to publish and listen.
  void start(const HostPort& wal_address, const HostPort& http_address);
  void stop();

  // Idempotent: the same facts again are fine.
  Status create_timeline(const ControlFile& initial);
  Status delete_timeline(const TenantTimelineId& id);
  Result<std::shared_ptr<Timeline>> timeline(const TenantTimelineId& id) const;
  struct Listed {
    TenantTimelineId id;
    std::shared_ptr<Timeline> timeline;  // null if it is broken
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
  void publish_loop();
  void housekeep_loop();

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
  std::thread publisher_, housekeeper_;
};

}  // namespace helium::safekeeper
