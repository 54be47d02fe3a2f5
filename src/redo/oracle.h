// Oracle: replays WAL of a stock cluster with our redo and compares each page with PostgreSQL's own check image.
//
// The WAL must have been written with wal_consistency_checking = 'all': then each record carries the page after the
// change. Redo runs on *our* page, the image serves only to compare, so errors would accumulate and show. A
// comparison counts only where redo really ran: not for images that are applied, nor for resource managers whose
// page is the check image itself.
//
// Pages that the WAL did not create come from a copy of the data directory from before (`base`), if there is one;
// else they are adopted from their first check image, uncounted.
// Memory: every page that the WAL touches, 8 kB each, until its relation is dropped. Not thread safe.

#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "pg/wal_stream.h"
#include "redo/copied_maps.h"
#include "redo/redo.h"

namespace helium::redo {

using PageBytes = std::array<std::byte, 8192>;

// What pages a data directory holds, read from its files.
class DataDirectory {
 public:
  explicit DataDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  // nullopt: no such file, or it ends before the page.
  std::optional<PageBytes> read_block(const pg::RelTag& rel, uint32_t blkno) const;
  std::optional<PageBytes> read_slru_page(const pg::SlruSegment& segment, uint32_t page_in_segment) const;
  bool has_relation(const pg::RelTag& rel) const;
  // The file of one segment of the fork.
  std::filesystem::path relation_path(const pg::RelTag& rel, uint32_t segno) const;

 private:
  std::filesystem::path path_;
};

struct OracleCounts {
  uint64_t compared = 0;     // redo ran on our page, and the result was compared with the check image
  uint64_t differences = 0;
  uint64_t refused = 0;      // redo_block() failed
  uint64_t applied = 0;      // redo ran, but there is no image to compare with
  uint64_t images = 0;       // the page came as an image
  uint64_t adopted = 0;      // no old page was known: taken from the check image
  std::string first_problem;
};

struct OracleOptions {
  int pg_version = 15;
  bool data_checksums_or_wal_log_hints = false;
  bool track_commit_timestamp = false;
  std::optional<std::filesystem::path> base;
  // Called before each redo_block() on a page that is known: `block` of the record, and the page as it is. For fuzzing
  // seeds and benchmarks.
  std::function<void(const std::string& type, const pg::BlockRef& block, const PageBytes& page, ByteView record)> on_redo;
  // Called for each record that names no block.
  std::function<void(const std::string& type, ByteView record)> on_record_without_block;
};

class Oracle {
 public:
  explicit Oracle(OracleOptions options);

  // Errors: kCorrupt: the record cannot be decoded. What redo refuses is counted, not returned.
  Status replay(const pg::WalRecordView& record);

  // By record type and, for several blocks of one record, by block id: "BTREE/SPLIT_L blk 1".
  const std::map<std::string, OracleCounts>& counts() const { return counts_; }
  OracleCounts total() const;

  // Compares what we have with the files of the cluster after its clean shutdown, more strictly than check images do:
  // visibility maps and SLRU pages byte by byte, PD_ALL_VISIBLE, GiST NSN and follow-right. By kind of page. Also that
  // no map bit is set for a heap page without PD_ALL_VISIBLE.
  std::map<std::string, OracleCounts> compare_with(const std::filesystem::path& data_directory) const;

 private:
  struct BlockKey {
    pg::RelTag rel;
    uint32_t blkno = 0;
    friend auto operator<=>(const BlockKey&, const BlockKey&) = default;
  };
  using SlruKey = std::pair<pg::SlruSegment, uint32_t>;

  OracleCounts check_map_bits() const;
  PageBytes* find_page(const BlockKey& key);
  void replay_block(const pg::WalRecordView& view, const pg::DecodedRecord& record, const pg::BlockRef& ref);
  void compare(const pg::DecodedRecord& record, const pg::BlockRef& ref, PageBytes& page, OracleCounts& counts,
               const std::string& where);
  void replay_side_effects(const pg::DecodedRecord& record, Lsn end);
  void replay_slru(const pg::DecodedRecord& record, Lsn end);
  void forget_relation(const pg::RelTag& main, uint32_t from_block, bool all_forks);
  void copy_database(uint32_t src_spc, uint32_t src_db, uint32_t dst_spc, uint32_t dst_db);
  RedoContext context(const pg::RelTag& rel, uint32_t blkno, Lsn end) const;

  OracleOptions options_;
  std::optional<DataDirectory> base_;
  std::map<BlockKey, std::unique_ptr<PageBytes>> pages_;
  std::map<SlruKey, PageBytes> slru_pages_;
  std::set<pg::RelTag> created_;                     // in this WAL: what is not known is zeros
  std::map<pg::RelTag, uint32_t> base_limit_;        // blocks from here on are not the base directory's any more
  std::map<std::pair<uint32_t, uint32_t>, std::pair<uint32_t, uint32_t>> copied_from_;  // (spc, db) ← (spc, db)
  CopiedMaps copied_maps_;
  std::map<std::string, OracleCounts> counts_;
};

// Whole WAL segment files of a directory, in order, through an Oracle; from `start` (a record boundary) on, or from
// the first record that begins in the first segment. Stops at the end of valid WAL.
struct OracleRun {
  Lsn start;
  Lsn end;
  uint64_t records = 0;
};
// The same for the bytes of whole segments in memory (the last one may be cut).
Result<OracleRun> replay_wal(Oracle& oracle, ByteView segments);
Result<OracleRun> replay_wal_directory(Oracle& oracle, const std::filesystem::path& directory, std::optional<Lsn> start);

// One line per record type, aligned, totals last.
std::string format_counts(const std::map<std::string, OracleCounts>& counts);

}  // namespace helium::redo
