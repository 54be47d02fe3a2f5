#include "compute/http_api.h"

#include <fmt/format.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <nlohmann/json.hpp>

#include "compute/verify.h"

namespace helium::compute {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kStopWait{60};

class ComputeMetrics : public prometheus::Registry {
 public:
  explicit ComputeMetrics(const Compute& compute) : compute_(compute) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> families;
    const auto add = [&](const char* name, const char* help, prometheus::MetricType type, double value) {
      prometheus::MetricFamily family;
      family.name = name;
      family.help = help;
      family.type = type;
      prometheus::ClientMetric metric;
      metric.counter.value = value;
      metric.gauge.value = value;
      family.metric.push_back(metric);
      families.push_back(std::move(family));
    };
    const auto gauge = [&](const char* name, const char* help, double value) {
      add(name, help, prometheus::MetricType::Gauge, value);
    };
    const auto counter = [&](const char* name, const char* help, uint64_t value) {
      add(name, help, prometheus::MetricType::Counter, static_cast<double>(value));
    };

    const Compute::State state = compute_.state();
    gauge("helium_compute_up", "1 while PostgreSQL accepts connections", state.status == ComputeStatus::kRunning);
    counter("helium_compute_restarts_total", "Lives that ended in a crash of PostgreSQL", state.restarts);
    gauge("helium_compute_start_seconds", "From the start of this life until PostgreSQL accepted connections",
          state.start_milliseconds / 1000);
    const std::shared_ptr<ComputeLife> life = compute_.life();
    if (!life || life->cache() == nullptr) return families;

    gauge("helium_compute_term", "The term that this compute writes in", static_cast<double>(life->term()));
    gauge("helium_compute_shipped_lsn", "End of the last record handed to the safekeepers",
          static_cast<double>(life->shipped_lsn().bytes()));
    gauge("helium_compute_commit_lsn", "What a majority of the safekeepers holds durably",
          static_cast<double>(life->commit_lsn().bytes()));
    const PageserverSource::Metrics pages = life->source()->metrics();
    counter("helium_compute_pages_fetched_total", "Pages that the pageserver sent", pages.pages_fetched);
    counter("helium_compute_page_errors_total", "Pages that the pageserver could not give", pages.page_errors);
    counter("helium_compute_prewarm_pages_total", "Pages fetched ahead at the start", pages.prewarm_pages);
    counter("helium_compute_prewarm_hits_total", "Pages fetched ahead and then asked for", pages.prewarm_hits);
    const PageClient::Metrics client = life->page_client()->metrics();
    counter("helium_compute_page_requests_total", "Requests to the pageserver", client.requests);
    counter("helium_compute_page_retries_total", "Requests sent again after an error", client.retries);
    counter("helium_compute_page_connects_total", "Connections made to the pageserver", client.connects);
    gauge("helium_compute_page_requests_in_flight", "Requests without an answer yet", static_cast<double>(client.in_flight));
    const vfs::CacheMetrics cache = life->cache()->metrics();
    counter("helium_compute_cache_requests_total", "Questions of PostgreSQL processes to compute_ctl", cache.requests);
    counter("helium_compute_cache_blocks_wanted_total", "Blocks that a process waited for", cache.blocks_wanted);
    counter("helium_compute_cache_blocks_readahead_total", "Blocks fetched ahead of a sequential reader", cache.blocks_readahead);
    counter("helium_compute_cache_blocks_filled_total", "Blocks written into the cache", cache.blocks_filled);
    counter("helium_compute_cache_fills_void_total", "Fetched blocks dropped, since they changed meanwhile", cache.fills_void);
    counter("helium_compute_cache_fetch_errors_total", "Fetches that failed", cache.fetch_errors);
    counter("helium_compute_cache_wait_microseconds_total", "From taking a question to answering it", cache.wait_micros);
    gauge("helium_compute_cache_arena_bytes", "Shared memory in use for block states", static_cast<double>(cache.arena_bytes_used));
    counter("helium_compute_wal_writes_total", "Writes of PostgreSQL to pg_wal", cache.wal_writes);
    counter("helium_compute_wal_syncs_total", "Syncs of PostgreSQL on pg_wal", cache.wal_syncs);
    return families;
  }

 private:
  const Compute& compute_;
};

std::string status_json(const Compute& compute) {
  const EndpointSpec& spec = compute.spec();
  const Compute::State state = compute.state();
  json body = {
      {"status", std::string(to_string(state.status))},
      {"endpoint", spec.name},
      {"tenant_id", to_string(spec.timeline.tenant)},
      {"timeline_id", to_string(spec.timeline.timeline)},
      {"pg_version", spec.pg_version},
      {"pg_port", spec.pg_address.port},
      {"pid", ::getpid()},
      {"postgres_pid", state.postgres_pid},
      {"restarts", state.restarts},
      {"start_milliseconds", state.start_milliseconds},
      {"error", state.error},
  };
  if (const std::shared_ptr<ComputeLife> life = compute.life()) {
    body["term"] = life->term();
    body["start_lsn"] = to_string(life->start_lsn());
    body["shipped_lsn"] = to_string(life->shipped_lsn());
    body["lsn"] = to_string(life->commit_lsn());
    json members = json::array();
    for (const auto& member : life->safekeepers()) {
      members.push_back({{"id", member.id}, {"connected", member.connected}, {"flush_lsn", to_string(member.flush_lsn)}});
    }
    body["safekeepers"] = members;
  }
  return body.dump();
}

http::Response stop(Compute& compute, const http::Request& request) {
  const auto mode = request.query.find("mode");
  StopMode wanted = StopMode::kFast;
  if (mode != request.query.end() && mode->second == "immediate") {
    wanted = StopMode::kImmediate;
  } else if (mode != request.query.end() && mode->second != "fast") {
    return http::error_response({ErrorCode::kInvalid, fmt::format("mode '{}' is neither fast nor immediate", mode->second)});
  }
  compute.request_stop(wanted);
  const bool ended = compute.wait_ended(std::chrono::duration_cast<std::chrono::milliseconds>(kStopWait));
  if (!ended) return http::error_response({ErrorCode::kTimeout, "PostgreSQL is still stopping; try mode=immediate"});
  return {200, json{{"status", "stopped"}}.dump()};
}

http::Response verify(Compute& compute, VerifyProgress& progress) {
  const std::shared_ptr<ComputeLife> life = compute.life();
  if (!life || compute.state().status != ComputeStatus::kRunning) {
    return http::error_response({ErrorCode::kUnavailable, "the compute is not running"});
  }
  Result<VerifyReport> report = verify_pages(*life, compute.spec(), progress);
  if (!report) return http::error_response(report.error());
  return {200, to_json(*report)};
}

}  // namespace

std::shared_ptr<prometheus::Registry> make_metrics(const Compute& compute) {
  return std::make_shared<ComputeMetrics>(compute);
}

void add_routes(http::Server& server, Compute& compute) {
  server.set_status([&compute] { return status_json(compute); });
  server.route("POST", "/v1/stop", [&compute](const http::Request& request) { return stop(compute, request); });
  const auto progress = std::make_shared<VerifyProgress>();
  server.route("POST", "/v1/verify", [&compute, progress](const http::Request&) { return verify(compute, *progress); });
  server.route("GET", "/v1/verify", [progress](const http::Request&) {
    return http::Response{200, json{{"round", progress->round.load()},
                                    {"blocks_done", progress->blocks_done.load()},
                                    {"blocks_all", progress->blocks_all.load()}}
                                   .dump()};
  });
}

}  // namespace helium::compute
