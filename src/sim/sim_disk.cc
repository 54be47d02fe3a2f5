#include "sim/sim_disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace helium::sim {
namespace {

std::string folder_of(const std::string& path) { return path.rfind('/') == 0 ? "/" : path.substr(0, path.rfind('/')); }

bool all_zero(ByteView bytes) {
  static const std::array<std::byte, SimDisk::kPage> zeros{};
  return std::memcmp(bytes.data(), zeros.data(), bytes.size()) == 0;
}

// What a power cut does to unsynced pages.
enum Mode { kLoseAll, kKeepAll, kPrefix, kAnyPage, kAnySector, kModes };

}  // namespace

struct SimDisk::Inode {
  struct Version {
    uint64_t write;  // number of the write that made it; 0: it is durable
    Page bytes;
  };
  bool is_folder = false;
  uint64_t size = 0, durable_size = 0;
  std::map<uint64_t, Page> pages;                     // as reads see them; what is missing is zero
  std::map<uint64_t, std::vector<Version>> unsynced;  // the durable version first, then each that was written
};

void SimDisk::copy_out(const Inode& inode, uint64_t offset, MutableByteView to) {
  std::memset(to.data(), 0, to.size());
  const uint64_t end_offset = offset + to.size();
  for (auto page = inode.pages.lower_bound(offset / kPage);
       page != inode.pages.end() && page->first * kPage < end_offset; ++page) {
    const uint64_t start = std::max(offset, page->first * kPage);
    const uint64_t end = std::min(end_offset, (page->first + 1) * kPage);
    std::memcpy(to.data() + (start - offset), page->second.data() + (start - page->first * kPage), end - start);
  }
}

SimDisk::SimDisk(Random& random) : random_(random) {}
SimDisk::~SimDisk() = default;

SimDisk::InodePtr SimDisk::find(const std::string& path) const {
  const auto found = names_.find(path);
  return found == names_.end() ? nullptr : found->second;
}

bool SimDisk::step(uint64_t life) {
  if (!alive(life)) return false;
  const uint64_t number = operations_++;
  if (full_at_ && number >= *full_at_) full_ = true;
  if (kill_at_ && number >= *kill_at_) {
    kill_process();
    if (quiet_cuts_) return false;
    throw PowerCut{};
  }
  const bool cut = (cut_at_ && number >= *cut_at_) || (cut_one_in_ != 0 && random_.one_in(cut_one_in_));
  if (!cut) return true;
  cut_power();
  if (quiet_cuts_) return false;
  throw PowerCut{};
}

void SimDisk::apply(Names& names, const NameChange& change) {
  if (!change.removed.empty()) names.erase(change.removed);
  if (!change.added.empty()) names[change.added] = change.inode;
}

void SimDisk::change_names(NameChange change) {
  apply(names_, change);
  pending_.push_back(std::move(change));
}

void SimDisk::write(Inode& inode, uint64_t offset, ByteView bytes) {
  ++writes_;
  inode.size = std::max(inode.size, offset + bytes.size());
  while (!bytes.empty()) {
    const uint64_t number = offset / kPage;
    const size_t at = offset % kPage;
    const ByteView part = bytes.first(std::min(bytes.size(), kPage - at));
    auto page = inode.pages.find(number);
    if (page != inode.pages.end() || !all_zero(part)) {
      if (page == inode.pages.end()) page = inode.pages.emplace(number, Page{}).first;
      auto& versions = inode.unsynced[number];
      if (versions.empty()) versions.push_back({0, page->second});
      std::copy(part.begin(), part.end(), page->second.begin() + static_cast<ptrdiff_t>(at));
      if (versions.size() > 6) versions.erase(versions.begin() + 1 + static_cast<ptrdiff_t>(random_.below(5)));
      versions.push_back({writes_, page->second});
    }
    offset += part.size();
    bytes = bytes.subspan(part.size());
  }
}

void SimDisk::sync(Inode& inode) {
  inode.unsynced.clear();
  inode.durable_size = inode.size;
}

