// A program that knows nothing of the file layer and does what PostgreSQL does with files. The test that runs it
// with libhelium_vfs.so loaded writes one command per line and gets one line back:
//
//   open PATH r|rw|create|excl|trunc   fd, or -errno
//   read FD BLKNO [COUNT]              bytes, then the first byte of each block ("8192 97")
//   write FD BLKNO BYTE [COUNT]        bytes written
//   part FD OFFSET BYTE SIZE           a write inside a block
//   next FD SIZE                       read() at the position: bytes and the first one
//   size FD | stat PATH | access PATH | unlink PATH | truncate FD BLOCKS | cut PATH BLOCKS | close FD
//   sync FD | ls PATH | mkdir PATH | rmdir PATH | symlink TARGET PATH | readlink PATH | chmod PATH | map FD | copy FROM TO | slurp PATH
//   advise FD BLKNO | lsn N            the insert position that writes carry from now on
//   storm PATH BLOCKS FIRST STEP SECONDS   see below: the number of errors found
//   speed FD COUNT                     CPU nanoseconds per read of block 0
//   fsync PATH | rename FROM TO | append PATH TEXT   plain files
//   walsender 0|1 | wal                be one; the records inserted since the last question, as hex, and "flushed N"
//   forked COMMAND…                    does it in a child process
//
// It also plays PostgreSQL's part of the symbols that the library looks for.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

namespace {
uint64_t g_insert_lsn = 100;
uint64_t g_flushed = 0;
std::string g_record;
std::string g_wal;
constexpr size_t kBlock = 8192;
constexpr size_t kMost = 256 * kBlock;
char g_buffer[kMost];
}  // namespace

