// Where a cluster lies on disk, what its files are called, and the lock for changes to it.
//
// The folder is .helium in the current directory, or $HELIUM_REPO_DIR. Paths here are absolute; `shown` is the
// folder as the user knows it, for messages. Not thread safe.

#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "cli/config.h"
#include "cli/process.h"
#include "io/fd.h"

namespace helium::cli {

class Cluster {
 public:
  // What exists on disk. kNotFound when there is no cluster: says how to get one.
  static Result<Cluster> open();
  // For init: nothing is read.
  static Result<Cluster> at_default_place();

  const std::filesystem::path& folder() const { return folder_; }
  const std::string& shown() const { return shown_; }
  bool exists() const { return std::filesystem::exists(config_file()); }

  // Makes the change under the cluster's lock, on what is on disk at that moment, and stores it durably. Whatever
  // `change` returns as an error leaves the file as it was.
  template <typename Change>
  Status update(Change change) {
    HELIUM_ASSIGN(const Fd lock, take_lock());
    HELIUM_TRY(load());
    HELIUM_TRY(change(config));
    return store();
  }
  // Held until the result is destroyed. kTimeout when another command keeps it.
  Result<Fd> take_lock() const;
  // Writes `config` out, without taking the lock.
  Status store() const;
  Status load();

  DaemonFiles pageserver_files() const;
  DaemonFiles safekeeper_files(uint64_t id) const;
  DaemonFiles broker_files() const;
  DaemonFiles endpoint_files(const std::string& name) const;
  // Where finished WAL goes; nullopt: nowhere.
  std::optional<std::filesystem::path> object_store() const {
    if (config.object_store == "none") return std::nullopt;
    return config.object_store.empty() ? folder_ / "object_store" : std::filesystem::path(config.object_store);
  }
  std::filesystem::path endpoints_folder() const { return folder_ / "endpoints"; }

  ClusterConfig config;

 private:
  Cluster(std::filesystem::path folder, std::string shown) : folder_(std::move(folder)), shown_(std::move(shown)) {}

  std::filesystem::path config_file() const { return folder_ / "config.json"; }

  std::filesystem::path folder_;
  std::string shown_;
};

// A program that was built beside this one. kNotFound says how to build it.
Result<std::filesystem::path> sibling_program(std::string_view name);

}  // namespace helium::cli
