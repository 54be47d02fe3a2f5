#include "io/disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/check.h"
#include "io/durable_file.h"

namespace helium {
namespace fs = std::filesystem;
namespace {

constexpr size_t kZeroChunk = 1024 * 1024;

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

class RealOpenFile : public OpenFile {
 public:
  RealOpenFile(Fd fd, fs::path path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Status read_at(uint64_t offset, MutableByteView to) const override { return pread_exact(fd_, to, offset); }
  Status write_at(uint64_t offset, ByteView bytes) override { return pwrite_all(fd_, bytes, offset); }
  void sync() override { fdatasync_or_die(fd_, path_.string()); }

 private:
  Fd fd_;
  fs::path path_;
};

class RealDisk : public Disk {
 public:
  Result<std::unique_ptr<WritableFile>> create_file(const fs::path& path) override {
    HELIUM_ASSIGN(Fd fd, helium::open_file(path, O_CREAT | O_TRUNC | O_WRONLY));
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

Result<fs::directory_iterator> entries_of(const fs::path& path) {
  std::error_code error;
  fs::directory_iterator entries(path, error);
  if (error) return fail_errno(fmt::format("list folder '{}'", path.string()), error.value());
  return entries;
}

}  // namespace

Status Disk::create_filled(const fs::path& path, std::span<const Piece> pieces, uint64_t size) {
  static const Bytes zeros(kZeroChunk);
  const auto fill = [&]() -> Status {
    HELIUM_ASSIGN(const Fd file, helium::open_file(path, O_CREAT | O_TRUNC | O_WRONLY));
    uint64_t at = 0;
    const auto zeros_up_to = [&](uint64_t end) -> Status {
      CHECK(at <= end);
      while (at < end) {
        const ByteView part = ByteView(zeros).first(std::min<uint64_t>(kZeroChunk, end - at));
        HELIUM_TRY(pwrite_all(file, part, at));
        at += part.size();
      }
      return {};
    };
    for (const Piece& piece : pieces) {
      HELIUM_TRY(zeros_up_to(piece.offset));
      HELIUM_TRY(pwrite_all(file, piece.bytes, at));
      at += piece.bytes.size();
    }
    HELIUM_TRY(zeros_up_to(size));
    fsync_or_die(file, path.string());
    return {};
  };
  if (Status filled = fill(); !filled) {
    ::unlink(path.c_str());
    return fail(std::move(filled).error().context(fmt::format("write '{}'", path.string())));
  }
  return {};
}

Result<std::unique_ptr<OpenFile>> Disk::open_file(const fs::path& path, Access access) {
  HELIUM_ASSIGN(Fd fd, helium::open_file(path, access == Access::kRead ? O_RDONLY : O_RDWR));
  return std::unique_ptr<OpenFile>(std::make_unique<RealOpenFile>(std::move(fd), path));
}

Status Disk::remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return fail_errno(fmt::format("remove '{}'", path.string()), error.value());
  return {};
}

Status Disk::make_folders(const fs::path& path) { return helium::make_folders(path); }

Result<std::shared_ptr<void>> Disk::lock_file(const fs::path& path) {
  HELIUM_ASSIGN(Fd fd, helium::open_file(path, O_RDONLY));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(ErrorCode::kExists, fmt::format("'{}' is locked by another process", path.string()));
  }
  return std::shared_ptr<void>(std::make_shared<Fd>(std::move(fd)));
}

bool Disk::exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Status Disk::read(const fs::path& path, uint64_t offset, MutableByteView to) {
  HELIUM_ASSIGN(const Fd fd, helium::open_file(path, O_RDONLY));
  return pread_exact(fd, to, offset);
}

Result<Bytes> Disk::read_all(const fs::path& path) { return read_file(path); }

Result<std::vector<Disk::Entry>> Disk::list_folder(const fs::path& path) {
  HELIUM_ASSIGN(fs::directory_iterator entries, entries_of(path));
  std::error_code error;
  std::vector<Entry> found;
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    struct stat status {};
    if (::stat(entries->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    found.push_back({entries->path().filename().string(), static_cast<uint64_t>(status.st_size)});
  }
  if (error) return fail_errno(fmt::format("list folder '{}'", path.string()), error.value());
  return found;
}

Result<std::vector<std::string>> Disk::list_folders(const fs::path& path) {
  HELIUM_ASSIGN(fs::directory_iterator entries, entries_of(path));
  std::error_code error;
  std::vector<std::string> found;
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    std::error_code gone;
    if (entries->is_directory(gone)) found.push_back(entries->path().filename().string());
  }
  if (error) return fail_errno(fmt::format("list folder '{}'", path.string()), error.value());
  return found;
}

Status Disk::replace_file(const fs::path& path, ByteView content) {
  fs::path temporary = path;
  temporary += ".tmp";
  const auto write = [&]() -> Status {
    HELIUM_ASSIGN(const std::unique_ptr<WritableFile> file, create_file(temporary));
    HELIUM_TRY(file->append(content));
    return file->sync();
  };
  if (Status written = write(); !written) {
    (void)remove_file(temporary);  // it takes room
    return fail(std::move(written).error().context(fmt::format("replace '{}'", path.string())));
  }
  HELIUM_TRY(rename(temporary, path));
  return sync_folder(path.parent_path());
}

std::shared_ptr<Disk> real_disk() {
  static const auto disk = std::make_shared<RealDisk>();
  return disk;
}

}  // namespace helium
