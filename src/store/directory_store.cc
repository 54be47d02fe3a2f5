#include "store/directory_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/ids.h"
#include "io/durable_file.h"

namespace helium {
namespace fs = std::filesystem;
namespace {

// Files that a crashed writer left. Whoever still writes one holds its lock.
void remove_abandoned_uploads(const fs::path& uploads) {
  std::error_code error;
  for (fs::directory_iterator entry(uploads, error), end; !error && entry != end; entry.increment(error)) {
    const Result<Fd> file = open_file(entry->path(), O_RDONLY);
    if (file && flock(file->get(), LOCK_EX | LOCK_NB) == 0) ::unlink(entry->path().c_str());
  }
}

Status list_folder(const fs::path& folder, const std::string& key_prefix, std::string_view wanted,
                   std::vector<ObjectInfo>& found) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.front() == '.') continue;
    const std::string key = key_prefix + name;
    struct stat status {};
    if (::stat(entry->path().c_str(), &status) != 0) continue;  // removed meanwhile
    if (S_ISDIR(status.st_mode)) {
      const std::string below = key + "/";
      const size_t common = std::min(below.size(), wanted.size());
      if (below.compare(0, common, wanted.substr(0, common)) == 0) {
        HELIUM_TRY(list_folder(entry->path(), below, wanted, found));
      }
    } else if (key.starts_with(wanted)) {
      found.push_back({key, static_cast<uint64_t>(status.st_size)});
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail_errno(fmt::format("list '{}'", folder.string()), error.value());
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<DirectoryStore>> DirectoryStore::open(const fs::path& folder) {
  std::unique_ptr<DirectoryStore> store(new DirectoryStore(fs::absolute(folder).lexically_normal()));
  if (Status made = make_folders(store->uploads()); !made) {
    return fail(std::move(made).error().context(fmt::format("open object store '{}'", folder.string())));
  }
  remove_abandoned_uploads(store->uploads());
  return store;
}

Result<fs::path> DirectoryStore::path_of(std::string_view key) const {
  HELIUM_TRY(check_object_key(key));
  return folder_ / key;
}

Status DirectoryStore::put(std::string_view key, ByteView content, PutMode mode) {
  HELIUM_ASSIGN(const fs::path path, path_of(key));
  if (mode == PutMode::kIfAbsent && fs::exists(path)) {
    return fail(ErrorCode::kExists, fmt::format("object '{}' exists", key));
  }
  // A store that vanished (an unmounted disk, say) is not made anew.
  if (!fs::is_directory(uploads())) {
    return fail(ErrorCode::kUnavailable, fmt::format("the object store '{}' is not there", folder_.string()));
  }
  HELIUM_TRY(make_folders(path.parent_path()));
  const fs::path upload = uploads() / hex(random_id_bytes());
  HELIUM_ASSIGN(const Fd file, open_file(upload, O_CREAT | O_EXCL | O_WRONLY));
  const auto write_and_publish = [&]() -> Status {
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) return fail_errno("lock the upload", errno);
    HELIUM_TRY(pwrite_all(file, content, 0));
    fsync_or_die(file, upload.string());
    return publish(upload, path, mode);
  };
  if (Status done = write_and_publish(); !done) {
    ::unlink(upload.c_str());
    if (done.error().code == ErrorCode::kExists) return done;
    return fail(std::move(done).error().context(fmt::format("put object '{}'", key)));
  }
  return {};
}

Status DirectoryStore::publish(const fs::path& upload, const fs::path& path, PutMode mode) {
  if (mode == PutMode::kReplace) {
    if (::rename(upload.c_str(), path.c_str()) != 0) return fail_errno("rename", errno);
  } else {
    // link() fails if the name is taken: two writers cannot both win.
    if (::link(upload.c_str(), path.c_str()) != 0) return fail_errno(path.filename().string(), errno);
    ::unlink(upload.c_str());
  }
  return sync_folder(path.parent_path());
}

Result<Bytes> DirectoryStore::get(std::string_view key) {
  HELIUM_ASSIGN(const fs::path path, path_of(key));
  return read_file(path);
}

Status DirectoryStore::get_range(std::string_view key, uint64_t offset, MutableByteView to) {
  HELIUM_ASSIGN(const fs::path path, path_of(key));
  HELIUM_ASSIGN(const Fd file, open_file(path, O_RDONLY));
  if (Status got = pread_exact(file, to, offset); !got) {
    return fail(std::move(got).error().context(fmt::format("object '{}'", key)));
  }
  return {};
}

Result<uint64_t> DirectoryStore::size(std::string_view key) {
  HELIUM_ASSIGN(const fs::path path, path_of(key));
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return fail_errno(fmt::format("object '{}'", key), errno);
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::kNotFound, fmt::format("'{}' is no object", key));
  return static_cast<uint64_t>(status.st_size);
}

Result<std::vector<ObjectInfo>> DirectoryStore::list(std::string_view prefix) {
  std::vector<ObjectInfo> found;
  HELIUM_TRY(list_folder(folder_, "", prefix, found));
  std::ranges::sort(found, {}, &ObjectInfo::key);
  return found;
}

Status DirectoryStore::remove(std::string_view key) {
  HELIUM_ASSIGN(const fs::path path, path_of(key));
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(fmt::format("remove object '{}'", key), errno);
  }
  return sync_folder(path.parent_path());
}

}  // namespace helium
