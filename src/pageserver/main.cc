// pageserver: keeps every version of every page, and gives them to computes.

#include <fcntl.h>
#include <sys/file.h>

#include <CLI/CLI.hpp>

#include <cstdio>

#include "base/daemon.h"
#include "base/log.h"
#include "http/server.h"
#include "io/durable_file.h"
#include "layer/block_cache.h"
#include "pageserver/api.h"
#include "pageserver/metrics.h"
#include "pageserver/page_service_server.h"
#include "pageserver/tenants.h"
#include "pageserver/verification.h"

using namespace helium;
using namespace helium::pageserver;

namespace {

struct Arguments {
  uint64_t id = 1;
  std::string data_dir;
  std::string listen_pg = "127.0.0.1:64000";
  std::string listen_http = "127.0.0.1:9898";
  std::string broker;
  std::string pg_distrib_dir;
  bool check_redo = false;
  uint64_t checkpoint_distance_mb = 64;
  uint64_t checkpoint_timeout_s = 600;
  uint64_t page_cache_mb = 64;
};

int complain(const Error& error) {
  std::fprintf(stderr, "pageserver: %s\n", error.message.c_str());
  return 1;
}

Metrics::Values metric_values(const Tenants& tenants, const PageCache& cache) {
  Metrics::Values values;
  values.page_cache_hits = cache.hits();
  values.page_cache_misses = cache.misses();
  for (const Tenants::Entry& entry : tenants.all_timelines()) {
    if (!entry.timeline) continue;
    const layer::StoreStats stats = entry.timeline->store()->stats();
    values.timelines.push_back({to_string(entry.id.tenant), to_string(entry.id.timeline),
                                entry.timeline->last_record_lsn().bytes(),
                                entry.timeline->disk_consistent_lsn().bytes(), stats.open_bytes, stats.frozen_layers,
                                stats.delta_layers, stats.image_layers, stats.layer_file_bytes});
  }
  return values;
}

// Only one pageserver may work on a data directory; the lock lives as long as the descriptor.
Result<Fd> lock_data_dir(const std::filesystem::path& data_dir) {
  HELIUM_TRY(make_folders(data_dir));
  HELIUM_ASSIGN(Fd lock, open_file(data_dir / "lock", O_RDWR | O_CREAT | O_CLOEXEC));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::kExists, "another pageserver works on " + data_dir.string() + "; stop it first");
  return lock;
}

Result<int> run(const Arguments& arguments) {
  HELIUM_ASSIGN(const HostPort listen_pg, parse_host_port(arguments.listen_pg));
  HELIUM_ASSIGN(const HostPort listen_http, parse_host_port(arguments.listen_http));
  TenantsOptions options;
  options.data_dir = arguments.data_dir;
  options.pg_distrib_dir = arguments.pg_distrib_dir;
  if (!arguments.broker.empty()) {
    HELIUM_ASSIGN(options.broker, parse_host_port(arguments.broker));
  }
  HELIUM_ASSIGN(const Fd lock, lock_data_dir(options.data_dir));

  const auto metrics = std::make_shared<Metrics>();
  const auto page_cache = std::make_shared<PageCache>(arguments.page_cache_mb << 20);
  options.timeline.checkpoint_distance_bytes = arguments.checkpoint_distance_mb << 20;
  options.timeline.checkpoint_timeout = std::chrono::seconds(arguments.checkpoint_timeout_s);
  options.timeline.check_redo = arguments.check_redo;
  options.timeline.page_cache = page_cache;
  options.timeline.metrics = metrics;
  options.store.freeze_bytes = options.timeline.checkpoint_distance_bytes;

  HELIUM_ASSIGN(const std::unique_ptr<Tenants> tenants, Tenants::open(options));
  metrics->set_source([&] { return metric_values(*tenants, *page_cache); });
  PageServiceServer page_service(*tenants, metrics);
  HELIUM_TRY(page_service.start(listen_pg));
  Verifications verifications(*tenants, metrics);
  http::Server http(metrics->registry());
  add_routes(http, *tenants, verifications, arguments.id);
  HELIUM_TRY(http.start(listen_http));

  log::info("pageserver started", {{"id", arguments.id},
                                   {"page_service", to_string(listen_pg)},
                                   {"http", to_string(listen_http)},
                                   {"check_redo", arguments.check_redo}});
  const int signal = wait_for_stop();
  log::info("pageserver stops", {{"signal", signal}});
  metrics->set_source(nullptr);
  http.stop();
  verifications.stop();
  page_service.stop();
  tenants->stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  block_stop_signals();
  Arguments arguments;
  CLI::App app("Helium's pageserver: a versioned store of pages.");
  app.add_option("--id", arguments.id, "number of this pageserver")->capture_default_str();
  app.add_option("--datadir", arguments.data_dir, "where everything is kept")->required();
  app.add_option("--listen-pg", arguments.listen_pg, "HOST:PORT of the page service")->capture_default_str();
  app.add_option("--listen-http", arguments.listen_http, "HOST:PORT of the management API")->capture_default_str();
  app.add_option("--broker", arguments.broker, "HOST:PORT of the storage broker");
  app.add_option("--pg-distrib-dir", arguments.pg_distrib_dir, "holds vNN/bin/initdb; empty: Debian's directories");
  app.add_flag("--check-redo", arguments.check_redo, "compare redo with the images of wal_consistency_checking");
  app.add_option("--checkpoint-distance-mb", arguments.checkpoint_distance_mb, "freeze the open layer at this size")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--checkpoint-timeout", arguments.checkpoint_timeout_s, "freeze it at this age, in seconds")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  app.add_option("--page-cache-mb", arguments.page_cache_mb, "memory for rebuilt pages")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const auto ended = run(arguments);
  return ended ? *ended : complain(ended.error());
}
