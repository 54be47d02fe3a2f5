// PageCheck: can every page of a timeline be rebuilt at an LSN, and does it look like one of PostgreSQL's?
//
// Looks at every block of every fork that storage keeps (free space maps are not) and at every SLRU page. What is
// checked: redo gives the page at all; it is zeros, or its header holds together; its LSN is not ahead of where it was
// read; a heap page whose bit in the visibility map says all-visible carries PD_ALL_VISIBLE.
// What a page should contain is not known here: that is oracle.h, and the agent's comparison with PostgreSQL's files.
//
// Memory: the list of forks, one page, one page of a map. Errors: the lists cannot be read; kCanceled. What is wrong
// with a page is a finding, no error. Threads: one per PageCheck; readers may go on meanwhile.

#pragma once

#include <array>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "pageserver/page_reader.h"

namespace helium::pageserver {

struct PageFindings {
  static constexpr size_t kDifferencesKept = 50;
  struct Difference {
    std::string what;  // "1663/5/16384 blk 7", "pg_xact/0000 page 3"
    std::string detail;
  };
  uint64_t forks = 0;
  std::array<uint64_t, pg::kForkCount> pages{};  // rebuilt, by fork
  uint64_t zero_pages = 0;                       // of these, all zeros
  std::map<std::string, uint64_t> slru_pages;    // by folder, "pg_xact"
  uint64_t map_bits = 0;                         // heap pages whose map says all-visible
  uint64_t differences = 0;
  std::vector<Difference> first_differences;
};

class PageCheck {
 public:
  // Called now and then with pages done and pages in all; false: stop.
  using Progress = std::function<bool(uint64_t done, uint64_t all)>;

  PageCheck(const PageReader& reader, Lsn at, Progress progress)
      : reader_(reader), at_(at), progress_(std::move(progress)) {}

  Status run(PageFindings& findings);

 private:
  Status check_fork(const PageReader::RelFork& fork);
  Status check_segment(const PageReader::SlruFork& segment);
  std::string what_is_wrong(const pg::RelTag& rel, uint32_t blkno, ByteView page);
  bool is_marked_all_visible(const pg::RelTag& rel, uint32_t blkno);
  Status advance();
  void differ(std::string what, std::string detail);

  const PageReader& reader_;
  const Lsn at_;
  const Progress progress_;
  PageFindings* findings_ = nullptr;
  uint64_t done_ = 0;
  uint64_t all_ = 0;
  // The map page that was looked at last; empty when there is none.
  pg::RelTag map_rel_;
  uint32_t map_blkno_ = 0;
  layer::SharedBytes map_page_;
  bool map_known_ = false;
};

}  // namespace helium::pageserver
