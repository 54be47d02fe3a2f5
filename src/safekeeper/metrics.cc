#include "safekeeper/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace helium::safekeeper {
namespace {

const prometheus::Histogram::BucketBoundaries kSeconds{0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                                       0.025,   0.05,   0.1,     0.25,   0.5,   1,      2.5,   5};

double seconds(Metrics::Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

struct Metrics::Impl {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();

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
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

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
std::shared_ptr<prometheus::Registry> Metrics::registry() const { return impl_->registry; }

}  // namespace helium::safekeeper
