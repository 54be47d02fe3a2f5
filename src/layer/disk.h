// Disk: the file operations of the layer store, as a seam. real_disk() is the operating system; tests put a disk
// there that fails, fills up, or loses power between any two operations.
//
// A failed sync of the real disk ends the process (io/durable_file.h). Errors: kNoSpace, kNotFound, kIo; kTruncated:
// a read past the end. Safe from any thread; one WritableFile belongs to one thread.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace helium::layer {

class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual Status append(ByteView bytes) = 0;
  virtual Status write_at(uint64_t offset, ByteView bytes) = 0;  // inside what was appended
  virtual Status sync() = 0;                                     // content and size are durable afterwards
};

class Disk {
 public:
  virtual ~Disk() = default;

  virtual Result<std::unique_ptr<WritableFile>> create_file(const std::filesystem::path& path) = 0;  // empties it
  virtual Status rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual Status remove_file(const std::filesystem::path& path) = 0;
  virtual Status make_folder(const std::filesystem::path& path) = 0;  // fine if it exists; not durable by itself
  virtual Status sync_folder(const std::filesystem::path& path) = 0;

  // Reads are not part of the seam's faults: damage is tested by damaging files.
  virtual Status read(const std::filesystem::path& path, uint64_t offset, MutableByteView to);
  virtual Result<Bytes> read_all(const std::filesystem::path& path);
  struct Entry {
    std::string name;
    uint64_t size;
  };
  virtual Result<std::vector<Entry>> list_folder(const std::filesystem::path& path);  // plain files only

  // New content under a temporary name, synced, renamed into place, folder synced.
  Status replace_file(const std::filesystem::path& path, ByteView content);
};

std::shared_ptr<Disk> real_disk();

}  // namespace helium::layer
