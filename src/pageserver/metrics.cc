#include "pageserver/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "pg/wal_record.h"

namespace helium::pageserver {
namespace {

constexpr size_t kRequests = static_cast<size_t>(Metrics::Request::kCount);
constexpr const char* kRequestNames[kRequests] = {"rel_info", "list_rels", "get_pages", "list_slru", "bootstrap"};

const prometheus::Histogram::BucketBoundaries kSeconds = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025,
                                                          0.005,   0.01,   0.025,   0.05,   0.1,   0.25,
                                                          1,       5,      30};

// Gauges that are read when somebody scrapes.
class ScrapedRegistry : public prometheus::Registry {
 public:
  std::function<void()> refresh;
  std::vector<prometheus::MetricFamily> Collect() const override {
    if (refresh) refresh();
    return prometheus::Registry::Collect();
  }
};

}  // namespace

struct Metrics::Impl {
  std::shared_ptr<ScrapedRegistry> registry = std::make_shared<ScrapedRegistry>();

  prometheus::Counter& wal_bytes = prometheus::BuildCounter()
                                       .Name("pageserver_wal_ingest_bytes_total")
                                       .Help("WAL bytes ingested")
                                       .Register(*registry)
                                       .Add({});
  prometheus::Family<prometheus::Counter>& records = prometheus::BuildCounter()
                                                         .Name("pageserver_wal_ingest_records_total")
                                                         .Help("WAL records ingested, by type")
                                                         .Register(*registry);
  // By resource manager (custom ones share the last row) and operation.
  std::array<std::array<std::atomic<prometheus::Counter*>, 16>, pg::kLastBuiltinRmgr + 2> record_counters{};

  std::array<prometheus::Histogram*, kRequests> request_seconds{};
  prometheus::Histogram& wait_seconds = prometheus::BuildHistogram()
                                            .Name("pageserver_wait_lsn_seconds")
                                            .Help("How long requests waited for WAL")
                                            .Register(*registry)
                                            .Add({}, kSeconds);
  prometheus::Counter& pages = prometheus::BuildCounter()
                                   .Name("pageserver_get_pages_total")
                                   .Help("Pages asked for")
                                   .Register(*registry)
                                   .Add({});
  prometheus::Family<prometheus::Counter>& refused = prometheus::BuildCounter()
                                                         .Name("pageserver_get_pages_refused_total")
                                                         .Help("Pages that could not be given, by reason")
                                                         .Register(*registry);
  prometheus::Counter& refused_by_redo = refused.Add({{"reason", "redo"}});
  prometheus::Counter& refused_otherwise = refused.Add({{"reason", "other"}});
  prometheus::Counter& redo_checked = prometheus::BuildCounter()
                                          .Name("pageserver_redo_checked_pages_total")
                                          .Help("Pages compared with the image in their record")
                                          .Register(*registry)
                                          .Add({});
  prometheus::Counter& redo_differences = prometheus::BuildCounter()
                                              .Name("pageserver_redo_differences_total")
                                              .Help("Of these, pages that differ or could not be made")
                                              .Register(*registry)
                                              .Add({});
  prometheus::Family<prometheus::Counter>& refused_messages =
      prometheus::BuildCounter()
          .Name("pageserver_auxiliary_messages_refused_total")
          .Help("Logical messages that claim to carry a compute's file and do not, by reason")
          .Register(*registry);
  prometheus::Gauge& connections = prometheus::BuildGauge()
                                       .Name("pageserver_page_service_connections")
                                       .Help("Open page service connections")
                                       .Register(*registry)
                                       .Add({});

