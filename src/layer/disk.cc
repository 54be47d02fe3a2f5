#include "layer/disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "io/durable_file.h"

namespace helium::layer {
namespace fs = std::filesystem;
namespace {

class RealFile : public WritableFile {
 public:
  RealFile(Fd fd, fs::path path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Status append(ByteView bytes) override {
    HELIUM_TRY(named(pwrite_all(fd_, bytes, size_)));
    size_ += bytes.size();
    return {};
  }
  Status write_at(uint64_t offset, ByteView bytes) override { return named(pwrite_all(fd_, bytes, offset)); }
  Status sync() override {
    fsync_or_die(fd_, path_.string());
    return {};
  }

 private:
  Status named(Status status) const {
    if (!status) return fail(std::move(status).error().context(fmt::format("write '{}'", path_.string())));
    return status;
  }

  Fd fd_;
  fs::path path_;
  uint64_t size_ = 0;
};

class RealDisk : public Disk {
 public:
  Result<std::unique_ptr<WritableFile>> create_file(const fs::path& path) override {
    HELIUM_ASSIGN(Fd fd, open_file(path, O_CREAT | O_TRUNC | O_WRONLY));
    return std::unique_ptr<WritableFile>(std::make_unique<RealFile>(std::move(fd), path));
  }
  Status rename(const fs::path& from, const fs::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return fail_errno(fmt::format("rename '{}'", from.string()), errno);
    return {};
  }
  Status remove_file(const fs::path& path) override {
    if (::unlink(path.c_str()) != 0) return fail_errno(fmt::format("remove '{}'", path.string()), errno);
    return {};
  }
  Status make_folder(const fs::path& path) override {
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
      return fail_errno(fmt::format("create folder '{}'", path.string()), errno);
    }
    return {};
  }
  Status sync_folder(const fs::path& path) override { return helium::sync_folder(path); }
};

}  // namespace

Status Disk::read(const fs::path& path, uint64_t offset, MutableByteView to) {
  HELIUM_ASSIGN(const Fd fd, open_file(path, O_RDONLY));
  return pread_exact(fd, to, offset);
}

Result<Bytes> Disk::read_all(const fs::path& path) { return read_file(path); }

Result<std::vector<Disk::Entry>> Disk::list_folder(const fs::path& path) {
  std::error_code error;
  fs::directory_iterator entries(path, error);
  if (error) return fail_errno(fmt::format("list folder '{}'", path.string()), error.value());
  std::vector<Entry> found;
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    struct stat status {};
    if (::stat(entries->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    found.push_back({entries->path().filename().string(), static_cast<uint64_t>(status.st_size)});
  }
  if (error) return fail_errno(fmt::format("list folder '{}'", path.string()), error.value());
  return found;
}

Status Disk::replace_file(const fs::path& path, ByteView content) {
  fs::path temporary = path;
  temporary += ".tmp";
  {
    HELIUM_ASSIGN(const std::unique_ptr<WritableFile> file, create_file(temporary));
    HELIUM_TRY(file->append(content));
    HELIUM_TRY(file->sync());
  }
  HELIUM_TRY(rename(temporary, path));
  return sync_folder(path.parent_path());
}

std::shared_ptr<Disk> real_disk() {
  static const auto disk = std::make_shared<RealDisk>();
  return disk;
}

}  // namespace helium::layer