extern "C" {
__attribute__((visibility("default"))) uint64_t GetXLogInsertRecPtr() { return g_insert_lsn; }
__attribute__((visibility("default"))) uint64_t GetXLogReplayRecPtr(uint32_t*) { return 0; }
__attribute__((visibility("default"))) bool RecoveryInProgress() { return false; }

// Of WAL insertion, only what is registered counts; each record moves the insert position by one.
__attribute__((visibility("default"))) bool am_walsender = false;
__attribute__((visibility("default"))) void XLogBeginInsert() { g_record.clear(); }
__attribute__((visibility("default"))) void XLogRegisterData(const char* data, uint32_t size) { g_record.append(data, size); }
__attribute__((visibility("default"))) void XLogSetRecordFlags(uint8_t) {}
__attribute__((visibility("default"))) uint64_t XLogInsert(uint8_t rmgr, uint8_t) {
  static const char kDigits[] = "0123456789abcdef";
  g_wal += " " + std::to_string(rmgr) + ":";
  for (const char c : g_record) {
    g_wal += kDigits[static_cast<unsigned char>(c) >> 4];
    g_wal += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return ++g_insert_lsn;
}
__attribute__((visibility("default"))) void XLogFlush(uint64_t lsn) { g_flushed = lsn; }
}

namespace {

long or_errno(long result) { return result < 0 ? -errno : result; }

int open_flags(const std::string& word) {
  if (word == "r") return O_RDONLY;
  if (word == "create") return O_RDWR | O_CREAT;
  if (word == "excl") return O_RDWR | O_CREAT | O_EXCL;
  if (word == "trunc") return O_RDWR | O_CREAT | O_TRUNC;
  return O_RDWR;
}

std::string list(const std::string& path) {
  DIR* stream = opendir(path.c_str());
  if (stream == nullptr) return std::to_string(-errno);
  std::vector<std::string> names;
  while (const dirent* item = readdir(stream))
    if (item->d_name[0] != '.') names.push_back(item->d_name);
  closedir(stream);
  std::sort(names.begin(), names.end());
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : " ") + name;
  return all;
}

double now(clockid_t clock = CLOCK_MONOTONIC) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Owns every STEP-th block from FIRST on: writes the insert position into them and reads them back, as one
// backend after another would. Every word of a block must hold the version written last.
int storm(const std::string& path, uint32_t blocks, uint32_t first, uint32_t step, double seconds) {
  const int fd = open(path.c_str(), O_RDWR);
  if (fd < 0) return 1000000 + errno;
  std::vector<uint64_t> versions(blocks, 0);
  uint64_t block[kBlock / 8];
  int errors = 0;
  unsigned seed = first * 7919 + 1;
  const double end = now() + seconds;
  while (now() < end) {
    const uint32_t blkno = first + step * (static_cast<uint32_t>(rand_r(&seed)) % ((blocks - first + step - 1) / step));
    const off_t offset = static_cast<off_t>(blkno) * static_cast<off_t>(kBlock);
    if (rand_r(&seed) % 3 == 0) {
      g_insert_lsn += 8;
      versions[blkno] = g_insert_lsn;
      std::fill(std::begin(block), std::end(block), g_insert_lsn);
      if (pwrite(fd, block, kBlock, offset) != static_cast<ssize_t>(kBlock)) ++errors;
    } else {
      if (pread(fd, block, kBlock, offset) != static_cast<ssize_t>(kBlock)) ++errors;
      for (const uint64_t word : block)
        if (word != versions[blkno]) {
          ++errors;
          break;
        }
    }
  }
  close(fd);
  return errors;
}

std::string run(std::istringstream& in) {
  std::string verb, path, word;
  long fd = 0, blkno = 0, byte = 0, count = 1;
  in >> verb;
  if (verb == "open") {
    in >> path >> word;
    return std::to_string(or_errno(open(path.c_str(), open_flags(word), 0600)));
  }
  if (verb == "read") {
    in >> fd >> blkno;
    if (!(in >> count)) count = 1;
    const long got = or_errno(pread(static_cast<int>(fd), g_buffer, static_cast<size_t>(count) * kBlock, blkno * static_cast<long>(kBlock)));
    std::string answer = std::to_string(got);
    for (long i = 0; i * static_cast<long>(kBlock) < got; ++i) answer += " " + std::to_string(static_cast<unsigned char>(g_buffer[i * static_cast<long>(kBlock)]));
    return answer;
  }
  if (verb == "write") {
    in >> fd >> blkno >> byte;
    if (!(in >> count)) count = 1;
    memset(g_buffer, static_cast<int>(byte), static_cast<size_t>(count) * kBlock);
    return std::to_string(or_errno(pwrite(static_cast<int>(fd), g_buffer, static_cast<size_t>(count) * kBlock, blkno * static_cast<long>(kBlock))));
  }
  if (verb == "part") {
    in >> fd >> blkno >> byte >> count;
    memset(g_buffer, static_cast<int>(byte), static_cast<size_t>(count));
    return std::to_string(or_errno(pwrite(static_cast<int>(fd), g_buffer, static_cast<size_t>(count), blkno)));
  }
  if (verb == "next") {
    in >> fd >> count;
    const long got = or_errno(read(static_cast<int>(fd), g_buffer, static_cast<size_t>(count)));
    return std::to_string(got) + (got > 0 ? " " + std::to_string(static_cast<unsigned char>(g_buffer[0])) : "");
  }
  if (verb == "size") return in >> fd, std::to_string(or_errno(lseek(static_cast<int>(fd), 0, SEEK_END)));
  if (verb == "stat") {
    in >> path;
    struct stat result;
    return std::to_string(stat(path.c_str(), &result) != 0 ? -errno : static_cast<long>(result.st_size));
  }
  if (verb == "access") return in >> path, std::to_string(or_errno(access(path.c_str(), F_OK)));
  if (verb == "unlink") return in >> path, std::to_string(or_errno(unlink(path.c_str())));
  if (verb == "truncate") return in >> fd >> count, std::to_string(or_errno(ftruncate(static_cast<int>(fd), count * static_cast<long>(kBlock))));
  if (verb == "cut") return in >> path >> count, std::to_string(or_errno(truncate(path.c_str(), count * static_cast<long>(kBlock))));
  if (verb == "close") return in >> fd, std::to_string(or_errno(close(static_cast<int>(fd))));
  if (verb == "sync") return in >> fd, std::to_string(or_errno(fdatasync(static_cast<int>(fd))));
  if (verb == "fsync") {
    in >> path;
    fd = open(path.c_str(), O_RDONLY);
    if (fd < 0) return std::to_string(-errno);
    const long result = or_errno(fsync(static_cast<int>(fd)));
    close(static_cast<int>(fd));
    return std::to_string(result);
  }
  if (verb == "rename") return in >> word >> path, std::to_string(or_errno(rename(word.c_str(), path.c_str())));
  if (verb == "append") {
    in >> path >> word;
    fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    const long result = or_errno(write(static_cast<int>(fd), word.data(), word.size()));
    close(static_cast<int>(fd));
    return std::to_string(result);
  }
  if (verb == "walsender") return in >> byte, am_walsender = byte != 0, "0";
  if (verb == "wal") {
    const std::string answer = "flushed " + std::to_string(g_flushed) + g_wal;
    g_wal.clear();
    return answer;
  }
  if (verb == "ls") return in >> path, list(path);
  if (verb == "mkdir") return in >> path, std::to_string(or_errno(mkdir(path.c_str(), 0700)));
  if (verb == "rmdir") return in >> path, std::to_string(or_errno(rmdir(path.c_str())));
  if (verb == "symlink") return in >> word >> path, std::to_string(or_errno(symlink(word.c_str(), path.c_str())));
  if (verb == "chmod") return in >> path, std::to_string(or_errno(chmod(path.c_str(), 0700)));
  if (verb == "readlink") {
    in >> path;
    const ssize_t size = readlink(path.c_str(), g_buffer, 4096);
    return size < 0 ? std::to_string(-errno) : std::string(g_buffer, static_cast<size_t>(size));
  }
  if (verb == "map") {
    in >> fd;
    return std::to_string(mmap(nullptr, kBlock, PROT_READ, MAP_SHARED, static_cast<int>(fd), 0) == MAP_FAILED ? -errno : 0);
  }
  if (verb == "copy") {
    in >> fd >> blkno;
    long sum = 0;
    for (;;) {
      const long got = copy_file_range(static_cast<int>(fd), nullptr, static_cast<int>(blkno), nullptr, 1 << 20, 0);
      if (got < 0) return std::to_string(-errno);
      if (got == 0) return std::to_string(sum);
      sum += got;
    }
  }
  if (verb == "slurp") {
    in >> path;
    FILE* file = fopen(path.c_str(), "r");
    if (file == nullptr) return std::to_string(-errno);
    const size_t got = fread(g_buffer, 1, kMost, file);
    fclose(file);
    return std::to_string(got) + " " + std::to_string(static_cast<unsigned char>(g_buffer[0]));
  }
  if (verb == "advise") return in >> fd >> blkno, std::to_string(posix_fadvise(static_cast<int>(fd), blkno * static_cast<long>(kBlock), kBlock, POSIX_FADV_WILLNEED));
  if (verb == "lsn") return in >> g_insert_lsn, "0";
  if (verb == "storm") {
    uint32_t blocks, first, step;
    double seconds;
    in >> path >> blocks >> first >> step >> seconds;
    return std::to_string(storm(path, blocks, first, step, seconds));
  }
  if (verb == "speed") {
    in >> fd >> count;
    const double start = now(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < count; ++i)
      if (pread(static_cast<int>(fd), g_buffer, kBlock, 0) < 0) return "-1";
    return std::to_string(static_cast<long>((now(CLOCK_PROCESS_CPUTIME_ID) - start) * 1e9 / static_cast<double>(count)));
  }
  if (verb == "forked") {
    fflush(stdout);
    int result[2];
    if (pipe(result) != 0) return "-1";
    const pid_t child = fork();
    if (child == 0) {
      const std::string answer = run(in);
      if (write(result[1], answer.data(), answer.size()) < 0) _exit(1);
      _exit(0);
    }
    close(result[1]);
    char answer[512];
    const ssize_t got = read(result[0], answer, sizeof answer);
    close(result[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
    return std::string(answer, got > 0 ? static_cast<size_t>(got) : 0);
  }
  return "what?";
}

}  // namespace

int main() {
  char line[4096];
  while (fgets(line, sizeof line, stdin) != nullptr) {
    std::istringstream in(line);
    printf("%s\n", run(in).c_str());
    fflush(stdout);
  }
  return 0;
}
