// Metrics: what a pageserver counts. Names and meanings: docs/metrics.md.
//
// prometheus-cpp stays out of this header. Threads: safe from any.

#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>


namespace prometheus {
class Registry;
}

namespace helium::pageserver {

class Metrics {
 public:
  enum class Request : uint8_t { kRelInfo, kListRels, kGetPages, kListSlru, kBootstrap, kCount };

  Metrics();
  ~Metrics();

  void count_record(uint8_t rmgr, uint8_t info, uint64_t bytes);
  // From arrival to the answer, and how long of that the asker waited for WAL.
  void count_request(Request request, std::chrono::nanoseconds total, std::chrono::nanoseconds waited);
  // Pages that were asked for; of these, refused because a record does not fit its page; not given for other reasons.
  void count_pages(uint64_t pages, uint64_t redo_refused, uint64_t failed);
  // A page that was compared with the image in its record.
  void count_redo_check(bool differs);
  void count_connection(int change);
  // A logical message that claims to be a compute's and is not.
  void count_refused_message(std::string_view reason);

  // Called at each scrape to set the values below.
  struct TimelineValues {
    std::string tenant, timeline;
    uint64_t last_record_lsn = 0;
    uint64_t disk_consistent_lsn = 0;
    uint64_t open_layer_bytes = 0;
    uint64_t frozen_layers = 0;
    uint64_t delta_layers = 0;
    uint64_t image_layers = 0;
    uint64_t layer_file_bytes = 0;
  };
  struct Values {
    std::vector<TimelineValues> timelines;
    uint64_t page_cache_hits = 0;
    uint64_t page_cache_misses = 0;
  };
  void set_source(std::function<Values()> source);

  std::shared_ptr<prometheus::Registry> registry() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helium::pageserver
