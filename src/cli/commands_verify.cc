// verify: stored WAL and pages of a branch, and the pages of a running compute against storage's.

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/commands.h"
#include "cli/endpoints.h"
#include "cli/names.h"
#include "cli/output.h"
#include "cli/storage_api.h"
#include "cli/text.h"
#include "cli/timelines.h"
#include "http/client.h"

namespace helium::cli {
namespace {

using nlohmann::json;
using Rows = std::vector<std::vector<std::string>>;

constexpr auto kPoll = std::chrono::milliseconds(100);
constexpr int kPollsPerLine = 10;                        // of progress
constexpr Timeout kComputePatience = std::chrono::hours(24);  // every page of its cache travels once
constexpr size_t kDifferencesShown = 10;

std::atomic<bool> interrupted{false};

// What a name stands for.
struct Target {
  TenantTimelineId id;
  std::string branch_name;
  std::optional<Endpoint> running;  // an endpoint that runs
  std::vector<uint64_t> members;
};

Result<Target> find_target(Cluster& cluster, const VerifyOptions& options) {
  Target target;
  std::optional<Endpoint> endpoint;
  for (const Endpoint& each : load_endpoints(cluster))
    if (each.name == options.name && options.tenant_id.empty()) endpoint = each;
  const TenantConfig* tenant = nullptr;
  const TimelineConfig* timeline = nullptr;
  if (endpoint) {
    tenant = cluster.config.find_tenant(endpoint->tenant);
    timeline = tenant == nullptr ? nullptr : tenant->find_timeline(endpoint->timeline);
    if (timeline == nullptr)
      return fail(ErrorCode::kNotFound, fmt::format("endpoint '{}' belongs to timeline {}, which this cluster does not have",
                                                    endpoint->name, to_string(endpoint->timeline)));
    if (compute_state(cluster, *endpoint) == ComputeState::kRunning) target.running = endpoint;
  } else {
    HELIUM_ASSIGN(tenant, find_tenant(cluster.config, options.tenant_id));
    auto branch = find_branch(*tenant, options.name);
    if (!branch) return fail(std::move(branch).error().context("there is no endpoint of that name, and of branches"));
    timeline = *branch;
  }
  target.id = {tenant->id, timeline->id};
  target.branch_name = timeline->branch_name;
  target.members = timeline->members;
  return target;
}

void show_progress(const json& state) {
  const uint64_t done = state.value("done", uint64_t{0}), all = state.value("all", uint64_t{0});
  const std::string phase = state.value("state", "");
  if (phase == "records")
    fmt::print(stderr, "records: {:.1f} of {:.1f} MB of WAL read, {} differ\n", static_cast<double>(done) / 1e6,
               static_cast<double>(all) / 1e6, state.value("differences", uint64_t{0}));
  if (phase == "pages") fmt::print(stderr, "pages: {} of {} rebuilt\n", done, all);
}

// Starts the pageserver's part and waits for its end.
Result<json> verify_storage(const ClusterConfig& config, const Target& target, const VerifyOptions& options) {
  json wish{{"records", options.records}, {"pages", options.pages}, {"safekeepers", json::array()}};
  if (!options.from_lsn.empty()) wish["from_lsn"] = options.from_lsn;
  if (!options.to_lsn.empty()) wish["to_lsn"] = options.to_lsn;
  for (const uint64_t member : target.members)
    if (const SafekeeperConfig* safekeeper = config.find_safekeeper(member))
      wish["safekeepers"].push_back(to_string(config.address_for_others(*safekeeper).pg()));
  HELIUM_ASSIGN(std::string text, start_verification(config, target.id, wish.dump()));
  std::signal(SIGINT, [](int) { interrupted = true; });
  for (int polls = 1;; ++polls) {
    const json state = json::parse(text);
    const std::string phase = state.value("state", "");
    if (phase == "canceled") return fail(ErrorCode::kCanceled, "canceled");
    if (phase == "done" || phase == "failed") return state;
    if (interrupted.exchange(false)) HELIUM_TRY(cancel_verification(config, target.id));
    if (polls % kPollsPerLine == 0) show_progress(state);
    std::this_thread::sleep_for(kPoll);
    HELIUM_ASSIGN(text, verification_state(config, target.id));
  }
}

// The agent's part. Its answer comes when all is done; meanwhile it is asked how far it is.
Result<json> verify_compute(const ClusterConfig& config, const Endpoint& endpoint) {
  const HostPort agent{config.host, endpoint.http_port};
  std::atomic<bool> ended{false};
  std::thread watcher([&] {
    for (int polls = 1; !ended; ++polls) {
      std::this_thread::sleep_for(kPoll);
      if (ended || polls % kPollsPerLine != 0) continue;
      const auto answer = http::expect_ok(http::request(agent, "GET", "/v1/verify", "", std::chrono::seconds(2)));
      const json progress = answer ? json::parse(*answer, nullptr, false) : json();
      if (!progress.is_object()) continue;
      fmt::print(stderr, "compute: {} of at most {} blocks compared, round {}\n", progress.value("blocks_done", uint64_t{0}),
                 progress.value("blocks_all", uint64_t{0}), progress.value("round", uint64_t{0}));
    }
  });
  const auto answer = http::expect_ok(http::request(agent, "POST", "/v1/verify", "{}", kComputePatience));
  ended = true;
  watcher.join();
  if (!answer) return fail(Error(answer.error()).context(fmt::format("verify endpoint '{}'", endpoint.name)));
  json report = json::parse(*answer, nullptr, false);
  if (!report.is_object()) return fail(ErrorCode::kInvalid, fmt::format("endpoint '{}' gave no report", endpoint.name));
  return report;
}

std::string number(const json& object, const char* name) { return std::to_string(object.value(name, uint64_t{0})); }

void print_records(const json& state) {
  const json& records = state["records"];
  Rows rows;
  for (const auto& [type, count] : records["records"].items())
    rows.push_back({type, number(count, "compared"), number(count, "differences"), number(count, "refused"),
                    number(count, "unchecked")});
  rows.push_back({"all", number(records, "compared"), number(records, "differences"), number(records, "refused"),
                  number(records, "unchecked")});
  say("{} records of WAL from {} to {}; pages after them, compared with the records' own images:", number(records, "records_read"),
      state["from_lsn"].get<std::string>(), state["to_lsn"].get<std::string>());
  fmt::print("{}", format_table({"RECORD TYPE", "COMPARED", "DIFFER", "REFUSED", "WITHOUT IMAGE"}, rows));
  if (records.value("compared", uint64_t{0}) == 0)
    say("This WAL has no images to compare with: run the endpoint with -c wal_consistency_checking=all");
  say("");
}

void print_pages(const json& state) {
  const json& pages = state["pages"];
  Rows rows;
  for (const auto& [fork, count] : pages["by_fork"].items()) rows.push_back({fork, count.dump()});
  for (const auto& [folder, count] : pages["slru"].items()) rows.push_back({folder, count.dump()});
  say("Stored pages at {}, rebuilt and looked at, {} differ:", state["to_lsn"].get<std::string>(), number(pages, "differences"));
  fmt::print("{}", format_table({"FORK", "PAGES"}, rows));
  say("");
}

void print_compute(const json& report, const std::string& name) {
  Rows rows;
  for (const auto& [fork, count] : report["by_fork"].items()) rows.push_back({fork, count.dump()});
  rows.push_back({"SLRU", number(report, "slru_pages_compared")});
  say("Pages of compute '{}' against storage's at {}, {} differ; {} sizes compared:", name, report["lsn"].get<std::string>(),
      number(report, "differences"), number(report, "fork_sizes_compared"));
  fmt::print("{}", format_table({"FORK", "PAGES"}, rows));
  say("");
}

std::string one_line(const json& difference) {
  std::string line = difference.value("what", "");
  if (difference.contains("lsn")) line += " at " + difference["lsn"].get<std::string>();
  for (const char* field : {"record", "kind"})
    if (difference.contains(field)) line += ", " + difference[field].get<std::string>();
  return line + ": " + difference.value("detail", "");
}

}  // namespace

Status verify_command(const VerifyOptions& options) {
  for (const std::string& lsn : {options.from_lsn, options.to_lsn})
    if (!lsn.empty()) HELIUM_TRY(parse_lsn(lsn));
  HELIUM_ASSIGN(Cluster cluster, Cluster::open());
  HELIUM_ASSIGN(const Target target, find_target(cluster, options));
  HELIUM_ASSIGN(const json storage, verify_storage(cluster.config, target, options));
  const bool failed = storage.value("state", "") == "failed";
  const bool with_compute = target.running && options.pages && !failed;
  json compute;
  if (with_compute) {
    HELIUM_ASSIGN(compute, verify_compute(cluster.config, *target.running));
    compute["by_fork"] = compute.value("blocks_by_fork", json::object());
  }
  const uint64_t differences = storage.value("differences", uint64_t{0}) +
                               (with_compute ? compute.value("differences", uint64_t{0}) : 0);
  if (options.as_json) {
    json report{{"branch", target.branch_name}, {"differences", differences}, {"storage", storage}};
    if (with_compute) report["compute"] = compute;
    say("{}", report.dump(2));
  } else {
    if (options.records) print_records(storage);
    if (options.pages && !failed) print_pages(storage);
    if (with_compute) print_compute(compute, target.running->name);
    size_t shown = 0;
    for (const json* part : {&storage, static_cast<const json*>(with_compute ? &compute : nullptr)}) {
      if (part == nullptr) continue;
      for (const json& difference : part->value("first_differences", json::array()))
        if (shown++ < kDifferencesShown) say("DIFFERS {}", one_line(difference));
    }
    if (!failed && differences == 0) say("{}: no differences", options.name);
  }
  if (failed) return fail(ErrorCode::kIo, fmt::format("verify branch '{}': {}", target.branch_name, storage.value("error", "")));
  if (differences == 0) return {};
  return fail(ErrorCode::kCorrupt, fmt::format("verify '{}': {} differences: keep the cluster as it is and see docs/verify.md",
                                               options.name, differences));
}

}  // namespace helium::cli
