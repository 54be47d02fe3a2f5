#include "safekeeper/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <map>
#include <mutex>

namespace helium::safekeeper {
namespace {

using Positions = Metrics::TimelinePositions;

// Positions at a scrape become metrics of their own: nothing is left behind by a timeline that has gone.
class PositionsRegistry : public prometheus::Registry {
 public:
  void set_source(std::function<std::vector<Positions>()> source) {
    const std::lock_guard lock(mutex_);
    source_ = std::move(source);
  }

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> all = prometheus::Registry::Collect();
    const std::lock_guard lock(mutex_);
    if (!source_) return all;
    std::vector<Positions> timelines = source_();
    const size_t count = timelines.size();
    choose(timelines);
    const auto add = [&](const char* name, const char* help, auto value) {
      all.push_back({name, help, prometheus::MetricType::Gauge, {}});
      for (const Positions& timeline : timelines) {
        prometheus::ClientMetric metric;
        metric.label = {{"tenant_id", to_string(timeline.id.tenant)}, {"timeline_id", to_string(timeline.id.timeline)}};
        metric.gauge.value = static_cast<double>(value(timeline));
        all.back().metric.push_back(std::move(metric));
      }
    };
    add("safekeeper_term", "The highest term promised", [](const Positions& t) { return t.term; });
    add("safekeeper_flush_lsn", "WAL up to here is synced here, in bytes", [](const Positions& t) { return t.flush_lsn.bytes(); });
    add("safekeeper_commit_lsn", "WAL up to here is known to be on a majority, in bytes",
        [](const Positions& t) { return t.commit_lsn.bytes(); });
    add("safekeeper_backup_lsn", "WAL up to here is in the object store, in bytes; 0: none",
        [](const Positions& t) { return t.backup_lsn.bytes(); });
    add("safekeeper_local_start_lsn", "WAL before it is not on this disk, in bytes",
        [](const Positions& t) { return t.local_start_lsn.bytes(); });
    prometheus::ClientMetric hidden;
    hidden.gauge.value = static_cast<double>(count - timelines.size());
    all.push_back({"safekeeper_timelines_not_shown", "Timelines whose positions are left out here: they moved least recently",
                   prometheus::MetricType::Gauge, {hidden}});
    return all;
  }

 private:
  // Keeps those that moved last.
  void choose(std::vector<Positions>& timelines) const {
    ++scrape_;
    std::map<TenantTimelineId, Seen> now;
    for (const Positions& timeline : timelines) {
      const auto before = seen_.find(timeline.id);
      const bool still = before != seen_.end() && before->second.flush_lsn == timeline.flush_lsn;
      now[timeline.id] = still ? before->second : Seen{timeline.flush_lsn, scrape_};
    }
    seen_ = std::move(now);
    std::ranges::stable_sort(timelines, std::ranges::greater(), [&](const Positions& t) { return seen_[t.id].moved_at; });
    if (timelines.size() > Metrics::kTimelinesShown) timelines.resize(Metrics::kTimelinesShown);
  }

