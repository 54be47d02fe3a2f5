// safekeeper: one acceptor of the WAL service.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/daemon.h"
#include "base/log.h"
#include "safekeeper/http_api.h"
#include "safekeeper/inspect.h"
#include "safekeeper/pg_server.h"
#include "safekeeper/safekeeper.h"
#include "store/directory_store.h"

namespace helium::safekeeper {
namespace {

struct Arguments {
  uint64_t id = 0;
  std::string datadir;
  HostPort pg, http;
  std::optional<HostPort> advertised_pg, advertised_http;
  std::optional<HostPort> broker;
  std::string object_store;
  uint64_t keep_wal_mb = 1024;
  uint64_t evict_idle_after = 15 * 60;
};

Result<Arguments> parse(int argc, char** argv, int& help_exit) {
  CLI::App app{"Helium safekeeper: keeps WAL durable on a majority, and serves what is committed"};
  Arguments arguments;
  std::string pg = "127.0.0.1:5454", http = "127.0.0.1:7676", broker, advertised_pg, advertised_http;
  app.add_option("--id", arguments.id, "this safekeeper's number, 1 or higher; never used by another one")->required();
  app.add_option("--datadir", arguments.datadir, "folder of its state; created if missing")->required();
  app.add_option("--listen-pg", pg, "HOST:PORT of the PostgreSQL protocol")->capture_default_str();
  app.add_option("--listen-http", http, "HOST:PORT of the management API and metrics")->capture_default_str();
  app.add_option("--advertise-pg", advertised_pg, "HOST:PORT that others reach --listen-pg at, if it is another one");
  app.add_option("--advertise-http", advertised_http, "HOST:PORT that others reach --listen-http at, likewise");
  app.add_option("--broker", broker, "HOST:PORT of the storage broker; without it, safekeepers hear from computes only");
  app.add_option("--object-store", arguments.object_store,
                 "folder that finished WAL goes to; without it, all WAL stays in --datadir for ever");
  app.add_option("--keep-wal-mb", arguments.keep_wal_mb,
                 "megabytes of offloaded WAL that stay in --datadir for readers that lag")->capture_default_str();
  app.add_option("--evict-idle-after", arguments.evict_idle_after,
                 "seconds after which a timeline that nobody uses leaves memory, and with --object-store the disk")
      ->capture_default_str();
  help_exit = -1;
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    help_exit = app.exit(done);
    return arguments;
  } catch (const CLI::ParseError& error) {
    return fail(ErrorCode::kInvalid, error.what());
  }
  if (arguments.keep_wal_mb > UINT64_MAX >> 20 || arguments.evict_idle_after > 1000ull * 365 * 86400) {
    return fail(ErrorCode::kInvalid, "--keep-wal-mb or --evict-idle-after is too large");
  }
  if (arguments.id == 0) return fail(ErrorCode::kInvalid, "--id must be 1 or higher");
  HELIUM_ASSIGN(arguments.pg, parse_host_port(pg));
  HELIUM_ASSIGN(arguments.http, parse_host_port(http));
  if (!advertised_pg.empty()) {
    HELIUM_ASSIGN(arguments.advertised_pg, parse_host_port(advertised_pg));
  }
  if (!advertised_http.empty()) {
    HELIUM_ASSIGN(arguments.advertised_http, parse_host_port(advertised_http));
  }
  if (!broker.empty()) {
    HELIUM_ASSIGN(arguments.broker, parse_host_port(broker));
  }
  return arguments;
}

Status run(const Arguments& arguments) {
  Environment environment;
  if (!arguments.object_store.empty()) {
    HELIUM_ASSIGN(environment.store, DirectoryStore::open(arguments.object_store));
  }
  HELIUM_ASSIGN(const auto safekeeper,
                Safekeeper::open({.id = arguments.id,
                                  .datadir = std::filesystem::absolute(arguments.datadir),
                                  .broker = arguments.broker,
                                  .environment = environment,
                                  .keep_wal_bytes = arguments.keep_wal_mb * 1024 * 1024,
                                  .evict_idle_after = std::chrono::seconds(arguments.evict_idle_after)}));
  PgServer pg(*safekeeper);
  HELIUM_TRY(pg.start(arguments.pg));
  // Last, so that both ports are open when /v1/status answers.
  http::Server http(safekeeper->metrics().registry());
  add_routes(http, *safekeeper);
  http.set_status([&] {
    return nlohmann::json{{"id", arguments.id},
                          {"timelines", safekeeper->timelines().size()},
                          {"object_store", environment.store ? environment.store->describe() : ""}}
        .dump();
  });
  HELIUM_TRY(http.start(arguments.http));
  safekeeper->start(arguments.advertised_pg.value_or(HostPort{arguments.pg.host, pg.port()}),
                    arguments.advertised_http.value_or(HostPort{arguments.http.host, http.port()}));
  log::info("safekeeper started", {{"id", arguments.id},
                                   {"listen_pg", to_string(HostPort{arguments.pg.host, pg.port()})},
                                   {"listen_http", to_string(HostPort{arguments.http.host, http.port()})},
                                   {"timelines", safekeeper->timelines().size()}});
  const int signal = wait_for_stop();
  log::info("safekeeper stops", {{"signal", signal}});
  http.stop();
  pg.stop();
  safekeeper->stop();
  return {};
}

}  // namespace
}  // namespace helium::safekeeper

int main(int argc, char** argv) {
  using namespace helium;
  if (const auto inspected = safekeeper::run_inspection(argc, argv)) return *inspected;
  block_stop_signals();
  int help_exit = -1;
  const auto arguments = safekeeper::parse(argc, argv, help_exit);
  if (help_exit >= 0) return help_exit;
  const Status done = arguments ? safekeeper::run(*arguments) : fail(arguments.error());
  if (done) return 0;
  std::fprintf(stderr, "safekeeper: %s\n", done.error().message.c_str());
  return 1;
}
