// helium: the command line. Commands and options are declared here; what they do is in commands.h.
//
// Exit status: 0 done, 1 it failed (one line on stderr says what to do), 2 wrong usage.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>

#include "cli/commands.h"
#include "cli/safekeeper_change.h"

namespace helium::cli {
namespace {

// Each leaf command leaves here what main() then runs, after all arguments have been checked.
using Action = std::function<Status()>;

struct CommandLine {
  CLI::App app{"Helium: serverless, branchable PostgreSQL on one machine.\n"
               "State lives in .helium in the current directory, or in $HELIUM_REPO_DIR.",
               "helium"};
  Action action;
};

CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& description) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->set_help_flag("-h,--help", "print this help");
  return command;
}

CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& description) {
  CLI::App* group = add_command(parent, name, description);
  group->require_subcommand(1);
  return group;
}

void add_mode(CLI::App* command, StopMode& mode) {
  command
      ->add_option_function<std::string>(
          "-m,--mode",
          [&mode](const std::string& text) {
            if (text != "fast" && text != "immediate") {
              throw CLI::ValidationError(fmt::format("-m {}: choose 'fast' or 'immediate'", text));
            }
            mode = text == "fast" ? StopMode::kFast : StopMode::kImmediate;
          },
          "fast: end cleanly; immediate: end at once, nothing acknowledged is lost")
      ->type_name("fast|immediate")
      ->default_str("fast");
}

void add_port(CLI::App* command, const std::string& name, uint16_t& port, const std::string& description) {
  command->add_option(name, port, description)->check(CLI::Range(1, 65535).description("PORT"))->capture_default_str();
}

void add_new_cluster(CLI::App* command, NewCluster& cluster) {
  command->add_option("--pg-version", cluster.pg_version, "major version of PostgreSQL, 14 to 18")->capture_default_str();
  CLI::Option* on = command->add_flag_callback("--data-checksums", [&cluster] { cluster.data_checksums = true; },
                                               "pages have checksums; that is so from 18 on if nothing is said");
  command->add_flag_callback("--no-data-checksums", [&cluster] { cluster.data_checksums = false; }, "they have none")
      ->excludes(on);
}

void add_cluster_commands(CommandLine& line) {
  static InitOptions init;
  CLI::App* command = add_command(line.app, "init", "create a cluster: its folder and its configuration");
  command->add_option("--num-safekeepers", init.safekeeper_count, "how many safekeepers keep the WAL")->capture_default_str();
  command->add_option("--pg-distrib-dir", init.config.pg_distrib_dir,
                      "directory that holds vNN/bin/postgres, a folder or link per major version from 14 to 18; without "
                      "it /usr/lib/postgresql, where Debian has them");
  add_port(command, "--pageserver-port", init.config.pageserver_port, "page service");
  add_port(command, "--pageserver-http-port", init.config.pageserver_http_port, "pageserver's management API and metrics");
  add_port(command, "--safekeeper-port", init.safekeeper_port, "WAL service of safekeeper 1; the others follow");
  add_port(command, "--safekeeper-http-port", init.safekeeper_http_port, "HTTP of safekeeper 1; the others follow");
  add_port(command, "--storage-broker-port", init.config.broker_port, "storage broker");
  add_port(command, "--storage-broker-http-port", init.config.broker_http_port, "storage broker's status and metrics");
  add_port(command, "--endpoint-port", init.config.endpoint_port, "first endpoint; its HTTP port is the next one, further endpoints follow in pairs");
  command->add_flag("--check-redo", init.config.check_redo,
                    "the pageserver compares its redo with the page images of wal_consistency_checking");
  command->add_option("--object-store", init.config.object_store,
                      "directory that finished WAL goes to, or 'none': then safekeepers keep all WAL; without it, "
                      "object_store in the cluster's folder");
  command->add_option("--keep-wal-mb", init.config.keep_wal_mb,
                      "megabytes of WAL that safekeepers keep for readers that lag, though it is in the object store");
  command->add_option("--evict-idle-after", init.config.evict_idle_after,
                      "seconds after which a branch that nobody uses leaves the safekeepers' memory and disks");
  command->callback([&line] { line.action = [] { return init_cluster(init); }; });

  command = add_command(line.app, "start", "start the storage daemons: broker, pageserver, safekeepers");
  command->callback([&line] { line.action = start_cluster; });

  static StopMode mode = StopMode::kFast;
  command = add_command(line.app, "stop", "stop all endpoints and all storage daemons");
  add_mode(command, mode);
  command->callback([&line] { line.action = [] { return stop_cluster(mode); }; });
}