void SimDisk::decide_content(Inode& inode, int mode) {
  if (inode.size != inode.durable_size && mode != kKeepAll) {
    inode.size = mode == kLoseAll ? inode.durable_size : random_.between(inode.durable_size, inode.size);
  }
  const uint64_t last_write = mode == kPrefix ? random_.below(writes_ + 1) : UINT64_MAX;
  for (auto& [number, versions] : inode.unsynced) {
    const auto pick = [&, &versions = versions]() -> const Page& {
      switch (mode) {
        case kLoseAll: return versions.front().bytes;
        case kKeepAll: return versions.back().bytes;
        case kPrefix: {
          const auto later = std::ranges::find_if(versions, [&](const auto& v) { return v.write > last_write; });
          return std::prev(later)->bytes;
        }
        default: break;
      }
      const uint64_t which = random_.below(4);  // half of the time one of the ends
      if (which == 0) return versions.front().bytes;
      if (which == 1) return versions.back().bytes;
      return versions[random_.below(versions.size())].bytes;
    };
    Page result;
    if (mode == kAnySector) {
      for (size_t at = 0; at < kPage; at += kSector) std::copy_n(pick().begin() + at, kSector, result.begin() + at);
    } else {
      result = pick();
    }
    stats_.lost_pages += result == versions.front().bytes;
    stats_.torn_pages += result != versions.front().bytes && result != versions.back().bytes;
    inode.pages[number] = result;
  }
  inode.unsynced.clear();
  // What lies behind the size is zero if the file grows again.
  for (auto page = inode.pages.lower_bound(inode.size / kPage); page != inode.pages.end();) {
    const uint64_t start = page->first * kPage;
    const size_t keep = inode.size > start ? std::min<uint64_t>(kPage, inode.size - start) : 0;
    std::fill(page->second.begin() + static_cast<ptrdiff_t>(keep), page->second.end(), std::byte{0});
    page = keep == 0 ? inode.pages.erase(page) : std::next(page);
  }
  inode.durable_size = inode.size;
}

void SimDisk::decide_names() {
  size_t prefix = pending_.size();  // a journal keeps the order; nothing says that every file system has one
  const uint64_t mode = random_.below(4);
  if (mode == 0) prefix = 0;
  if (mode == 1) prefix = random_.below(pending_.size() + 1);
  for (size_t i = 0; i < pending_.size(); ++i) {
    const bool kept = i < prefix && (mode != 2 || random_.chance(50));
    if (kept) apply(durable_names_, pending_[i]);
    else ++stats_.lost_names;
  }
  pending_.clear();
  // A file whose folder is not there is nowhere.
  for (auto name = durable_names_.begin(); name != durable_names_.end();) {
    const std::string folder = folder_of(name->first);
    name = folder != "/" && !durable_names_.contains(folder) ? durable_names_.erase(name) : std::next(name);
  }
  names_ = durable_names_;
}

void SimDisk::cut_power() {
  ++life_;
  ++stats_.power_cuts;
  cut_at_.reset();
  const int mode = static_cast<int>(random_.below(kModes));
  decide_names();
  for (auto& [path, inode] : names_) {
    if (!inode->is_folder) decide_content(*inode, mode);
  }
}

void SimDisk::lose_everything() {
  ++life_;
  names_.clear();
  durable_names_.clear();
  pending_.clear();
}

Bytes SimDisk::peek(const std::string& path, uint64_t offset, size_t size) const {
  const InodePtr inode = find(path);
  if (!inode || offset >= inode->size) return {};
  Bytes bytes(std::min<uint64_t>(size, inode->size - offset));
  copy_out(*inode, offset, bytes);
  return bytes;
}

std::optional<uint64_t> SimDisk::size_of(const std::string& path) const {
  const InodePtr inode = find(path);
  if (!inode || inode->is_folder) return std::nullopt;
  return inode->size;
}

std::vector<std::string> SimDisk::files() const {
  std::vector<std::string> all;
  for (const auto& [path, inode] : names_) {
    if (!inode->is_folder) all.push_back(path);
  }
  return all;
}

void SimDisk::flip_bit(const std::string& path, uint64_t offset, int bit) {
  const InodePtr inode = find(path);
  CHECK(inode && offset < inode->size);
  Page& page = inode->pages.try_emplace(offset / kPage, Page{}).first->second;
  page[offset % kPage] ^= std::byte(1u << bit);
  ++stats_.flipped_bits;
}

// -- what a process sees ------------------------------------------------------------------------------------------------

namespace {

std::unexpected<Error> power_is_off() { return fail(ErrorCode::kIo, "the power is off"); }
std::unexpected<Error> no_file(const std::filesystem::path& path) {
  return fail(ErrorCode::kNotFound, fmt::format("'{}': no such file", path.string()));
}
std::unexpected<Error> no_space(const std::string& path) {
  return fail(ErrorCode::kNoSpace, fmt::format("write '{}': no space left on device", path));
}

}  // namespace

