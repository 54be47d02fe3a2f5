// vfs_dir_agent: stock PostgreSQL on a data directory that is filled, block by block, from a stopped cluster.
//
//   vfs_dir_agent REMOTE WORK LIBRARY [--delay MICROS] [--export DIR] -- postgres ARGS…
//
// Makes WORK/pgdata (REMOTE without blocks) and WORK/cache, runs the program in WORK/pgdata with LIBRARY loaded and
// acknowledges WAL at once. While WORK/hold exists, storage answers no page. SIGTERM and SIGINT are passed on. When the program ends, --export writes a complete
// data directory, made of the cache and, where it has no block, of REMOTE: stock PostgreSQL must find it in
// order. Ends with the program's status. For tests: testing/run_postgres.py.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/daemon.h"
#include "base/log.h"
#include "vfs/cache_server.h"
#include "vfs/path_map.h"
#include "vfs/testing/directory_source.h"

namespace helium::vfs::testing {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string remote, work, library, export_dir;
  int delay_micros = 0;
  std::vector<char*> command;
};

pid_t spawn(const Options& options, const CacheServer& cache) {
  const pid_t child = fork();
  if (child != 0) return child;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int fd : cache.inherited_fds()) fcntl(fd, F_SETFD, 0);
  for (const std::string& item : cache.child_environment()) putenv(strdup(item.c_str()));
  setenv("LD_PRELOAD", options.library.c_str(), 1);
  if (chdir((options.work + "/pgdata").c_str()) != 0) _exit(126);
  std::vector<char*> command = options.command;
  command.push_back(nullptr);
  execvp(command[0], command.data());
  _exit(127);
}

// The whole data directory as PostgreSQL saw it last.
Status export_directory(CacheServer& cache, PageSource& source, const Options& options) {
  const std::string& to = options.export_dir;
  fs::copy(options.work + "/pgdata", to, fs::copy_options::recursive);
  fs::permissions(to, fs::perms::owner_all);
  // What nobody ever looked at is as storage has it: make it known, then everything is in the cache's books.
  for (const auto& item : fs::directory_iterator(options.remote + "/base"))
    for (const auto& file : fs::directory_iterator(item.path())) {
      const std::string relative = fs::relative(file.path(), options.remote).string();
      const MappedPath path = map_path(relative.c_str());
      if (path.kind != PathKind::kRelFile || path.sub == 1) continue;
      const pg::RelTag rel{path.spcnode, path.dbnode, path.relnode, static_cast<pg::Fork>(path.sub)};
      if (!fs::exists(to + "/base/" + std::to_string(path.dbnode))) continue;  // dropped
      if (!cache.is_known(rel)) fs::copy_file(file.path(), to + "/" + relative);
    }
  for (const auto& file : fs::directory_iterator(options.remote + "/global")) {
    const std::string relative = "global/" + file.path().filename().string();
    const MappedPath path = map_path(relative.c_str());
    if (path.kind == PathKind::kRelFile && path.sub != 1 &&
        !cache.is_known(pg::RelTag{path.spcnode, 0, path.relnode, static_cast<pg::Fork>(path.sub)}))
      fs::copy_file(file.path(), to + "/" + relative);
  }
  Status outcome;
  cache.visit_files([&](const CachedFile& file) {
    MappedPath path;
    if (const auto* slru = std::get_if<pg::SlruSegment>(&file.what)) {
      path = {.kind = PathKind::kSlruFile, .sub = static_cast<uint8_t>(slru->kind), .segno = slru->segno};
    } else {
      const auto& rel = std::get<pg::RelTag>(file.what);
      path = {.kind = PathKind::kRelFile, .sub = static_cast<uint8_t>(rel.forknum), .spcnode = rel.spcnode,
              .dbnode = rel.dbnode, .relnode = rel.relnode, .segno = file.segno};
    }
    char name[kCachePathMax];
    format_cache_path(path, name);
    FILE* out = fopen((to + "/" + name).c_str(), "w");
    if (out == nullptr) {
      outcome = fail_errno(std::string("export ") + name, errno);
      return;
    }
    for (uint32_t blkno = file.first_blkno; blkno < file.first_blkno + file.nblocks; ++blkno) {
      auto page = cache.read_block(file.what, blkno);
      if (!page)
        source.get_pages(file.what, {blkno}, Lsn(), [&page](uint32_t, Result<ByteView> got) {
          if (got) page = Bytes(got->begin(), got->end());
          else page = fail(std::move(got).error());
        });
      if (page) fwrite(page->data(), 1, page->size(), out);
      else outcome = fail(std::move(page).error().context(std::string("export ") + name));
    }
    fclose(out);
  });
  return outcome;
}