void add_tenant_commands(CommandLine& line) {
  CLI::App* group = add_group(line.app, "tenant", "create and list tenants (a tenant owns branches)");

  static TenantCreateOptions create;
  CLI::App* command = add_command(*group, "create", "create a tenant with a first branch 'main'");
  command->add_option("--tenant-id", create.tenant_id, "32 hex digits; a new one if not given");
  command->add_option("--timeline-id", create.timeline_id, "32 hex digits for the first branch; a new one if not given");
  add_new_cluster(command, create.cluster);
  command->add_flag("--set-default", create.set_default, "use this tenant where no --tenant-id is given");
  command->callback([&line] { line.action = [] { return create_tenant_command(create); }; });

  static bool as_json = false;
  command = add_command(*group, "list", "list tenants");
  command->add_flag("--json", as_json, "as JSON");
  command->callback([&line] { line.action = [] { return list_tenants(as_json); }; });

  static std::string id;
  command = add_command(*group, "set-default", "choose the tenant that commands use without --tenant-id");
  command->add_option("--tenant-id,tenant_id", id, "the tenant")->required();
  command->callback([&line] { line.action = [] { return set_default_tenant(id); }; });
}

void add_timeline_commands(CommandLine& line) {
  CLI::App* group = add_group(line.app, "timeline", "create and list branches (a branch is a timeline with a name)");

  static TimelineCreateOptions create;
  CLI::App* command = add_command(*group, "create", "create a branch with no ancestor: an empty PostgreSQL cluster");
  command->add_option("--branch-name", create.branch_name, "its name")->required();
  command->add_option("--tenant-id", create.tenant_id, "the tenant; the default one if not given");
  command->add_option("--timeline-id", create.timeline_id, "32 hex digits; a new one if not given");
  add_new_cluster(command, create.cluster);
  command->callback([&line] { line.action = [] { return create_timeline_command(create); }; });

  static BranchOptions branch;
  command = add_command(*group, "branch", "branch off another branch, now or at an earlier LSN");
  command->add_option("--branch-name", branch.branch_name, "name of the new branch")->required();
  command->add_option("--ancestor-branch-name", branch.ancestor_branch_name, "where it leaves from")->capture_default_str();
  command->add_option("--ancestor-start-lsn", branch.ancestor_start_lsn,
                      "position in the ancestor's WAL (0/16F9A00), rounded down to the end of a transaction; without it: "
                      "everything acknowledged so far");
  command->add_option("--tenant-id", branch.tenant_id, "the tenant; the default one if not given");
  command->add_option("--timeline-id", branch.timeline_id, "32 hex digits; a new one if not given");
  command->callback([&line] { line.action = [] { return branch_timeline(branch); }; });

  static std::string tenant_id;
  static bool as_json = false;
  command = add_command(*group, "list", "show the tree of branches");
  command->add_option("--tenant-id", tenant_id, "the tenant; the default one if not given");
  command->add_flag("--json", as_json, "as JSON");
  command->callback([&line] { line.action = [] { return list_timelines(tenant_id, as_json); }; });
}

