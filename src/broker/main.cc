// storage_broker: safekeepers tell it how far they are; pageservers and safekeepers hear it from it.

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>

#include "base/daemon.h"
#include "base/log.h"
#include "broker/server.h"
#include "http/server.h"

using namespace helium;

namespace {

// The broker's counts as metrics, at most a second old.
class Metrics {
 public:
  explicit Metrics(prometheus::Registry& registry)
      : entries_(gauge(registry, "helium_broker_entries", "Known pairs of timeline and safekeeper")),
        subscribers_(gauge(registry, "helium_broker_subscribers", "Open subscriptions")),
        published_(counter(registry, "helium_broker_published_total", "Values received from publishers")),
        delivered_(counter(registry, "helium_broker_delivered_total", "Values sent to subscribers")) {}

  void update(const broker::Hub::Counts& counts) {
    entries_.Set(static_cast<double>(counts.entries));
    subscribers_.Set(static_cast<double>(counts.subscribers));
    published_.Increment(static_cast<double>(counts.published) - published_.Value());
    delivered_.Increment(static_cast<double>(counts.delivered) - delivered_.Value());
  }

 private:
  static prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  static prometheus::Counter& counter(prometheus::Registry& registry, const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
  }
  prometheus::Gauge& entries_;
  prometheus::Gauge& subscribers_;
  prometheus::Counter& published_;
  prometheus::Counter& delivered_;
};

int complain(const Error& error) {
  std::fprintf(stderr, "storage_broker: %s\n", error.message.c_str());
  return 1;
}

int run(const HostPort& address, const std::optional<HostPort>& http_address) {
  auto server = broker::BrokerServer::start(address);
  if (!server) return complain(server.error());

  const auto registry = std::make_shared<prometheus::Registry>();
  http::Server http(registry);
  Metrics metrics(*registry);
  http.set_status([&] {
    const auto counts = (*server)->counts();
    return nlohmann::json{{"status", "running"}, {"entries", counts.entries}, {"subscribers", counts.subscribers}}.dump();
  });
  if (http_address) {
    if (auto started = http.start(*http_address); !started) return complain(started.error());
  }
  log::info("storage broker started", {{"listen", to_string(HostPort{address.host, (*server)->port()})}});
  int signal = 0;
  while (signal == 0) {
    metrics.update((*server)->counts());
    signal = wait_for_stop(std::chrono::seconds(1));
  }
  log::info("storage broker stops", {{"signal", signal}});
  http.stop();
  (*server)->stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  block_stop_signals();
  std::string listen = "127.0.0.1:50051", listen_http;
  CLI::App app("Helium's storage broker.");
  app.add_option("--listen", listen, "HOST:PORT for gRPC")->capture_default_str();
  app.add_option("--listen-http", listen_http, "HOST:PORT for /metrics and /v1/status");
  CLI11_PARSE(app, argc, argv);

  const auto address = parse_host_port(listen);
  if (!address) return complain(address.error());
  std::optional<HostPort> http_address;
  if (!listen_http.empty()) {
    const auto parsed = parse_host_port(listen_http);
    if (!parsed) return complain(parsed.error());
    http_address = *parsed;
  }
  return run(*address, http_address);
}
