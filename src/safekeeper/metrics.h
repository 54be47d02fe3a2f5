// Metrics of the WAL service, in one Prometheus registry. Thread safe; prometheus-cpp stays out of this header.

#pragma once

#include <chrono>
#include <memory>

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

  std::shared_ptr<prometheus::Registry> registry() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helium::safekeeper
