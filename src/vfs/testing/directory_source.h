// DirectorySource: a PageSource backed by the data directory of a stopped cluster. For tests.
//
// Versions do not exist here: whatever LSN is asked for, the answer is the file. Delays and errors can be injected.
// Threads: any; get_pages answers before it returns.

#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "vfs/page_source.h"

namespace helium::vfs::testing {

class DirectorySource : public PageSource {
 public:
  explicit DirectorySource(std::string directory) : directory_(std::move(directory)) {}

  Result<ForkSizes> rel_info(uint32_t spcnode, uint32_t dbnode, uint32_t relnode, Lsn) override;
  Result<std::vector<std::pair<pg::RelTag, uint32_t>>> list_rels(uint32_t spcnode, uint32_t dbnode) override;
  void get_pages(const BlockFile& file, std::vector<uint32_t> blknos, Lsn, PageDone done) override;

  // Every SLRU segment of the directory, with its size in pages.
  std::vector<std::pair<pg::SlruSegment, uint32_t>> slru_segments() const;

  // Called before each answer; what it returns, if anything, is the answer.
  std::function<std::optional<Error>(const BlockFile& file, uint32_t blkno)> before_page;
  std::atomic<int> delay_micros = 0;
  std::atomic<int> rel_infos = 0;
  std::atomic<int> pages = 0;

 private:
  const std::string directory_;
};

// Copies everything but relation files and SLRU segments: what a compute's bootstrap makes of a cluster.
Status copy_without_blocks(const std::string& from, const std::string& to);

}  // namespace helium::vfs::testing
