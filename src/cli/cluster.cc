#include "cli/cluster.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

#include "io/durable_file.h"

namespace helium::cli {
namespace {

namespace fs = std::filesystem;

constexpr auto kLockTimeout = std::chrono::seconds(30);

}  // namespace

Result<Cluster> Cluster::at_default_place() {
  const char* chosen = std::getenv("HELIUM_REPO_DIR");
  std::string shown = chosen != nullptr && *chosen != '\0' ? chosen : ".helium";
  std::error_code error;
  fs::path folder = fs::absolute(shown, error).lexically_normal();
  if (error) return fail(ErrorCode::kIo, fmt::format("find '{}': {}", shown, error.message()));
  if (!folder.has_filename()) folder = folder.parent_path();  // "dir/" is "dir"
  return Cluster(std::move(folder), std::move(shown));
}

Result<Cluster> Cluster::open() {
  HELIUM_ASSIGN(Cluster cluster, at_default_place());
  if (!cluster.exists()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("there is no cluster in '{}': create one with 'helium init', or point HELIUM_REPO_DIR at one",
                            cluster.shown()));
  }
  HELIUM_TRY(cluster.load());
  return cluster;
}

Result<Fd> Cluster::take_lock() const {
  HELIUM_ASSIGN(Fd lock, open_file(folder_ / "lock", O_CREAT | O_RDWR));
  const auto deadline = std::chrono::steady_clock::now() + kLockTimeout;
  while (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno(fmt::format("lock '{}'", shown_), errno);
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(ErrorCode::kTimeout,
                  fmt::format("another helium command keeps '{}' locked: wait for it to end, or stop it", shown_));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return lock;
}

Status Cluster::load() {
  HELIUM_ASSIGN(const std::string text, read_text_file(config_file()));
  Result<ClusterConfig> decoded = decode_config(text);
  if (!decoded) {
    return fail(std::move(decoded).error().context(fmt::format("read '{}/config.json'", shown_)));
  }
  config = std::move(*decoded);
  return {};
}

Status Cluster::store() const { return write_durable(config_file(), as_bytes(encode_config(config))); }

DaemonFiles Cluster::pageserver_files() const {
  const fs::path folder = folder_ / fmt::format("pageserver_{}", config.pageserver_id);
  return {folder, folder / "pageserver.pid", folder / "pageserver.log"};
}

DaemonFiles Cluster::safekeeper_files(uint64_t id) const {
  const fs::path folder = folder_ / "safekeepers" / fmt::format("sk{}", id);
  return {folder, folder / "safekeeper.pid", folder / "safekeeper.log"};
}

DaemonFiles Cluster::broker_files() const {
  return {folder_, folder_ / "storage_broker.pid", folder_ / "storage_broker.log"};
}

DaemonFiles Cluster::endpoint_files(const std::string& name) const {
  const fs::path folder = endpoints_folder() / name;
  return {folder, folder / "compute_ctl.pid", folder / "compute.log"};
}

Result<fs::path> sibling_program(std::string_view name) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) return fail(ErrorCode::kIo, fmt::format("find our own program: {}", error.message()));
  fs::path program = self.parent_path() / name;
  if (!fs::exists(program, error)) {
    return fail(ErrorCode::kNotFound,
                fmt::format("the program '{}' is missing beside '{}': build it with 'cmake --build --preset release'",
                            name, self.string()));
  }
  return program;
}

}  // namespace helium::cli
