#include "io/durable_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace helium {
namespace {

[[noreturn]] void die_of_sync(std::string_view what, int error) {
  std::fprintf(stderr, "fsync of %.*s failed (%s): the page cache cannot be trusted, ending\n",
               static_cast<int>(what.size()), what.data(), std::strerror(error));
  std::abort();
}

}  // namespace

Result<Fd> open_file(const std::filesystem::path& path, int flags, int mode) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return fail_errno(fmt::format("open '{}'", path.string()), errno);
  return Fd(fd);
}

Status pread_exact(const Fd& file, MutableByteView bytes, uint64_t offset) {
  size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t n = ::pread(file.get(), bytes.data() + got, bytes.size() - got, static_cast<off_t>(offset + got));
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail_errno(fmt::format("read {} bytes at {}", bytes.size(), offset), errno);
    }
    if (n == 0) {
      return fail(ErrorCode::kTruncated, fmt::format("read {} bytes at {}: the file ends after {}", bytes.size(),
                                                     offset, offset + got));
    }
    got += static_cast<size_t>(n);
  }
  return {};
}

Status pwrite_all(const Fd& file, ByteView bytes, uint64_t offset) {
  size_t put = 0;
  while (put < bytes.size()) {
    const ssize_t n = ::pwrite(file.get(), bytes.data() + put, bytes.size() - put, static_cast<off_t>(offset + put));
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail_errno(fmt::format("write {} bytes at {}", bytes.size(), offset), errno);
    }
    put += static_cast<size_t>(n);
  }
  return {};
}

void fdatasync_or_die(const Fd& file, std::string_view what) {
  if (::fdatasync(file.get()) != 0) die_of_sync(what, errno);
}

void fsync_or_die(const Fd& file, std::string_view what) {
  if (::fsync(file.get()) != 0) die_of_sync(what, errno);
}

Status sync_folder(const std::filesystem::path& folder) {
  HELIUM_ASSIGN(const Fd fd, open_file(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY));
  fsync_or_die(fd, folder.string());
  return {};
}

Status write_durable(const std::filesystem::path& path, ByteView content) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  {
    HELIUM_ASSIGN(const Fd file, open_file(temporary, O_CREAT | O_TRUNC | O_WRONLY));
    if (Status written = pwrite_all(file, content, 0); !written) {
      ::unlink(temporary.c_str());
      return fail(std::move(written).error().context(fmt::format("write '{}'", path.string())));
    }
    fsync_or_die(file, temporary.string());
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return fail_errno(fmt::format("rename '{}' into place", temporary.string()), errno);
  }
  return sync_folder(path.parent_path());
}

Result<Bytes> read_file(const std::filesystem::path& path) {
  HELIUM_ASSIGN(const Fd file, open_file(path, O_RDONLY));
  Bytes content;
  size_t got = 0;
  while (true) {
    if (content.size() - got < 65536) content.resize(content.size() + 65536 + content.size() / 2);
    const ssize_t n = ::read(file.get(), content.data() + got, content.size() - got);
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail_errno(fmt::format("read '{}'", path.string()), errno);
    }
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  content.resize(got);
  return content;
}

Result<std::string> read_text_file(const std::filesystem::path& path) {
  HELIUM_ASSIGN(Bytes bytes, read_file(path));
  return std::string(as_text(bytes));
}

Status make_folders(const std::filesystem::path& folder) {
  if (folder.empty() || folder == "/" || std::filesystem::is_directory(folder)) return {};
  const std::filesystem::path parent = folder.parent_path();
  HELIUM_TRY(make_folders(parent));
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    return fail_errno(fmt::format("create folder '{}'", folder.string()), errno);
  }
  return sync_folder(parent);
}

}  // namespace helium
