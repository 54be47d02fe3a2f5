// compute_ctl: runs one endpoint. See src/compute/README.md.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/daemon.h"
#include "base/log.h"
#include "compute/compute.h"
#include "compute/http_api.h"
#include "compute/privileges.h"
#include "compute/settings.h"
#include "compute/settings_trial.h"
#include "io/durable_file.h"

namespace helium::compute {
namespace {

namespace fs = std::filesystem;

Result<fs::path> own_folder() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) return fail(ErrorCode::kIo, fmt::format("find our own program: {}", error.message()));
  return self.parent_path();
}

// Opened before stepping down: the folders above it may be closed to PostgreSQL's user.
Result<Fd> open_library() {
  HELIUM_ASSIGN(const fs::path folder, own_folder());
  const fs::path path = folder / "libhelium_vfs.so";
  Result<Fd> library = open_file(path, O_RDONLY);
  if (!library) return fail(std::move(library).error().context("the file layer must lie beside compute_ctl"));
  struct stat status {};
  if (::fstat(library->get(), &status) != 0) return fail_errno(fmt::format("look at '{}'", path.string()), errno);
  if (::geteuid() == 0 && (status.st_mode & S_IROTH) == 0) {
    return fail(ErrorCode::kInvalid, fmt::format("'{0}' must be readable for PostgreSQL's user: chmod a+r {0}", path.string()));
  }
  return library;
}

// One compute_ctl per folder. The lock lasts as long as the process.
Result<Fd> lock_folder() {
  HELIUM_ASSIGN(Fd lock, open_file("compute_ctl.lock", O_CREAT | O_RDWR, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(ErrorCode::kExists, "another compute_ctl runs in this folder: stop the endpoint first");
  }
  return lock;
}

Result<EndpointSpec> read_spec() {
  HELIUM_ASSIGN(const std::string text, read_text_file("endpoint.json"));
  HELIUM_ASSIGN(EndpointSpec spec, parse_endpoint_spec(text));
  for (const auto& [name, value] : spec.settings) HELIUM_TRY(check_user_setting(name, value));
  return spec;
}

// Before the term is taken over: a compute that cannot serve must not end the one that does.
Status check_can_serve(const EndpointSpec& spec) {
  const std::string program = spec.pg_bin_dir + "/postgres";
  if (::access(program.c_str(), X_OK) != 0) return fail_errno(fmt::format("run '{}'", program), errno);
  if (Result<Fd> listener = tcp_listen(spec.pg_address); !listener) {
    return fail(std::move(listener).error().context(
        fmt::format("PostgreSQL's port {} (choose another at 'endpoint create')", spec.pg_address.port)));
  }
  if (spec.settings.empty()) return {};
  return try_settings(program, {.user = spec.settings, .pg_version = spec.pg_version, .pg_address = spec.pg_address, .floors = {}});
}

Result<int> run(const std::string& endpoint_dir) {
  const auto started = std::chrono::steady_clock::now();
  HELIUM_ASSIGN(Fd library, open_library());
  if (::chdir(endpoint_dir.c_str()) != 0) return fail_errno(fmt::format("enter the endpoint's folder '{}'", endpoint_dir), errno);
  HELIUM_ASSIGN(const EndpointSpec spec, read_spec());
  HELIUM_ASSIGN(const Fd lock, lock_folder());
  HELIUM_ASSIGN(const std::optional<RunAs> user, choose_user());
  if (user) {
    HELIUM_TRY(give_working_directory(*user));
    HELIUM_TRY(step_down(*user));
  }
  HELIUM_TRY(check_can_serve(spec));
  HELIUM_ASSIGN(Fd log, open_file("postgres.log", O_CREAT | O_WRONLY | O_APPEND, 0600));
  ::umask(0077);
  become_subreaper();

  Compute compute(Compute::Options{spec, std::move(library), std::move(log), started});
  http::Server server(make_metrics(compute));
  add_routes(server, compute);
  HELIUM_TRY(server.start(spec.http_address));
  log::info("compute_ctl started", {{"endpoint", spec.name},
                                    {"timeline", spec.timeline.timeline},
                                    {"http_port", spec.http_address.port},
                                    {"user", user ? user->name : std::string("unchanged")}});

  const int status = compute.run();
  const Compute::State state = compute.state();
  server.stop();
  if (status == kExitFailed) {
    return fail(ErrorCode::kInternal, fmt::format("endpoint {} cannot start: {}", spec.name, state.error));
  }
  log::info("compute_ctl ended", {{"status", status}});
  return status;
}

}  // namespace
}  // namespace helium::compute

constexpr int kExitUsage = 2;

int main(int argc, char** argv) {
  helium::block_stop_signals();
  CLI::App app("compute_ctl: runs one endpoint's PostgreSQL on Helium's storage");
  std::string endpoint_dir;
  app.add_option("--endpoint-dir", endpoint_dir, "the endpoint's folder; endpoint.json in it says what to run")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }

  const helium::Result<int> status = helium::compute::run(endpoint_dir);
  if (!status) {
    std::fprintf(stderr, "compute_ctl: %s\n", status.error().message.c_str());
    return helium::compute::kExitFailed;
  }
  return *status;
}