  using GaugeFamily = prometheus::Family<prometheus::Gauge>;
  GaugeFamily& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*registry);
  }
  GaugeFamily& last_record_lsn = gauge("pageserver_last_record_lsn", "End of the last record ingested, in bytes");
  GaugeFamily& disk_consistent_lsn = gauge("pageserver_disk_consistent_lsn", "What survives a crash, in bytes");
  GaugeFamily& open_layer_bytes = gauge("pageserver_open_layer_bytes", "Memory of the open layer");
  GaugeFamily& frozen_layers = gauge("pageserver_frozen_layers", "Layers that wait to be written");
  GaugeFamily& delta_layers = gauge("pageserver_delta_layers", "Delta layer files");
  GaugeFamily& image_layers = gauge("pageserver_image_layers", "Image layer files");
  GaugeFamily& layer_file_bytes = gauge("pageserver_layer_file_bytes", "Size of all layer files");
  prometheus::Gauge& cache_hits =
      gauge("pageserver_page_cache_hits", "Lookups of rebuilt pages that found one").Add({});
  prometheus::Gauge& cache_misses =
      gauge("pageserver_page_cache_misses", "Lookups of rebuilt pages that found none").Add({});

  std::mutex source_mutex;
  std::function<Values()> source;

  void refresh() {
    std::function<Values()> get;
    {
      std::lock_guard lock(source_mutex);
      get = source;
    }
    if (!get) return;
    const Values values = get();
    cache_hits.Set(static_cast<double>(values.page_cache_hits));
    cache_misses.Set(static_cast<double>(values.page_cache_misses));
    for (const TimelineValues& t : values.timelines) {
      const prometheus::Labels labels = {{"tenant_id", t.tenant}, {"timeline_id", t.timeline}};
      last_record_lsn.Add(labels).Set(static_cast<double>(t.last_record_lsn));
      disk_consistent_lsn.Add(labels).Set(static_cast<double>(t.disk_consistent_lsn));
      open_layer_bytes.Add(labels).Set(static_cast<double>(t.open_layer_bytes));
      frozen_layers.Add(labels).Set(static_cast<double>(t.frozen_layers));
      delta_layers.Add(labels).Set(static_cast<double>(t.delta_layers));
      image_layers.Add(labels).Set(static_cast<double>(t.image_layers));
      layer_file_bytes.Add(labels).Set(static_cast<double>(t.layer_file_bytes));
    }
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  auto& family = prometheus::BuildHistogram()
                     .Name("pageserver_request_seconds")
                     .Help("Page service requests, from arrival to answer")
                     .Register(*impl_->registry);
  for (size_t i = 0; i < kRequests; ++i)
    impl_->request_seconds[i] = &family.Add({{"request", kRequestNames[i]}}, kSeconds);
  impl_->registry->refresh = [impl = impl_.get()] { impl->refresh(); };
}

Metrics::~Metrics() { impl_->registry->refresh = nullptr; }

void Metrics::count_record(uint8_t rmgr, uint8_t info, uint64_t bytes) {
  impl_->wal_bytes.Increment(static_cast<double>(bytes));
  const size_t row = std::min<size_t>(rmgr, pg::kLastBuiltinRmgr + 1);
  std::atomic<prometheus::Counter*>& slot = impl_->record_counters[row][info >> 4];
  prometheus::Counter* counter = slot.load(std::memory_order_acquire);
  if (!counter) {  // the same labels give the same counter, so a race is harmless
    counter = &impl_->records.Add({{"type", pg::record_type_name(rmgr, info, 15)}});
    slot.store(counter, std::memory_order_release);
  }
  counter->Increment();
}

void Metrics::count_request(Request request, std::chrono::nanoseconds total, std::chrono::nanoseconds waited) {
  impl_->request_seconds[static_cast<size_t>(request)]->Observe(std::chrono::duration<double>(total).count());
  impl_->wait_seconds.Observe(std::chrono::duration<double>(waited).count());
}

void Metrics::count_pages(uint64_t pages, uint64_t redo_refused, uint64_t failed) {
  impl_->pages.Increment(static_cast<double>(pages));
  if (redo_refused > 0) impl_->refused_by_redo.Increment(static_cast<double>(redo_refused));
  if (failed > 0) impl_->refused_otherwise.Increment(static_cast<double>(failed));
}

void Metrics::count_redo_check(bool differs) {
  impl_->redo_checked.Increment();
  if (differs) impl_->redo_differences.Increment();
}

void Metrics::count_refused_message(std::string_view reason) {
  impl_->refused_messages.Add({{"reason", std::string(reason)}}).Increment();
}

void Metrics::count_connection(int change) { impl_->connections.Increment(change); }

void Metrics::set_source(std::function<Values()> source) {
  std::lock_guard lock(impl_->source_mutex);
  impl_->source = std::move(source);
}

std::shared_ptr<prometheus::Registry> Metrics::registry() const { return impl_->registry; }

}  // namespace helium::pageserver
