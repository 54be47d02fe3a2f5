// Metrics of the WAL service, in one Prometheus registry. Thread safe; prometheus-cpp stays out of this header.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"

namespace prometheus {
class Registry;
}

namespace helium::safekeeper {

class Metrics {
 public:
  Metrics();
  ~Metrics();

  using Duration = std::chrono::steady_clock::duration;
  void observe_append(Duration took, size_t bytes);  // write of one append, without the sync
  void observe_fsync(Duration took);                 // of one batch
  void observe_commit(Duration took);                // from a batch's sync until its end is known to be committed
  void count_vote();
  void count_truncation();
  void count_refused_append();
  void add_connection(int delta);
  void set_timelines(size_t count);
  void count_recovery();                                     // WAL was read to find its end
  void count_restore();                                      // a timeline woke up
  void count_eviction();                                     // a timeline fell asleep
  void count_trimmed(size_t segments);
  void observe_offload(Duration took, size_t bytes);         // of one segment
  void count_offload_error();
  struct Residencies {
    size_t recovering = 0, open = 0, closed = 0, evicted = 0;
    uint64_t local_wal_bytes = 0;
    uint64_t not_offloaded_bytes = 0;
  };
  void set_residencies(const Residencies& now);

  // Positions of each timeline, asked for at each scrape. No more than kTimelinesShown are shown, those that moved last
  // first; the source is not called any more once this has returned.
  struct TimelinePositions {
    TenantTimelineId id;
    uint64_t term = 0;
    Lsn flush_lsn, commit_lsn, backup_lsn, local_start_lsn;
  };
  static constexpr size_t kTimelinesShown = 100;
  void set_positions_source(std::function<std::vector<TimelinePositions>()> source);

  std::shared_ptr<prometheus::Registry> registry() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helium::safekeeper
