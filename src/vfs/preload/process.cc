#include "vfs/preload/process.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vfs/preload/real.h"

namespace helium::vfs {

Process g_process;

namespace {

constexpr uint32_t kTickMicros = 50'000;
constexpr uint64_t kCancelAfterMicros = 1'000'000;

// Copied in the constructor: PostgreSQL overwrites the memory behind environ.
constexpr int kAliases = 8;
char g_aliases[kAliases][512];
int g_alias_count = 0;

struct PostgresSymbols {
  uint64_t (*insert_lsn)() = nullptr;
  uint64_t (*replay_lsn)(uint32_t*) = nullptr;
  bool (*recovery_in_progress)() = nullptr;
  const bool* is_under_postmaster = nullptr;
  const int* postmaster_pid = nullptr;
  const volatile sig_atomic_t* query_cancel_pending = nullptr;
  const volatile sig_atomic_t* proc_die_pending = nullptr;
  const volatile uint32_t* crit_section_count = nullptr;
} g_postgres;

template <typename T>
void symbol(T& target, const char* name) {
  target = reinterpret_cast<T>(dlsym(RTLD_DEFAULT, name));
}

[[noreturn]] void refuse(const char* what, const char* detail) {
  dprintf(2, "libhelium_vfs: %s: %s\n", what, detail);
  _exit(1);
}

uint64_t now_micros() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

// Somebody wants this query (or process) out, and an ERROR here is allowed.
bool wanted_out() {
  if (g_postgres.crit_section_count == nullptr || *g_postgres.crit_section_count != 0) return false;
  return *g_postgres.query_cancel_pending != 0 || *g_postgres.proc_die_pending != 0;
}

void take_slot() {
  ArenaHeader& header = g_process.arena.header();
  for (uint32_t index = 0; index < kProcessSlots; ++index) {
    uint32_t owner = g_process.arena.slot(index).pid.load(std::memory_order_relaxed);
    if (owner != 0 && !(kill(static_cast<pid_t>(owner), 0) != 0 && errno == ESRCH)) continue;
    if (!g_process.arena.slot(index).pid.compare_exchange_strong(owner, g_process.pid)) continue;
    g_process.slot = index;
    uint32_t used = header.slots_used.load();
    while (used < index + 1 && !header.slots_used.compare_exchange_weak(used, index + 1)) {
    }
    return;
  }
  refuse("no process slot is free", "lower max_connections");
}

void copy_aliases(const char* list) {
  while (list != nullptr && *list != 0 && g_alias_count < kAliases) {
    const char* end = strchrnul(list, ':');
    const size_t size = static_cast<size_t>(end - list);
    if (size > 0 && size < sizeof g_aliases[0]) {
      memcpy(g_aliases[g_alias_count], list, size);
      g_aliases[g_alias_count++][size] = 0;
    }
    list = *end == 0 ? end : end + 1;
  }
}

void find_postgres() {
  symbol(g_postgres.insert_lsn, "GetXLogInsertRecPtr");
  symbol(g_postgres.replay_lsn, "GetXLogReplayRecPtr");
  symbol(g_postgres.recovery_in_progress, "RecoveryInProgress");
  symbol(g_postgres.is_under_postmaster, "IsUnderPostmaster");
  symbol(g_postgres.postmaster_pid, "PostmasterPid");
  symbol(g_postgres.query_cancel_pending, "QueryCancelPending");
  symbol(g_postgres.proc_die_pending, "ProcDiePending");
  symbol(g_postgres.crit_section_count, "CritSectionCount");
  if (g_postgres.query_cancel_pending == nullptr || g_postgres.proc_die_pending == nullptr)
    g_postgres.crit_section_count = nullptr;
}

// The program's calls must reach this library: what a symbol means to everybody is what it means here.
void prove_interception() {
  // The union of what PostgreSQL 14 to 18 use: preadv from 17 on, copy_file_range from 18 on, link until 15, the __x…
  // names in builds for an old libc, the others everywhere.
  static constexpr const char* kNames[] = {
      "open", "close", "read", "pread", "preadv", "__read_chk", "write", "pwrite", "pwritev", "copy_file_range",
      "ftruncate", "truncate", "posix_fallocate", "fdatasync", "fsync", "sync_file_range", "posix_fadvise", "mmap",
      "stat", "lstat", "__xstat", "__lxstat", "access", "unlink", "rename", "link", "mkdir", "rmdir", "opendir",
      "readdir", "closedir", "fopen", "fork", "_exit"};
  Dl_info mine;
  dladdr(reinterpret_cast<void*>(&prove_interception), &mine);
  for (const char* name : kNames) {
    Dl_info found;
    void* address = dlsym(RTLD_DEFAULT, name);
    if (address == nullptr || dladdr(address, &found) == 0 || found.dli_fbase != mine.dli_fbase)
      refuse("calls are not intercepted (load this library first in LD_PRELOAD)", name);
  }
  g_process.arena.header().interception.store(1);
}

void die_with_parent(pid_t parent) {
  if (!g_process.arena.header().expect_parent) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) die();  // it ended before we asked
}

int environment_fd(const char* name) {
  const char* text = getenv(name);
  if (text == nullptr || *text < '0' || *text > '9') return -1;
  const int fd = atoi(text);
  if (REAL(fcntl)(fd, F_GETFD) < 0) refuse("an inherited file descriptor is closed", name);
  REAL(fcntl)(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

__attribute__((constructor)) void start_process() {
  real::look_up_all();
  const int arena_fd = environment_fd("HELIUM_VFS_FD");
  if (arena_fd < 0) return;
  g_process.cache_fd = environment_fd("HELIUM_VFS_CACHE_FD");
  if (g_process.cache_fd < 0) refuse("HELIUM_VFS_CACHE_FD is not set", "start postgres through compute_ctl");
  copy_aliases(getenv("HELIUM_VFS_PGDATA"));
  for (const char* name : {"HELIUM_VFS_FD", "HELIUM_VFS_CACHE_FD", "HELIUM_VFS_PGDATA", "LD_PRELOAD"}) unsetenv(name);

  struct stat arena_stat;
  fstat(arena_fd, &arena_stat);
  void* base = REAL(mmap)(nullptr, static_cast<size_t>(arena_stat.st_size), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_NORESERVE, arena_fd, 0);
  if (base == MAP_FAILED) refuse("cannot map the shared arena", strerror(errno));
  madvise(base, static_cast<size_t>(arena_stat.st_size), MADV_DONTDUMP);
  const auto& header = *static_cast<const ArenaHeader*>(base);
  if (header.magic != kArenaMagic || header.version != kArenaVersion)
    refuse("the shared arena is of another version", "use programs and library of one build");
  g_process.arena = Arena(base);
  REAL(close)(arena_fd);

  g_process.pid = static_cast<uint32_t>(getpid());
  find_postgres();
  prove_interception();
  take_slot();
  die_with_parent(getppid());
  check_alive();
}

__attribute__((destructor)) void end_process() { leave(); }

// Skips a known name of the data directory; returns what follows its slash, or null.
const char* below(const char* path, const char* directory, size_t size) {
  if (strncmp(path, directory, size) != 0 || path[size] != '/') return nullptr;
  path += size;
  while (*path == '/') ++path;
  return path;
}

// /proc/self/fd/N/… and /proc/PID/fd/N/…, when that fd is the directory we are in.
const char* below_proc_fd(const char* path) {
  if (strncmp(path, "/proc/", 6) != 0) return nullptr;
  const char* p = path + 6;
  if (strncmp(p, "self", 4) == 0) {
    p += 4;
  } else {
    const char* digits = p;
    while (*p >= '0' && *p <= '9') ++p;
    if (p == digits) return nullptr;
  }
  if (strncmp(p, "/fd/", 4) != 0) return nullptr;
  p += 4;
  const char* digits = p;
  while (*p >= '0' && *p <= '9') ++p;
  char name[64];
  const size_t size = static_cast<size_t>(p - path);
  if (p == digits || *p != '/' || size >= sizeof name) return nullptr;
  memcpy(name, path, size);
  name[size] = 0;
  struct stat named, here;
  const int saved = errno;
  const bool same = REAL(stat)(name, &named) == 0 && REAL(stat)(".", &here) == 0 && named.st_dev == here.st_dev &&
                    named.st_ino == here.st_ino;
  errno = saved;
  return same ? below(path, name, size) : nullptr;
}

}  // namespace

void die() {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

void check_alive() {
  check_fence();
  if (kill(static_cast<pid_t>(g_process.arena.header().agent_pid), 0) != 0 && errno == ESRCH) die();
}

MappedPath map(const char* path) {
  if (path == nullptr) return {};
  if (*path != '/') return map_path(path);
  for (int i = 0; i < g_alias_count; ++i)
    if (const char* rest = below(path, g_aliases[i], strlen(g_aliases[i]))) return map_path(rest);
  if (const char* rest = below_proc_fd(path)) return map_path(rest);
  return {};
}

int resolve(const EntryKey& file, Cancel cancel) {
  if (file.kind == EntryKind::kSlruFile) return 0;  // all known since the bootstrap
  const Arena& arena = g_process.arena;
  const EntryKey key = relation_key(file.spcnode, file.dbnode, file.relnode);
  uint32_t relation = arena.find(key);
  for (;;) {
    if (relation != 0 && (arena.entry(relation).flags.load(std::memory_order_acquire) & kFlagResolved)) return 0;
    const uint32_t database = arena.find(database_key(file.spcnode, file.dbnode));
    if (database != 0 && (arena.entry(database).flags.load(std::memory_order_acquire) & (kFlagResolved | kFlagLocal)))
      return 0;
    if (relation == 0 && (relation = arena.find_or_add(key)) == 0) return ENOSPC;
    if (const int error = ask(MailKind::kResolve, relation, 0, cancel)) return error;
  }
}

int ask(MailKind kind, uint32_t entry, uint32_t blkno, Cancel cancel) {
  ArenaHeader& header = g_process.arena.header();
  ProcessSlot& slot = g_process.arena.slot(g_process.slot);

  // A signal handler that came while we waited may have posted, and a handler may have left us for ever: the
  // ticket tells whether the word still speaks of our request.
  MailWord posted;
  {
    HeldSignals held;
    uint32_t raw = slot.mail.load(std::memory_order_acquire);
    const MailWord before{raw};
    const auto ticket = static_cast<uint16_t>(before.ticket() + 1);
    // Idle first, under the new ticket: the agent drops what it may be reading.
    while (!slot.mail.compare_exchange_weak(raw, MailWord::make(ticket, MailState::kIdle).raw)) {
    }
    slot.kind.store(static_cast<uint32_t>(kind), std::memory_order_relaxed);
    slot.entry.store(entry, std::memory_order_relaxed);
    slot.blkno.store(blkno, std::memory_order_relaxed);
    posted = MailWord::make(ticket, MailState::kPosted);
    slot.mail.store(posted.raw, std::memory_order_release);
    header.mail_bits[g_process.slot / 64].fetch_or(uint64_t{1} << (g_process.slot % 64));
    header.doorbell.fetch_add(1);
    if (header.workers_asleep.load() != 0) futex_wake(header.doorbell, 1);
  }

  uint64_t started = 0;
  for (;;) {
    const MailWord seen{slot.mail.load(std::memory_order_acquire)};
    if (seen.ticket() != posted.ticket()) return 0;  // overwritten from a signal handler: look and ask again
    if (seen.state() == MailState::kDone) return seen.error();
    futex_wait(slot.mail, seen.raw, kTickMicros);
    check_alive();
    if (cancel == Cancel::kAllowed && wanted_out()) {
      if (started == 0) started = now_micros();
      if (now_micros() - started >= kCancelAfterMicros) return ECANCELED;
    }
  }
}

void hint(uint32_t entry, uint32_t blkno) {
  ArenaHeader& header = g_process.arena.header();
  auto& place = header.hints[header.hint_head.fetch_add(1, std::memory_order_relaxed) % ArenaHeader::kHints];
  uint64_t empty = 0;
  if (!place.compare_exchange_strong(empty, uint64_t{entry} << 32 | blkno)) return;
  header.doorbell.fetch_add(1);
  if (header.workers_asleep.load() != 0) futex_wake(header.doorbell, 1);
}

uint64_t required_lsn_now() {
  if (g_postgres.insert_lsn == nullptr || g_postgres.recovery_in_progress == nullptr ||
      g_postgres.replay_lsn == nullptr || is_postmaster())
    return 0;
  return g_postgres.recovery_in_progress() ? g_postgres.replay_lsn(nullptr) : g_postgres.insert_lsn();
}

bool is_postmaster() {
  return g_postgres.is_under_postmaster != nullptr && !*g_postgres.is_under_postmaster &&
         g_postgres.postmaster_pid != nullptr && *g_postgres.postmaster_pid == static_cast<int>(g_process.pid);
}

void pause_briefly(int round) {
  if (round < 16) {
    sched_yield();
    return;
  }
  const timespec nap{0, 50'000};
  nanosleep(&nap, nullptr);
  if (round % 1000 == 999) check_alive();
  else check_fence();
}

ShapeLock::ShapeLock(Entry& entry) : entry_(entry) {
  sigset_t all;
  sigfillset(&all);
  for (int round = 0;; ++round) {
    pthread_sigmask(SIG_SETMASK, &all, &before_);
    uint32_t owner = 0;
    if (entry_.lock.compare_exchange_strong(owner, g_process.pid, std::memory_order_acquire)) return;
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    // An owner that died inside leaves a half-done change: this PostgreSQL is about to be restarted anyway.
    if (round > 100 && kill(static_cast<pid_t>(owner), 0) != 0 && errno == ESRCH && entry_.lock.load() == owner) die();
    pause_briefly(round);
  }
}

ShapeLock::~ShapeLock() {
  entry_.lock.store(0, std::memory_order_release);
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void become_child(pid_t parent) {
  g_process.pid = static_cast<uint32_t>(getpid());
  take_slot();
  die_with_parent(parent);
}

void leave() {
  if (!g_process.active() || g_process.pid != static_cast<uint32_t>(getpid())) return;
  uint32_t mine = g_process.pid;
  g_process.arena.slot(g_process.slot).pid.compare_exchange_strong(mine, 0);
}

}  // namespace helium::vfs