// One file as one process has it open.
class SimDisk::Handle {
 public:
  Handle(SimDisk& disk, uint64_t life, std::string path, InodePtr inode)
      : disk_(disk), life_(life), path_(std::move(path)), inode_(std::move(inode)) {}

  uint64_t size() const { return inode_->size; }
  Status put(uint64_t offset, ByteView bytes) {
    if (!disk_.alive(life_)) return power_is_off();
    // The power may go in the middle of a write.
    if (disk_.cut_one_in_ != 0 || disk_.cut_at_) disk_.write(*inode_, offset, bytes.first(bytes.size() / 2));
    if (!disk_.step(life_)) return power_is_off();
    if (disk_.full_) {
      ++disk_.stats_.refused_writes;
      disk_.write(*inode_, offset, bytes.first(disk_.random_.below(bytes.size() + 1)));
      return no_space(path_);
    }
    disk_.write(*inode_, offset, bytes);
    return {};
  }
  Status get(uint64_t offset, MutableByteView to) const {
    if (!disk_.alive(life_)) return power_is_off();
    if (offset + to.size() > inode_->size) {
      return fail(ErrorCode::kTruncated, fmt::format("read {} bytes at {}: the file ends after {}", to.size(), offset,
                                                     inode_->size));
    }
    copy_out(*inode_, offset, to);
    return {};
  }
  void make_durable() {
    if (!disk_.step(life_)) return;
    if (!disk_.skip(Operation::kSync, path_)) disk_.sync(*inode_);
  }

 private:
  SimDisk& disk_;
  const uint64_t life_;
  const std::string path_;
  const InodePtr inode_;
};

class SimDisk::Mount : public Disk {
 public:
  explicit Mount(SimDisk& disk) : disk_(disk), life_(disk.life_) {}

