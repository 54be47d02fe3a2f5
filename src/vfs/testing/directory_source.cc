#include "vfs/testing/directory_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "io/fd.h"
#include "vfs/arena.h"
#include "vfs/path_map.h"

namespace helium::vfs::testing {
namespace {

namespace fs = std::filesystem;

std::string path_in(const std::string& directory, const MappedPath& path) {
  char name[kCachePathMax];
  format_cache_path(path, name);
  return directory + "/" + name;
}

MappedPath rel_path(const pg::RelTag& rel, uint32_t segno) {
  return {.kind = PathKind::kRelFile,
          .sub = static_cast<uint8_t>(rel.forknum),
          .spcnode = rel.spcnode,
          .dbnode = rel.dbnode,
          .relnode = rel.relnode,
          .segno = segno};
}

std::optional<uint32_t> file_blocks(const std::string& path) {
  struct stat file;
  if (stat(path.c_str(), &file) != 0) return std::nullopt;
  return static_cast<uint32_t>(file.st_size / kBlockSize);
}

std::optional<uint32_t> fork_blocks(const std::string& directory, const pg::RelTag& rel) {
  std::optional<uint32_t> total;
  for (uint32_t segno = 0;; ++segno) {
    const auto here = file_blocks(path_in(directory, rel_path(rel, segno)));
    if (!here) return total;
    total = total.value_or(0) + *here;
  }
}

}  // namespace

Result<ForkSizes> DirectorySource::rel_info(uint32_t spcnode, uint32_t dbnode, uint32_t relnode, Lsn) {
  rel_infos.fetch_add(1);
  if (delay_micros.load() > 0) usleep(static_cast<unsigned>(delay_micros.load()));
  ForkSizes sizes;
  for (int fork = 0; fork < pg::kForkCount; ++fork)
    if (fork != static_cast<int>(pg::Fork::kFsm))  // a compute starts without free space maps
      sizes[static_cast<size_t>(fork)] = fork_blocks(directory_, {spcnode, dbnode, relnode, static_cast<pg::Fork>(fork)});
  return sizes;
}

Result<std::vector<std::pair<pg::RelTag, uint32_t>>> DirectorySource::list_rels(uint32_t spcnode, uint32_t dbnode) {
  std::vector<std::pair<pg::RelTag, uint32_t>> rels;
  if (dbnode != 0 && spcnode != pg::kDefaultTablespace) return rels;  // it has no tablespaces
  const std::string folder = dbnode == 0 ? "global" : "base/" + std::to_string(dbnode);
  std::error_code error;
  for (const auto& item : fs::directory_iterator(directory_ + "/" + folder, error)) {
    const MappedPath path = map_path((folder + "/" + item.path().filename().string()).c_str());
    if (path.kind != PathKind::kRelFile || path.segno != 0 || path.sub == static_cast<uint8_t>(pg::Fork::kFsm)) continue;
    const pg::RelTag rel{spcnode, dbnode, path.relnode, static_cast<pg::Fork>(path.sub)};
    rels.emplace_back(rel, fork_blocks(directory_, rel).value_or(0));
  }
  return rels;
}

void DirectorySource::get_pages(const BlockFile& file, std::vector<uint32_t> blknos, Lsn, PageDone done) {
  if (delay_micros.load() > 0) usleep(static_cast<unsigned>(delay_micros.load()));
  for (const uint32_t blkno : blknos) {
    pages.fetch_add(1);
    if (before_page) {
      if (auto error = before_page(file, blkno)) {
        done(blkno, fail(std::move(*error)));
        continue;
      }
    }
    MappedPath path;
    uint32_t offset = blkno;
    if (const auto* slru = std::get_if<pg::SlruSegment>(&file)) {
      path = {.kind = PathKind::kSlruFile, .sub = static_cast<uint8_t>(slru->kind), .segno = slru->segno};
    } else {
      path = rel_path(std::get<pg::RelTag>(file), blkno / kSegmentBlocks);
      offset = blkno % kSegmentBlocks;
    }
    const Fd fd(open(path_in(directory_, path).c_str(), O_RDONLY | O_CLOEXEC));
    std::byte page[kBlockSize];
    if (!fd || pread(fd.get(), page, sizeof page, static_cast<off_t>(offset) * kBlockSize) != sizeof page)
      done(blkno, fail(ErrorCode::kNotFound, "storage has no such block"));
    else
      done(blkno, ByteView(page));
  }
}

std::vector<std::pair<pg::SlruSegment, uint32_t>> DirectorySource::slru_segments() const {
  std::vector<std::pair<pg::SlruSegment, uint32_t>> segments;
  for (const char* folder : {"pg_xact", "pg_multixact/members", "pg_multixact/offsets", "pg_commit_ts"}) {
    std::error_code error;
    for (const auto& item : fs::directory_iterator(directory_ + "/" + folder, error)) {
      const MappedPath path = map_path((std::string(folder) + "/" + item.path().filename().string()).c_str());
      if (path.kind != PathKind::kSlruFile) continue;
      segments.emplace_back(pg::SlruSegment{static_cast<pg::SlruKind>(path.sub), path.segno},
                            file_blocks(item.path().string()).value_or(0));
    }
  }
  return segments;
}

Status copy_without_blocks(const std::string& from, const std::string& to) {
  try {
    fs::create_directories(to);
    fs::permissions(to, fs::perms::owner_all);
    for (auto item = fs::recursive_directory_iterator(from); item != fs::recursive_directory_iterator(); ++item) {
      const std::string relative = fs::relative(item->path(), from).string();
      if (item->is_directory()) {
        fs::create_directory(to + "/" + relative);
        fs::permissions(to + "/" + relative, fs::perms::owner_all);
        continue;
      }
      const PathKind kind = map_path(relative.c_str()).kind;
      if (kind != PathKind::kRelFile && kind != PathKind::kSlruFile) fs::copy_file(item->path(), to + "/" + relative);
    }
  } catch (const fs::filesystem_error& error) {
    return fail(ErrorCode::kIo, error.what());
  }
  return {};
}

}  // namespace helium::vfs::testing
