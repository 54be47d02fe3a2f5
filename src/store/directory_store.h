// DirectoryStore: an object store in a folder: each object is a file, its key the path.
//
// For one machine, or a network file system that honours fsync, rename and link. A put writes a file under .uploads/,
// syncs it, and links or renames it to its name; then the folder is synced. So a crash at any step leaves the old
// object or the new one, and perhaps a file under .uploads/, which the next opening removes (a running writer holds a
// lock on its file, so it is left alone). Nothing else in the folder begins with '.'.
// Errors: as ObjectStore. A failed fsync ends the process (io/durable_file.h).

#pragma once

#include <filesystem>

#include "store/object_store.h"

namespace helium {

class DirectoryStore : public ObjectStore {
 public:
  // Creates the folder if it is not there.
  static Result<std::unique_ptr<DirectoryStore>> open(const std::filesystem::path& folder);

  Status put(std::string_view key, ByteView content, PutMode mode) override;
  Result<Bytes> get(std::string_view key) override;
  Status get_range(std::string_view key, uint64_t offset, MutableByteView to) override;
  Result<uint64_t> size(std::string_view key) override;
  Result<std::vector<ObjectInfo>> list(std::string_view prefix) override;
  Status remove(std::string_view key) override;
  std::string describe() const override { return folder_.string(); }

 private:
  explicit DirectoryStore(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path uploads() const { return folder_ / ".uploads"; }
  Result<std::filesystem::path> path_of(std::string_view key) const;
  Status publish(const std::filesystem::path& upload, const std::filesystem::path& path, PutMode mode);

  const std::filesystem::path folder_;
};

}  // namespace helium
