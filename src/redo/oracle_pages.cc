// Pages from a data directory's files, and what kind of page a page is.

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "redo/oracle.h"

namespace helium::redo {

namespace {

std::optional<PageBytes> read_page_at(const std::filesystem::path& path, uint64_t page) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  PageBytes bytes;
  const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(page * bytes.size()));
  ::close(fd);
  if (got != static_cast<ssize_t>(bytes.size())) return std::nullopt;
  return bytes;
}

}  // namespace

std::filesystem::path DataDirectory::relation_path(const pg::RelTag& rel, uint32_t segno) const {
  static constexpr const char* kForkSuffix[] = {"", "_fsm", "_vm", "_init"};
  std::string name = fmt::format("{}{}", rel.relnode, kForkSuffix[static_cast<size_t>(rel.forknum)]);
  if (segno > 0) name += fmt::format(".{}", segno);
  if (rel.spcnode == pg::kGlobalTablespace) return path_ / "global" / name;
  if (rel.spcnode == pg::kDefaultTablespace) return path_ / "base" / std::to_string(rel.dbnode) / name;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(path_ / "pg_tblspc" / std::to_string(rel.spcnode), ignored))
    return entry.path() / std::to_string(rel.dbnode) / name;
  return path_ / "pg_tblspc" / std::to_string(rel.spcnode) / name;
}

std::optional<PageBytes> DataDirectory::read_block(const pg::RelTag& rel, uint32_t blkno) const {
  return read_page_at(relation_path(rel, blkno / pg::kRelSegBlocks), blkno % pg::kRelSegBlocks);
}

std::optional<PageBytes> DataDirectory::read_slru_page(const pg::SlruSegment& segment, uint32_t page_in_segment) const {
  return read_page_at(path_ / pg::to_string(segment), page_in_segment);
}

bool DataDirectory::has_relation(const pg::RelTag& rel) const {
  std::error_code ignored;
  return std::filesystem::exists(relation_path(rel, 0), ignored);
}

}  // namespace helium::redo
