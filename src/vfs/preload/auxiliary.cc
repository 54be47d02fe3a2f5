#include "vfs/preload/auxiliary.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "pg/auxiliary_file.h"
#include "vfs/preload/process.h"
#include "vfs/preload/real.h"

namespace helium::vfs {
namespace {

using pg::AuxiliaryKind;

constexpr uint8_t kRmgrLogicalMessage = 21;
constexpr uint8_t kMarkUnimportant = 0x02;  // XLOG_MARK_UNIMPORTANT: no reason for a checkpoint
constexpr uint32_t kInProduction = 6;       // DBState
constexpr off_t kControlStateAt = 16;
constexpr size_t kPathSize = 4096;

struct WalFunctions {
  void (*begin_insert)();
  void (*register_data)(const void*, uint32_t);
  void (*set_record_flags)(uint8_t);
  uint64_t (*insert)(uint8_t, uint8_t);
  void (*flush)(uint64_t);
  const bool* am_walsender;

  bool complete() const {
    return begin_insert != nullptr && register_data != nullptr && set_record_flags != nullptr && insert != nullptr &&
           flush != nullptr && am_walsender != nullptr;
  }
};

template <typename T>
void look_up(const char* name, T& target) {
  target = reinterpret_cast<T>(dlsym(RTLD_DEFAULT, name));
}

const WalFunctions& wal_functions() {
  static WalFunctions functions;
  static bool looked = false;
  if (!looked) {
    look_up("XLogBeginInsert", functions.begin_insert);
    look_up("XLogRegisterData", functions.register_data);
    look_up("XLogSetRecordFlags", functions.set_record_flags);
    look_up("XLogInsert", functions.insert);
    look_up("XLogFlush", functions.flush);
    look_up("am_walsender", functions.am_walsender);
    looked = true;
  }
  return functions;
}

// The first bytes of a file of the data directory, as far as they fit. PostgreSQL's working directory is that.
size_t read_start(const char* name, off_t offset, char* buffer, size_t size) {
  const int fd = REAL(open)(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t got = REAL(pread)(fd, buffer, size, offset);
  REAL(close)(fd);
  return got < 0 ? 0 : static_cast<size_t>(got);
}

bool in_production() {
  uint32_t state = 0;
  return read_start("global/pg_control", kControlStateAt, reinterpret_cast<char*>(&state), sizeof state) == sizeof state &&
         state == kInProduction;
}

bool postmaster_is_stopping() {
  char text[1024];
  const size_t size = read_start("postmaster.pid", 0, text, sizeof text - 1);
  text[size] = 0;
  return strstr(text, "\nstopping") != nullptr;
}

// A walsender may outlive the backends, up to the shutdown checkpoint, behind which no record may come.
bool may_write_wal() {
  if (!g_process.active() || g_process.arena.header().auxiliary_ready.load() == 0 || is_postmaster()) return false;
  const WalFunctions& wal = wal_functions();
  return wal.complete() && in_production() && !(*wal.am_walsender && postmaster_is_stopping());
}

// Inserts the record and returns its end.
uint64_t insert(const pg::AuxiliaryMessage& message) {
  const pg::AuxiliaryHead head = pg::auxiliary_head(message);
  pg::AuxiliaryKey key;
  memcpy(key.data(), g_process.arena.header().auxiliary_key, key.size());
  const Sha256::Digest code = pg::auxiliary_code(key, head.view(), message.content);
  constexpr size_t kPrefixSize = pg::kAuxiliaryPrefix.size() + 1;
  const auto record_head = pg::logical_message_head(kPrefixSize, head.size + message.content.size() + code.size());

  const WalFunctions& wal = wal_functions();
  wal.begin_insert();
  wal.register_data(record_head.data(), record_head.size());
  wal.register_data(pg::kAuxiliaryPrefix.data(), kPrefixSize);  // a literal: its zero byte is there
  wal.register_data(head.bytes.data(), static_cast<uint32_t>(head.size));
  if (!message.content.empty()) wal.register_data(message.content.data(), static_cast<uint32_t>(message.content.size()));
  wal.register_data(code.data(), code.size());
  wal.set_record_flags(kMarkUnimportant);
  return wal.insert(kRmgrLogicalMessage, 0);
}

bool same_file(int fd, const char* name) {
  struct stat open_one, named;
  return fstat(fd, &open_one) == 0 && REAL(stat)(name, &named) == 0 && open_one.st_dev == named.st_dev &&
         open_one.st_ino == named.st_ino;
}

// The auxiliary file that a sync of this fd is about: a slot's by its folder, others by themselves. Empty: none.
struct Synced {
  char path[pg::kAuxiliaryPathMax] = {};
};
Synced file_of(int fd) {
  Synced synced;
  char link[64], target[kPathSize];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = REAL(readlink)(link, target, sizeof target - 1);
  if (size <= 0) return synced;
  target[size] = 0;
  for (const char* folder : {"/pg_replslot/", "/pg_logical/"}) {
    const char* last = nullptr;
    for (const char* at = target; (at = strstr(at, folder)) != nullptr; ++at) last = at;
    if (last == nullptr || strlen(last) + 8 >= sizeof synced.path) continue;
    const bool slot = strcmp(folder, "/pg_replslot/") == 0;
    if (!same_file(fd, last + 1)) continue;
    snprintf(synced.path, sizeof synced.path, "%s%s", last + 1, slot ? "/state" : "");
    const AuxiliaryKind kind = pg::auxiliary_kind(synced.path);
    if (kind != AuxiliaryKind::kNone && (kind == AuxiliaryKind::kSlot) == slot) return synced;
    synced.path[0] = 0;
  }
  return synced;
}

int fail_with(int error) {
  errno = error;
  return -1;
}

int carry(const char* path, int fd) {
  struct stat file;
  if (fstat(fd, &file) != 0) return -1;
  if (pg::is_auxiliary_mark(file.st_mtim, file.st_size)) return 0;
  if (file.st_size > pg::auxiliary_size_max(pg::auxiliary_kind(path))) return fail_with(EFBIG);
  const auto size = static_cast<size_t>(file.st_size);
  void* content = nullptr;
  if (size > 0) {
    content = REAL(mmap)(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (content == MAP_FAILED) return -1;
  }
  const uint64_t end = insert({path, false, {static_cast<const std::byte*>(content), size}});
  if (content != nullptr) munmap(content, size);
  wal_functions().flush(end);
  const timespec times[2] = {{0, UTIME_OMIT}, pg::auxiliary_mark(file.st_size)};
  futimens(fd, times);  // a mark less costs a message more
  return 0;
}

}  // namespace

int sync_auxiliary(int fd) {
  const int saved = errno;
  const Synced synced = file_of(fd);
  if (synced.path[0] == 0 || !may_write_wal()) {
    errno = saved;
    return 0;
  }
  const int file = REAL(open)(synced.path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    // A slot's folder that is being made has no state yet.
    if (errno != ENOENT) return -1;
    errno = saved;
    return 0;
  }
  const int result = carry(synced.path, file);
  const int error = errno;
  REAL(close)(file);
  errno = result == 0 ? saved : error;
  return result;
}

// A slot is dropped by giving its folder another name.
void note_renamed(const char* from) {
  if (strncmp(from, "pg_replslot/", 12) != 0) return;
  char path[pg::kAuxiliaryPathMax];
  const int size = snprintf(path, sizeof path, "%s/state", from);
  if (size <= 0 || static_cast<size_t>(size) >= sizeof path || pg::auxiliary_kind(path) != AuxiliaryKind::kSlot) return;
  const int saved = errno;
  if (may_write_wal()) wal_functions().flush(insert({path, true, {}}));
  errno = saved;
}

// Old snapshots and mappings. Nobody waits for it: one that stays is removed again by the next checkpoint.
void note_unlinked(const char* name) {
  if (strncmp(name, "pg_logical/", 11) != 0 || pg::auxiliary_kind(name) == AuxiliaryKind::kNone) return;
  const int saved = errno;
  if (may_write_wal()) insert({name, true, {}});
  errno = saved;
}

}  // namespace helium::vfs