  Result<std::unique_ptr<WritableFile>> create_file(const std::filesystem::path& path) override {
    if (!disk_.step(life_)) return power_is_off();
    return std::unique_ptr<WritableFile>(std::make_unique<Created>(Handle(disk_, life_, path.string(), create(path))));
  }
  Status rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (!disk_.step(life_)) return power_is_off();
    const InodePtr inode = disk_.find(from.string());
    if (!inode) return no_file(from);
    disk_.change_names({.folder = folder_of(to.string()), .removed = from.string(), .added = to.string(), .inode = inode});
    return {};
  }
  Status remove_file(const std::filesystem::path& path) override {
    if (!disk_.step(life_)) return power_is_off();
    if (!disk_.find(path.string())) return no_file(path);
    disk_.change_names({.folder = folder_of(path.string()), .removed = path.string(), .added = {}, .inode = nullptr});
    return {};
  }
  Status make_folder(const std::filesystem::path& path) override {
    if (!disk_.step(life_)) return power_is_off();
    if (disk_.find(path.string())) return {};
    auto inode = std::make_shared<Inode>();
    inode->is_folder = true;
    disk_.change_names({.folder = folder_of(path.string()), .removed = {}, .added = path.string(), .inode = inode});
    return {};
  }
  Status sync_folder(const std::filesystem::path& path) override {
    if (!disk_.step(life_)) return power_is_off();
    if (disk_.skip(Operation::kSyncFolder, path.string())) return {};
    std::erase_if(disk_.pending_, [&](const NameChange& change) {
      if (change.folder != path.string()) return false;
      apply(disk_.durable_names_, change);
      return true;
    });
    return {};
  }
  Status create_filled(const std::filesystem::path& path, std::span<const Piece> pieces, uint64_t size) override {
    if (!disk_.step(life_)) return power_is_off();
    const InodePtr inode = create(path);
    if (disk_.full_) {
      ++disk_.stats_.refused_writes;
      disk_.change_names({.folder = folder_of(path.string()), .removed = path.string(), .added = {}, .inode = nullptr});
      return no_space(path.string());
    }
    inode->size = size;
    for (const Piece& piece : pieces) disk_.write(*inode, piece.offset, piece.bytes);
    if (!disk_.find(path.string())) {
      disk_.change_names({.folder = folder_of(path.string()), .removed = {}, .added = path.string(), .inode = inode});
    }
    if (!disk_.step(life_)) return power_is_off();
    disk_.sync(*inode);
    return {};
  }
  Result<std::unique_ptr<OpenFile>> open_file(const std::filesystem::path& path, Access) override {
    if (!disk_.alive(life_)) return power_is_off();
    const InodePtr inode = disk_.find(path.string());
    if (!inode || inode->is_folder) return no_file(path);
    return std::unique_ptr<OpenFile>(std::make_unique<Opened>(Handle(disk_, life_, path.string(), inode)));
  }
  Status remove_tree(const std::filesystem::path& path) override {
    if (!disk_.alive(life_)) return power_is_off();
    std::vector<std::string> below;
    for (const auto& [name, inode] : disk_.names_) {
      if (name == path.string() || name.starts_with(path.string() + "/")) below.push_back(name);
    }
    for (auto name = below.rbegin(); name != below.rend(); ++name) HELIUM_TRY(remove_file(*name));
    return {};
  }
  Status make_folders(const std::filesystem::path& path) override {
    if (!disk_.alive(life_)) return power_is_off();
    if (path.empty() || path == "/" || disk_.find(path.string())) return {};
    HELIUM_TRY(make_folders(path.parent_path()));
    HELIUM_TRY(make_folder(path));
    return sync_folder(path.parent_path());
  }
  Result<std::shared_ptr<void>> lock_file(const std::filesystem::path& path) override {
    if (!disk_.find(path.string())) return no_file(path);
    return std::shared_ptr<void>(std::make_shared<int>());
  }
  bool exists(const std::filesystem::path& path) override {
    return disk_.alive(life_) && disk_.find(path.string()) != nullptr;
  }
  Status read(const std::filesystem::path& path, uint64_t offset, MutableByteView to) override {
    HELIUM_ASSIGN(const auto file, open_file(path, Access::kRead));
    return file->read_at(offset, to);
  }
  Result<Bytes> read_all(const std::filesystem::path& path) override {
    if (!disk_.alive(life_)) return power_is_off();
    const auto size = disk_.size_of(path.string());
    if (!size) return no_file(path);
    return disk_.peek(path.string(), 0, *size);
  }
  Result<std::vector<Entry>> list_folder(const std::filesystem::path& path) override {
    std::vector<Entry> found;
    HELIUM_TRY(each(path, [&](const std::string& name, const Inode& inode) {
      if (!inode.is_folder) found.push_back({name, inode.size});
    }));
    return found;
  }
  Result<std::vector<std::string>> list_folders(const std::filesystem::path& path) override {
    std::vector<std::string> found;
    HELIUM_TRY(each(path, [&](const std::string& name, const Inode& inode) {
      if (inode.is_folder) found.push_back(name);
    }));
    return found;
  }

 private:
  class Created : public WritableFile {
   public:
    explicit Created(Handle handle) : handle_(std::move(handle)) {}
    Status append(ByteView bytes) override { return handle_.put(handle_.size(), bytes); }
    Status write_at(uint64_t offset, ByteView bytes) override { return handle_.put(offset, bytes); }
    Status sync() override {
      handle_.make_durable();
      return {};
    }

   private:
    Handle handle_;
  };
  class Opened : public OpenFile {
   public:
    explicit Opened(Handle handle) : handle_(std::move(handle)) {}
    Status read_at(uint64_t offset, MutableByteView to) const override { return handle_.get(offset, to); }
    Status write_at(uint64_t offset, ByteView bytes) override { return handle_.put(offset, bytes); }
    void sync() override { handle_.make_durable(); }

   private:
    Handle handle_;
  };

  InodePtr create(const std::filesystem::path& path) {
    auto inode = std::make_shared<Inode>();
    disk_.change_names({.folder = folder_of(path.string()), .removed = {}, .added = path.string(), .inode = inode});
    return inode;
  }
  template <typename Visit>
  Status each(const std::filesystem::path& folder, const Visit& visit) {
    if (!disk_.alive(life_)) return power_is_off();
    if (!disk_.find(folder.string())) return no_file(folder);
    const std::string prefix = folder.string() + "/";
    for (auto name = disk_.names_.lower_bound(prefix); name != disk_.names_.end() && name->first.starts_with(prefix); ++name) {
      const std::string rest = name->first.substr(prefix.size());
      if (rest.find('/') == std::string::npos) visit(rest, *name->second);
    }
    return {};
  }

  SimDisk& disk_;
  const uint64_t life_;
};

std::shared_ptr<Disk> SimDisk::mount() {
  ++life_;
  quiet_cuts_ = false;
  kill_at_.reset();
  return std::make_shared<Mount>(*this);
}

}  // namespace helium::sim
