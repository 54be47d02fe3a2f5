// MemoryDisk: a Disk for tests and fuzzers whose only file is one buffer, whatever the path. Reads only.

#pragma once

#include "io/disk.h"

namespace helium::layer {

class MemoryDisk : public Disk {
 public:
  explicit MemoryDisk(Bytes content) : content(std::move(content)) {}
  Bytes content;

  Status read(const std::filesystem::path&, uint64_t offset, MutableByteView to) override {
    if (offset > content.size() || to.size() > content.size() - offset) {
      return fail(ErrorCode::kTruncated, "the file ends before that");
    }
    std::copy_n(content.begin() + static_cast<ptrdiff_t>(offset), to.size(), to.begin());
    return {};
  }
  Result<Bytes> read_all(const std::filesystem::path&) override { return content; }
  Result<std::unique_ptr<WritableFile>> create_file(const std::filesystem::path&) override { return read_only(); }
  Status rename(const std::filesystem::path&, const std::filesystem::path&) override { return read_only(); }
  Status remove_file(const std::filesystem::path&) override { return read_only(); }
  Status make_folder(const std::filesystem::path&) override { return read_only(); }
  Status sync_folder(const std::filesystem::path&) override { return read_only(); }

 private:
  static std::unexpected<Error> read_only() { return fail(ErrorCode::kIo, "a memory disk is read only"); }
};

}  // namespace helium::layer
