// RelSizes and SlruSizes: how long each fork and segment is at the point that ingest has reached.
//
// A cache in front of the store. Changes go to the record's writer at flush(), once per fork whatever happened to it.
// Memory: bounded, the cache is dropped when it has grown to kMaxEntries. Not thread safe: ingest's own.

#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "pageserver/page_reader.h"
#include "pageserver/record_writer.h"
#include "pageserver/values.h"
#include "pg/rel.h"

namespace helium::pageserver {

class RelSizes {
 public:
  static constexpr size_t kMaxEntries = 64 * 1024;
  // Longer gaps become a range marker (rule 17): a malformed block number must not write four billion zero pages.
  static constexpr uint32_t kMaxExplicitZeros = 1024;

  explicit RelSizes(const PageReader& reader) : reader_(reader) {}

  // Before a record: `at` is its end LSN.
  void start(Lsn at);
  // Forgets everything that did not reach the store.
  void reset();

  // Nothing if the fork does not exist.
  Result<std::optional<RelSizeValue>> get(const pg::RelTag& rel);
  void set(const pg::RelTag& rel, const RelSizeValue& value);
  void drop(const pg::RelTag& rel);  // it does not exist any more

  // True if the block lies behind the end: then the fork is made that long, and the gap before the block zero.
  // Errors: kCorrupt: no fork can have that block number.
  Result<bool> extend_to_hold(const pg::RelTag& rel, uint32_t blkno, RecordWriter& out);
  // Cuts the fork; nothing if it is shorter or does not exist.
  Status truncate(const pg::RelTag& rel, uint32_t nblocks);

  void flush(RecordWriter& out);

 private:
  struct Hash {
    size_t operator()(const pg::RelTag& rel) const noexcept {
      return (uint64_t{rel.relnode} << 2 | static_cast<uint64_t>(rel.forknum)) * 0x9E3779B97F4A7C15u ^
             (uint64_t{rel.dbnode} << 32 | rel.spcnode);
    }
  };
  const PageReader& reader_;
  Lsn at_;
  std::unordered_map<pg::RelTag, std::optional<RelSizeValue>, Hash> sizes_;
  std::vector<pg::RelTag> changed_;
};

class SlruSizes {
 public:
  static constexpr size_t kMaxEntries = 4096;

  explicit SlruSizes(const PageReader& reader) : reader_(reader) {}

  void start(Lsn at);
  void reset() { npages_.clear(); }
  // True if the page lies behind the segment's end: then the segment is made that long, and pages between are zero.
  Result<bool> extend_to_hold(const pg::SlruSegment& segment, uint32_t page, RecordWriter& out);
  void drop(const pg::SlruSegment& segment, RecordWriter& out);

 private:
  const PageReader& reader_;
  Lsn at_;
  std::unordered_map<uint64_t, uint32_t> npages_;  // 0: does not exist
};

}  // namespace helium::pageserver
