// One PostgreSQL process as the file layer sees it: its view of the arena, its mailbox, its open files.
//
// Ownership: one global, made by the library's constructor, copied by fork (the child takes its own slot).
//   Inert (active() false) in a process without HELIUM_VFS_FD: every call goes straight to libc.
// Errors: errno values; a lost agent or a raised fence ends the process with SIGKILL.
// Threads: PostgreSQL processes have one. With several, requests of two threads only slow each other down.
// Signals: handlers may run, and leave for ever, wherever the process waits: nothing is held there.
//   HeldSignals brackets the short sections where something is.

#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>

#include "vfs/arena.h"

namespace helium::vfs {

enum class FdKind : uint8_t { kNone = 0, kBlocks = 1, kWal = 2, kWalTemp = 3 };
struct OpenFile {
  FdKind kind = FdKind::kNone;
  uint32_t entry = 0;  // kBlocks: the file. kWal: the segment's number
  uint32_t life = 0;   // kBlocks: of the file when it was opened
};

enum class Cancel : uint8_t { kNever, kAllowed };

struct Process {
  static constexpr int kFds = 1 << 16;

  Arena arena;
  uint32_t slot = 0;
  int cache_fd = -1;
  uint32_t pid = 0;
  OpenFile fds[kFds];

  bool active() const { return static_cast<bool>(arena); }
  OpenFile& file(int fd) { return fds[fd]; }
  bool tracked(int fd) const {
    return static_cast<unsigned>(fd) < static_cast<unsigned>(kFds) && fds[fd].kind != FdKind::kNone;
  }
  bool has_blocks(int fd) const {
    return static_cast<unsigned>(fd) < static_cast<unsigned>(kFds) && fds[fd].kind == FdKind::kBlocks;
  }
  bool has_wal(int fd) const {
    return static_cast<unsigned>(fd) < static_cast<unsigned>(kFds) && fds[fd].kind == FdKind::kWal;
  }
};
extern Process g_process;

// Ends the process if the fence is up. Every call into the file layer begins with it.
[[noreturn]] void die();
inline void check_fence() {
  if (g_process.arena.header().fence.load(std::memory_order_relaxed) != 0) [[unlikely]]
    die();
}
// Also ends the process when the agent is gone. For waits, once per tick.
void check_alive();

// Where a path leads: relative ones are taken from the data directory (PostgreSQL never leaves it), absolute
// ones are recognized by the directory's names. kPlain for everything that is not ours.
MappedPath map(const char* path);

// Makes every fork of the relation that `file` belongs to known. 0, or an errno.
int resolve(const EntryKey& file, Cancel cancel);
// Asks the agent and waits for the answer: 0, or an errno. ECANCELED: somebody wants the query out, and it may.
int ask(MailKind kind, uint32_t entry, uint32_t blkno, Cancel cancel);
// Advice, lost when nobody has time.
void hint(uint32_t entry, uint32_t blkno);

// The position that changes made now will be covered by: PostgreSQL's insert position, on a standby the replay
// position. 0 where there is none (the postmaster, programs that are not PostgreSQL).
uint64_t required_lsn_now();
// True in a postmaster: it lists directories only to clean up temporary files.
bool is_postmaster();

// A short pause in a wait for another process's system call.
void pause_briefly(int round);

class HeldSignals {
 public:
  HeldSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~HeldSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

 private:
  sigset_t before_;
};

// The right to change a file's shape (create, truncate, remove), with signals held. Waits with signals open.
class ShapeLock {
 public:
  explicit ShapeLock(Entry& entry);
  ~ShapeLock();
  ShapeLock(const ShapeLock&) = delete;
  ShapeLock& operator=(const ShapeLock&) = delete;

 private:
  Entry& entry_;
  sigset_t before_;
};

// After fork() in the child.
void become_child(pid_t parent);
// Gives the slot back; at exit.
void leave();

}  // namespace helium::vfs