Result<int> run(const Options& options) {
  HELIUM_TRY(copy_without_blocks(options.remote, options.work + "/pgdata"));
  fs::create_directories(options.work + "/cache");
  CacheOptions cache_options;
  cache_options.pgdata_dir = options.work + "/pgdata";
  cache_options.cache_dir = options.work + "/cache";
  HELIUM_ASSIGN(auto cache, CacheServer::create(cache_options));
  DirectorySource source(options.remote);
  source.delay_micros = options.delay_micros;
  source.before_page = [hold = options.work + "/hold"](const BlockFile&, uint32_t) -> std::optional<Error> {
    while (access(hold.c_str(), F_OK) == 0) usleep(20000);
    return std::nullopt;
  };
  for (const auto& [segment, npages] : source.slru_segments()) HELIUM_TRY(cache->add_slru_segment(segment, npages));
  HELIUM_TRY(cache->start(&source));

  std::atomic<bool> stopping = false;
  std::thread wal([&] {
    uint64_t seq = 0;
    while (!stopping.load()) {
      seq = cache->wait_wal(seq, std::chrono::milliseconds(500)).seq;
      cache->publish_flushed(seq);
    }
  });
  const pid_t child = spawn(options, *cache);
  log::info("postgres spawned", {{"pid", child}});
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0)
    if (const int signal = wait_for_stop(std::chrono::milliseconds(20))) kill(child, signal);
  stopping.store(true);
  cache->wake_wal_waiter();
  wal.join();
  const CacheMetrics m = cache->metrics();
  log::info("postgres ended", {{"status", status}, {"requests", m.requests}, {"rel_infos", m.rel_infos},
                               {"wanted", m.blocks_wanted}, {"readahead", m.blocks_readahead}, {"filled", m.blocks_filled},
                               {"wait_micros", m.wait_micros}, {"void", m.fills_void}, {"errors", m.fetch_errors}, {"arena", m.arena_bytes_used},
                               {"wal_writes", m.wal_writes}, {"wal_syncs", m.wal_syncs},
                               {"left", cache->processes().size()}});
  if (!options.export_dir.empty()) HELIUM_TRY(export_directory(*cache, source, options));
  cache->stop();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace
}  // namespace helium::vfs::testing

int main(int argc, char** argv) {
  helium::block_stop_signals();
  helium::vfs::testing::Options options;
  int at = 1;
  for (std::string* target : {&options.remote, &options.work, &options.library})
    if (at < argc) *target = argv[at++];
  for (; at < argc && strcmp(argv[at], "--") != 0; at += 2) {
    if (at + 1 < argc && strcmp(argv[at], "--delay") == 0) options.delay_micros = atoi(argv[at + 1]);
    else if (at + 1 < argc && strcmp(argv[at], "--export") == 0) options.export_dir = argv[at + 1];
    else break;
  }
  options.command.assign(argv + std::min(at + 1, argc), argv + argc);
  if (options.command.empty()) {
    fprintf(stderr, "usage: vfs_dir_agent REMOTE WORK LIBRARY [--delay MICROS] [--export DIR] -- postgres ARGS...\n");
    return 2;
  }
  const auto status = helium::vfs::testing::run(options);
  if (!status) {
    fprintf(stderr, "vfs_dir_agent: %s\n", status.error().message.c_str());
    return 1;
  }
  return *status;
}