void add_endpoint_commands(CommandLine& line) {
  CLI::App* group = add_group(line.app, "endpoint", "create, start, stop and list endpoints (an endpoint is a PostgreSQL server)");
  static std::string name;

  static EndpointCreateOptions create;
  CLI::App* command = add_command(*group, "create", "register an endpoint on a branch");
  command->add_option("name", create.name, "its name")->required();
  command->add_option("--branch-name", create.branch_name, "the branch")->capture_default_str();
  command->add_option("--tenant-id", create.tenant_id, "the tenant; the default one if not given");
  command->add_option("--pg-version", create.pg_version, "major version of PostgreSQL; that of the branch if not given");
  command->add_option("--pg-port", create.pg_port, "port for clients; a free one if not given")->check(CLI::Range(1, 65535).description("PORT"));
  command->add_option("--http-port", create.http_port, "port for status and metrics; a free one if not given")
      ->check(CLI::Range(1, 65535).description("PORT"));
  command->add_option("-c", create.settings, "a PostgreSQL setting that stays with the endpoint, name=value (may be repeated)")
      ->allow_extra_args(false);
  command->callback([&line] { line.action = [] { return create_endpoint(create); }; });

  command = add_command(*group, "start", "start PostgreSQL for an endpoint; returns when it takes connections");
  command->add_option("name", name, "the endpoint")->required();
  command->callback([&line] { line.action = [] { return start_endpoint(name); }; });

  static StopMode mode = StopMode::kFast;
  static bool destroy = false;
  command = add_command(*group, "stop", "stop an endpoint");
  command->add_option("name", name, "the endpoint")->required();
  add_mode(command, mode);
  command->add_flag("--destroy", destroy, "remove its registration and everything local as well; the branch stays");
  command->callback([&line] { line.action = [] { return stop_endpoint(name, mode, destroy); }; });

  static std::string tenant_id;
  static bool as_json = false;
  command = add_command(*group, "list", "list endpoints");
  command->add_option("--tenant-id", tenant_id, "only those of this tenant");
  command->add_flag("--json", as_json, "as JSON");
  command->callback([&line] { line.action = [] { return list_endpoints(tenant_id, as_json); }; });
}

void add_safekeeper_commands(CommandLine& line) {
  static StopMode mode = StopMode::kFast;
  static SafekeeperOptions options;
  CLI::App* group = add_group(line.app, "safekeeper", "the safekeepers: start and stop one, look at them, check their files");
  const auto add_id = [](CLI::App* of) { of->add_option("id", options.id, "which safekeeper")->capture_default_str(); };
  const auto add_which = [&](CLI::App* of) {
    add_id(of);
    of->add_option("--tenant-id", options.tenant_id, "whose branch the name is; the default tenant if not given");
    of->add_flag("--json", options.as_json, "as JSON");
    return of->add_option("--timeline", options.timeline, "one timeline: 32 hex digits, or the name of a branch");
  };
  CLI::App* command = add_command(*group, "start", "start it");
  add_id(command);
  command->callback([&line] { line.action = [] { return start_safekeeper(options.id); }; });
  command = add_command(*group, "stop", "stop it; commits go on while a majority runs");
  add_id(command);
  add_mode(command, mode);
  command->callback([&line] { line.action = [] { return stop_safekeeper(options.id, mode); }; });
  command = add_command(*group, "list", "list safekeepers");
  command->add_flag("--json", options.as_json, "as JSON");
  command->callback([&line] { line.action = [] { return list_safekeepers(options.as_json); }; });
  command = add_command(*group, "status", "tell whether it runs and answers, and how far each timeline is");
  add_which(command);
  command->callback([&line] { line.action = [] { return safekeeper_status(options); }; });
  command = add_command(*group, "dump", "explain the files of one timeline: control file and segments; it may be running");
  add_which(command)->required();
  command->callback([&line] { line.action = [] { return dump_safekeeper(options); }; });
  command = add_command(*group, "verify", "read all WAL and report the first bad record of each timeline; it may be running");
  add_which(command);
  command->callback([&line] { line.action = [] { return verify_safekeeper(options); }; });
  static SafekeeperAddOptions add;
  command = add_command(*group, "add", "make and start another safekeeper, a spare one for now");
  command->add_option("--pg-port", add.pg_port, "port of its WAL service; a free one if not given");
  command->add_option("--http-port", add.http_port, "port of its HTTP; a free one if not given");
  command->callback([&line] { line.action = [] { return add_safekeeper(add); }; });
  static SafekeeperReplaceOptions replace;
  command = add_command(*group, "replace", "put one safekeeper in the place of another, which may be lost; commits go on");
  command->add_option("old", replace.old_id, "the one that leaves, alive or not")->required();
  command->add_option("new", replace.new_id, "the one that comes; made and started if there is none of that number")->required();
  command->add_flag("--abort", replace.abort, "undo a replacement that was not finished");
  command->callback([&line] { line.action = [] { return replace_safekeeper(replace); }; });
}

