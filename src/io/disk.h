// Disk: the file operations of what must survive a crash (layer store, WAL service), as a seam. real_disk() is the
// operating system; tests put a disk there that fails, fills up, or loses power between any two operations.
//
// Nothing is durable before it is synced: content by its file's sync(), names (creation, rename, removal) by
// sync_folder(). A failed sync of the real disk ends the process (io/durable_file.h).
// Errors: kNoSpace, kNotFound, kIo; kTruncated: a read past the end. Safe from any thread; one WritableFile or OpenFile
// belongs to one thread at a time, but OpenFile::sync() may run while another thread writes.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace helium {

// A new file that grows.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual Status append(ByteView bytes) = 0;
  virtual Status write_at(uint64_t offset, ByteView bytes) = 0;  // inside what was appended
  virtual Status sync() = 0;                                     // content and size are durable afterwards
};

// An existing file, read and changed in place. It stays readable when its name is gone.
class OpenFile {
 public:
  virtual ~OpenFile() = default;
  virtual Status read_at(uint64_t offset, MutableByteView to) const = 0;
  virtual Status write_at(uint64_t offset, ByteView bytes) = 0;  // inside its size
  virtual void sync() = 0;                                       // content is durable afterwards (fdatasync)
};

class Disk {
 public:
  virtual ~Disk() = default;

  virtual Result<std::unique_ptr<WritableFile>> create_file(const std::filesystem::path& path) = 0;  // empties it
  virtual Status rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual Status remove_file(const std::filesystem::path& path) = 0;
  virtual Status make_folder(const std::filesystem::path& path) = 0;  // fine if it exists; not durable by itself
  virtual Status sync_folder(const std::filesystem::path& path) = 0;

  // Below: what the layer store's tests do not need; by default the operating system's.

  // A file of `size` bytes: the pieces (ascending, apart) and zeros around them; its content is durable on return, its
  // name is not. Nothing is left behind by an error.
  struct Piece {
    uint64_t offset;
    ByteView bytes;
  };
  virtual Status create_filled(const std::filesystem::path& path, std::span<const Piece> pieces, uint64_t size);
  enum class Access { kRead, kReadWrite };
  virtual Result<std::unique_ptr<OpenFile>> open_file(const std::filesystem::path& path, Access access);
  virtual Status remove_tree(const std::filesystem::path& path);   // fine if it is not there
  virtual Status make_folders(const std::filesystem::path& path);  // with those above, durably; fine if they exist
  // Held as long as the result lives. Errors: kExists: another process holds it.
  virtual Result<std::shared_ptr<void>> lock_file(const std::filesystem::path& path);

  virtual bool exists(const std::filesystem::path& path);
  virtual Status read(const std::filesystem::path& path, uint64_t offset, MutableByteView to);
  virtual Result<Bytes> read_all(const std::filesystem::path& path);
  struct Entry {
    std::string name;
    uint64_t size;
  };
  virtual Result<std::vector<Entry>> list_folder(const std::filesystem::path& path);         // plain files only
  virtual Result<std::vector<std::string>> list_folders(const std::filesystem::path& path);  // folders only

  // New content under a temporary name, synced, renamed into place, folder synced: after a crash the file has the old
  // content or the new one, and the new one once this has returned.
  Status replace_file(const std::filesystem::path& path, ByteView content);
};

std::shared_ptr<Disk> real_disk();

}  // namespace helium
