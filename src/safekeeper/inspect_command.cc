// `safekeeper dump` and `safekeeper verify`: the command line of inspect.h.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "safekeeper/inspect.h"

namespace helium::safekeeper {
namespace {

constexpr auto kProgressInterval = std::chrono::seconds(1);

struct Arguments {
  bool is_dump = false;
  std::string datadir;
  std::optional<TenantId> tenant;
  std::optional<TimelineId> timeline;
  bool as_json = false;
};

// Those that the arguments name; all if they name none.
Result<std::vector<TenantTimelineId>> choose(const Arguments& arguments) {
  HELIUM_ASSIGN(std::vector<TenantTimelineId> all, list_timelines(arguments.datadir));
  std::erase_if(all, [&](const TenantTimelineId& id) {
    return (arguments.tenant && id.tenant != *arguments.tenant) || (arguments.timeline && id.timeline != *arguments.timeline);
  });
  if (all.empty() && (arguments.tenant || arguments.timeline)) {
    return fail(ErrorCode::kNotFound, fmt::format("no such timeline in '{}'", arguments.datadir));
  }
  return all;
}

// A line on stderr each second of a long run.
class Progress {
 public:
  explicit Progress(const TenantTimelineId& id) : id_(id) {}
  void operator()(size_t done, size_t all) {
    const auto now = std::chrono::steady_clock::now();
    if (now < said_ + kProgressInterval) return;
    said_ = now;
    fmt::print(stderr, "{}: {} of {} segments read\n", to_string(id_), done, all);
  }

 private:
  const TenantTimelineId id_;
  std::chrono::steady_clock::time_point said_ = std::chrono::steady_clock::now();
};

Result<bool> inspect(const Arguments& arguments) {
  HELIUM_ASSIGN(const auto ids, choose(arguments));
  bool all_good = true;
  std::vector<TimelineReport> reports;
  for (const TenantTimelineId& id : ids) {
    TimelineReport report = inspect_timeline(arguments.datadir, id, {.with_sums = arguments.is_dump, .progress = Progress(id)});
    all_good = all_good && report.is_good();
    if (arguments.is_dump) {
      fmt::print("{}", arguments.as_json ? to_json(report) : to_text(report));
    } else if (!arguments.as_json) {
      fmt::print("{}", to_verdict(report));
      std::fflush(stdout);
    }
    report.segments.shrink_to_fit();
    reports.push_back(std::move(report));
  }
  if (!arguments.is_dump && arguments.as_json) fmt::print("{}", verdicts_json(reports));
  if (ids.empty() && !arguments.as_json) fmt::print("no timelines in '{}'\n", arguments.datadir);
  return all_good;
}

int run(const Arguments& arguments) {
  const Result<bool> good = inspect(arguments);
  std::fflush(stdout);
  if (!good) {
    fmt::print(stderr, "error: {}\n", good.error().message);
    return 1;
  }
  return *good ? 0 : 1;
}

}  // namespace

std::optional<int> run_inspection(int argc, char** argv) {
  if (argc < 2 || (std::strcmp(argv[1], "dump") != 0 && std::strcmp(argv[1], "verify") != 0)) return std::nullopt;
  Arguments arguments{.is_dump = std::strcmp(argv[1], "dump") == 0};
  CLI::App app{arguments.is_dump ? "explains one timeline's files: the control file's fields, each segment"
                                 : "reads all WAL and reports the first bad record of each timeline; exit status 1 if there is one",
               fmt::format("safekeeper {}", argv[1])};
  std::string tenant, timeline;
  app.add_option("--datadir", arguments.datadir, "the safekeeper's folder; it may be running")->required();
  app.add_option("--tenant", tenant, "32 hex digits; not needed");
  auto* which = app.add_option("--timeline", timeline, "32 hex digits");
  if (arguments.is_dump) which->required();
  app.add_flag("--json", arguments.as_json, "as JSON");
  try {
    app.parse(argc - 1, argv + 1);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  Status parsed;
  const auto take = [&](const std::string& text, auto& to, auto parse) {
    if (text.empty()) return;
    if (const auto id = parse(text)) to = *id;
    else parsed = fail(id.error());
  };
  take(tenant, arguments.tenant, parse_tenant_id);
  take(timeline, arguments.timeline, parse_timeline_id);
  if (!parsed) {
    fmt::print(stderr, "error: {}\n", parsed.error().message);
    return 2;
  }
  return run(arguments);
}

}  // namespace helium::safekeeper
