// FaultDisk: a Disk for tests, over a real folder. It can lose power before any of its operations, and fill up.
//
// fail_once(n): operation n alone fails with kIo, without effect.
// cut_before(n): operations 0 … n-1 work; number n (an append: after a random part) and all later ones fail with kIo.
// crash(): what was not synced is partly lost: file content, new names, renames. Then open the folder with
// real_disk(). Threads: all functions are safe from any thread.

#pragma once

#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <set>

#include "io/disk.h"

namespace helium::layer {

class FaultDisk : public Disk {
 public:
  explicit FaultDisk(uint64_t seed) : random_(seed) {}

  void cut_before(uint64_t operation) {
    const std::lock_guard lock(mutex_);
    cut_before_ = operation;
  }
  void fail_once(uint64_t operation) {
    const std::lock_guard lock(mutex_);
    fail_once_ = operation;
  }
  uint64_t operations() const {
    const std::lock_guard lock(mutex_);
    return operations_;
  }
  bool is_cut() const {
    const std::lock_guard lock(mutex_);
    return operations_ > cut_before_;
  }
  void set_full(bool full) {
    const std::lock_guard lock(mutex_);
    full_ = full;
  }

  Result<std::unique_ptr<WritableFile>> create_file(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    HELIUM_TRY(step());
    const bool is_new = !std::filesystem::exists(path);
    HELIUM_ASSIGN(auto file, real_disk()->create_file(path));
    if (is_new) new_names_.insert(path);
    unsynced_[path] = 0;
    return std::unique_ptr<WritableFile>(std::make_unique<File>(*this, path, std::move(file)));
  }
  Status rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    const std::lock_guard lock(mutex_);
    HELIUM_TRY(step());
    Result<Bytes> before = real_disk()->read_all(to);
    HELIUM_TRY(real_disk()->rename(from, to));
    if (unsynced_.contains(from)) unsynced_[to] = unsynced_[from];
    unsynced_.erase(from);
    new_names_.erase(from);
    replaced_[to] = before ? std::optional<Bytes>(std::move(*before)) : std::nullopt;
    return {};
  }
  Status remove_file(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    HELIUM_TRY(step());
    unsynced_.erase(path);
    new_names_.erase(path);
    return real_disk()->remove_file(path);
  }
  Status make_folder(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    HELIUM_TRY(step());
    return real_disk()->make_folder(path);
  }
  Status sync_folder(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    HELIUM_TRY(step());
    std::erase_if(new_names_, [&](const auto& name) { return name.parent_path() == path; });
    std::erase_if(replaced_, [&](const auto& item) { return item.first.parent_path() == path; });
    return {};
  }

  // Call when nobody uses the disk any more.
  void crash() {
    const std::lock_guard lock(mutex_);
    for (const auto& [path, content] : replaced_) {
      if (random_() % 2 == 0) continue;
      unsynced_.erase(path);
      std::filesystem::remove(path);
      if (content) overwrite(path, *content);
    }
    for (const auto& [path, synced_size] : unsynced_) {
      Result<Bytes> content = real_disk()->read_all(path);
      if (!content) continue;
      if (content->size() > synced_size) content->resize(synced_size + random_() % (content->size() - synced_size + 1));
      for (size_t page = synced_size; page < content->size(); page += 4096) {  // holes where pages were not written
        if (random_() % 3 == 0) std::fill_n(content->begin() + page, std::min<size_t>(4096, content->size() - page), std::byte{});
      }
      overwrite(path, *content);
    }
    for (const auto& path : new_names_) {
      if (random_() % 2 == 0) std::filesystem::remove(path);
    }
  }

 private:
  class File : public WritableFile {
   public:
    File(FaultDisk& disk, std::filesystem::path path, std::unique_ptr<WritableFile> real)
        : disk_(disk), path_(std::move(path)), real_(std::move(real)) {}
    Status append(ByteView bytes) override {
      const std::lock_guard lock(disk_.mutex_);
      if (Status allowed = disk_.step(); !allowed) {
        (void)real_->append(bytes.first(disk_.random_() % (bytes.size() + 1)));
        return allowed;
      }
      if (disk_.full_) {
        (void)real_->append(bytes.first(bytes.size() / 2));
        return fail(ErrorCode::kNoSpace, "write '" + path_.string() + "': no space left on device");
      }
      return real_->append(bytes);
    }
    Status write_at(uint64_t offset, ByteView bytes) override {
      const std::lock_guard lock(disk_.mutex_);
      HELIUM_TRY(disk_.step());
      return real_->write_at(offset, bytes);
    }
    Status sync() override {
      const std::lock_guard lock(disk_.mutex_);
      HELIUM_TRY(disk_.step());
      disk_.unsynced_.erase(path_);
      return {};
    }

   private:
    FaultDisk& disk_;
    const std::filesystem::path path_;
    const std::unique_ptr<WritableFile> real_;
  };

  Status step() {
    const uint64_t operation = operations_++;
    if (operation == fail_once_) return fail(ErrorCode::kIo, "a passing failure");
    if (operation >= cut_before_) return fail(ErrorCode::kIo, "the power is off");
    return {};
  }
  static void overwrite(const std::filesystem::path& path, const Bytes& content) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
  }

  mutable std::mutex mutex_;
  std::mt19937_64 random_;
  uint64_t operations_ = 0;
  uint64_t cut_before_ = UINT64_MAX;
  uint64_t fail_once_ = UINT64_MAX;
  bool full_ = false;
  std::map<std::filesystem::path, uint64_t> unsynced_;  // path, bytes that are safe
  std::set<std::filesystem::path> new_names_;
  std::map<std::filesystem::path, std::optional<Bytes>> replaced_;  // what a name meant before an unsynced rename
};

}  // namespace helium::layer