  struct Seen {
    Lsn flush_lsn;
    uint64_t moved_at;  // number of the scrape
  };
  mutable std::mutex mutex_;
  std::function<std::vector<Positions>()> source_;
  mutable uint64_t scrape_ = 0;
  mutable std::map<TenantTimelineId, Seen> seen_;
};

const prometheus::Histogram::BucketBoundaries kSeconds{0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                                       0.025,   0.05,   0.1,     0.25,   0.5,   1,      2.5,   5};

double seconds(Metrics::Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

struct Metrics::Impl {
  std::shared_ptr<PositionsRegistry> registry = std::make_shared<PositionsRegistry>();

  prometheus::Histogram& histogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry).Add({}, kSeconds);
  }
  prometheus::Counter& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(*registry).Add({});
  }
  prometheus::Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*registry).Add({});
  }

  prometheus::Histogram& append = histogram("safekeeper_append_seconds", "Writing one append, without its sync");
  prometheus::Histogram& fsync = histogram("safekeeper_fsync_seconds", "Syncing one batch of WAL");
  prometheus::Histogram& commit =
      histogram("safekeeper_commit_seconds", "From a batch's sync until its end is known to be committed");
  prometheus::Counter& bytes = counter("safekeeper_append_bytes_total", "WAL bytes written");
  prometheus::Counter& votes = counter("safekeeper_votes_total", "Votes given");
  prometheus::Counter& truncations = counter("safekeeper_truncations_total", "WAL cut off at a fork point");
  prometheus::Counter& refused = counter("safekeeper_appends_refused_total", "Appends refused, a full disk for instance");
  prometheus::Gauge& connections = gauge("safekeeper_connections", "Open connections of the PostgreSQL protocol");
  prometheus::Gauge& timelines = gauge("safekeeper_timelines", "Timelines that live here");

  prometheus::Counter& recoveries = counter("safekeeper_recoveries_total", "Timelines whose WAL was read for its end");
  prometheus::Counter& restores = counter("safekeeper_restores_total", "Evicted timelines that woke up");
  prometheus::Counter& evictions = counter("safekeeper_evictions_total", "Timelines whose WAL left the local disk");
  prometheus::Counter& trimmed = counter("safekeeper_trimmed_segments_total", "WAL segments that left the local disk");
  prometheus::Histogram& offload = histogram("safekeeper_offload_seconds", "Offloading one WAL segment");
  prometheus::Counter& offloaded = counter("safekeeper_offload_bytes_total", "WAL bytes put into the object store");
  prometheus::Counter& offload_errors = counter("safekeeper_offload_errors_total", "Failures of the object store");
  prometheus::Family<prometheus::Gauge>& residencies = prometheus::BuildGauge()
                                                           .Name("safekeeper_timelines_by_residency")
                                                           .Help("Timelines by where their WAL is")
                                                           .Register(*registry);
  prometheus::Gauge& recovering = residencies.Add({{"residency", "recovering"}});
  prometheus::Gauge& open = residencies.Add({{"residency", "open"}});
  prometheus::Gauge& closed = residencies.Add({{"residency", "closed"}});
  prometheus::Gauge& evicted = residencies.Add({{"residency", "evicted"}});
  prometheus::Gauge& local_bytes = gauge("safekeeper_local_wal_bytes", "WAL segments on the local disk");
  prometheus::Gauge& not_offloaded = gauge("safekeeper_not_offloaded_bytes", "Committed WAL that is not in the object "
                                                                             "store");
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() { set_positions_source(nullptr); }

void Metrics::observe_append(Duration took, size_t bytes) {
  impl_->append.Observe(seconds(took));
  impl_->bytes.Increment(static_cast<double>(bytes));
}
void Metrics::observe_fsync(Duration took) { impl_->fsync.Observe(seconds(took)); }
void Metrics::observe_commit(Duration took) { impl_->commit.Observe(seconds(took)); }
void Metrics::count_vote() { impl_->votes.Increment(); }
void Metrics::count_truncation() { impl_->truncations.Increment(); }
void Metrics::count_refused_append() { impl_->refused.Increment(); }
void Metrics::add_connection(int delta) { impl_->connections.Increment(delta); }
void Metrics::set_timelines(size_t count) { impl_->timelines.Set(static_cast<double>(count)); }
void Metrics::count_recovery() { impl_->recoveries.Increment(); }
void Metrics::count_restore() { impl_->restores.Increment(); }
void Metrics::count_eviction() { impl_->evictions.Increment(); }
void Metrics::count_trimmed(size_t segments) { impl_->trimmed.Increment(static_cast<double>(segments)); }
void Metrics::observe_offload(Duration took, size_t bytes) {
  impl_->offload.Observe(seconds(took));
  impl_->offloaded.Increment(static_cast<double>(bytes));
}
void Metrics::count_offload_error() { impl_->offload_errors.Increment(); }
void Metrics::set_residencies(const Residencies& now) {
  impl_->recovering.Set(static_cast<double>(now.recovering));
  impl_->open.Set(static_cast<double>(now.open));
  impl_->closed.Set(static_cast<double>(now.closed));
  impl_->evicted.Set(static_cast<double>(now.evicted));
  impl_->local_bytes.Set(static_cast<double>(now.local_wal_bytes));
  impl_->not_offloaded.Set(static_cast<double>(now.not_offloaded_bytes));
}
void Metrics::set_positions_source(std::function<std::vector<TimelinePositions>()> source) {
  impl_->registry->set_source(std::move(source));
}
std::shared_ptr<prometheus::Registry> Metrics::registry() const { return impl_->registry; }

}  // namespace helium::safekeeper
