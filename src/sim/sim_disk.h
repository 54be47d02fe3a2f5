// SimDisk: a disk that forgets. What was not synced is partly lost when the power goes, as on real hardware.
//
// Content: of each page (4 KiB) written since its file's last sync, the durable version, the newest, or one in between
// survives; tears are between pages or, on some disks, between sectors (512 bytes). Names: creations, renames and
// removals since the last sync of their folder survive as a prefix, or any part of them. Faults: the power goes before
// any operation or in the middle of one (PowerCut is thrown out of it), the disk is full (what was asked for may be
// half there), bits of durable data flip.
//
// A SimDisk is the hardware; mount() is the Disk that one life of a process sees. After a power cut the old mount is
// dead: it answers errors, quietly, so that destructors may run. One thread. Memory: zeros cost nothing.

#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/disk.h"
#include "sim/random.h"

namespace helium::sim {

struct PowerCut {};

class SimDisk {
 public:
  static constexpr size_t kPage = 4096;
  static constexpr size_t kSector = 512;

  explicit SimDisk(Random& random);
  ~SimDisk();

  // A new life; the mount before is dead from now on.
  std::shared_ptr<Disk> mount();
  // The power goes: unsynced state is decided, the mount is dead. Also to be called after a PowerCut was caught.
  void cut_power();
  // The process dies, the operating system lives: nothing is lost.
  void kill_process() { ++life_; }
  // From here on a power cut no longer throws, it only makes the mount dead: for destructors.
  void closing() { quiet_cuts_ = true; }
  void lose_everything();  // a new, empty disk

  // The power goes at operation n from now (0: the next one); nullopt: not.
  void cut_at(std::optional<uint64_t> operation) { cut_at_ = operation ? std::optional(operations_ + *operation) : operation; }
  void kill_at(uint64_t operation) { kill_at_ = operations_ + operation; }  // the process dies there, not the machine
  void set_cut_chance(uint64_t one_in) { cut_one_in_ = one_in; }  // at each operation; 0: never
  void set_full(bool full) {
    full_ = full;
    full_at_.reset();
  }
  void fill_at(uint64_t operation) { full_at_ = operations_ + operation; }  // full from operation n from now on
  void stop_faults() {
    cut_one_in_ = 0;
    cut_at_.reset();
    kill_at_.reset();
    set_full(false);
  }
  uint64_t operations() const { return operations_; }

  // Planted bugs live below the seam, too: true makes an operation on that path do nothing and say that it is done.
  enum class Operation { kSync, kSyncFolder };
  std::function<bool(Operation, const std::string& path)> skips;

  // What lies on the hardware, for the checker: empty if there is no such file.
  Bytes peek(const std::string& path, uint64_t offset, size_t size) const;
  std::optional<uint64_t> size_of(const std::string& path) const;
  std::vector<std::string> files() const;
  void flip_bit(const std::string& path, uint64_t offset, int bit);

  struct Stats {
    uint64_t power_cuts = 0, lost_pages = 0, torn_pages = 0, lost_names = 0, refused_writes = 0, flipped_bits = 0;
  };
  const Stats& stats() const { return stats_; }

 private:
  class Mount;
  class Handle;
  using Page = std::array<std::byte, kPage>;
  struct Inode;
  using InodePtr = std::shared_ptr<Inode>;
  struct NameChange {
    std::string folder;
    std::string removed;  // a name that goes, if any
    std::string added;    // a name that comes, for `inode`
    InodePtr inode;
  };
  using Names = std::map<std::string, InodePtr>;

  bool alive(uint64_t life) const { return life == life_; }
  bool step(uint64_t life);  // false: the mount is dead
  bool skip(Operation operation, const std::string& path) const { return skips && skips(operation, path); }
  InodePtr find(const std::string& path) const;
  void change_names(NameChange change);
  static void copy_out(const Inode& inode, uint64_t offset, MutableByteView to);
  static void apply(Names& names, const NameChange& change);
  void write(Inode& inode, uint64_t offset, ByteView bytes);
  void sync(Inode& inode);
  void decide_content(Inode& inode, int mode);
  void decide_names();

  Random& random_;
  uint64_t life_ = 0;
  bool quiet_cuts_ = false;
  uint64_t operations_ = 0;
  std::optional<uint64_t> cut_at_, kill_at_;
  uint64_t cut_one_in_ = 0;
  bool full_ = false;
  std::optional<uint64_t> full_at_;
  uint64_t writes_ = 0;
  Names names_, durable_names_;  // by path; a folder is an inode without content
  std::vector<NameChange> pending_;
  Stats stats_;
};

}  // namespace helium::sim