void add_daemon_commands(CommandLine& line) {
  static StopMode mode = StopMode::kFast;

  CLI::App* group = add_group(line.app, "pageserver", "the pageserver by itself");
  add_command(*group, "start", "start it")->callback([&line] { line.action = start_pageserver; });
  CLI::App* command = add_command(*group, "stop", "stop it; clients wait until it is back");
  add_mode(command, mode);
  command->callback([&line] { line.action = [] { return stop_pageserver(mode); }; });
  add_command(*group, "status", "tell whether it runs and answers")->callback([&line] { line.action = pageserver_status; });

  group = add_group(line.app, "storage_broker", "the storage broker by itself");
  add_command(*group, "start", "start it")->callback([&line] { line.action = start_broker; });
  command = add_command(*group, "stop", "stop it; data keeps flowing between those who know each other");
  add_mode(command, mode);
  command->callback([&line] { line.action = [] { return stop_broker(mode); }; });
  add_command(*group, "status", "tell whether it runs and answers")->callback([&line] { line.action = broker_status; });
}

void add_verify_command(CommandLine& line) {
  static VerifyOptions verify;
  static bool records_only = false, pages_only = false;
  CLI::App* command = add_command(line.app, "verify",
                                  "compare storage with PostgreSQL: each record's page image, each page; exit status 1 if they differ");
  command->add_option("name", verify.name, "an endpoint (a running one's pages are compared too), or else a branch")->required();
  command->add_option("--tenant-id", verify.tenant_id, "the tenant of a branch; the default one if not given");
  command->add_option("--from", verify.from_lsn, "WAL from here on, rounded down; the branch's start if not given");
  command->add_option("--to", verify.to_lsn, "WAL up to here, pages at it; the branch's end if not given");
  CLI::Option* records = command->add_flag("--records", records_only, "only the records");
  command->add_flag("--pages", pages_only, "only the pages")->excludes(records);
  command->add_flag("--json", verify.as_json, "as JSON");
  command->callback([&line] {
    line.action = [] {
      verify.records = !pages_only;
      verify.pages = !records_only;
      return verify_command(verify);
    };
  });
}

// The deepest command that was named, for "helium endpoint create --help".
std::string command_path(const CLI::App& app) {
  for (const CLI::App* command : app.get_subcommands()) return app.get_name() + " " + command_path(*command);
  return app.get_name();
}

int report_usage(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
  std::string what = error.what();
  what = what.substr(0, what.find('\n'));
  fmt::print(stderr, "error: {}; see '{} --help'\n", what, command_path(app));
  return 2;
}

int run(int argc, char** argv) {
  CommandLine line;
  line.app.set_help_flag("-h,--help", "print this help");
  line.app.set_version_flag("--version", "helium " HELIUM_VERSION);
  line.app.require_subcommand(1);
  add_cluster_commands(line);
  add_tenant_commands(line);
  add_timeline_commands(line);
  add_endpoint_commands(line);
  add_safekeeper_commands(line);
  add_daemon_commands(line);
  add_verify_command(line);
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report_usage(line.app, error);
  }
  const Status status = line.action();
  if (status) return 0;
  std::fflush(stdout);
  fmt::print(stderr, "error: {}\n", status.error().message);
  return 1;
}

}  // namespace
}  // namespace helium::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const int status = helium::cli::run(argc, argv);
  std::fflush(stdout);
  // A thread may still wait for a silent safekeeper: end without destructors under its feet.
  std::_Exit(status);
}
