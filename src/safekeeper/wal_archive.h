// WalArchive: one timeline's WAL in the object store: finished segments, and the last part of sleeping members.
//
// Names and contents: docs/formats/object_store.md. What may go there: retention.h.
// Errors: the store's; kCorrupt: an object is not what its name says, or a finished segment is there with other bytes;
//   kLsnTooOld from read(): not in the store. Blocking; safe from any thread.

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "store/object_store.h"

namespace helium::safekeeper {

// What a safekeeper had of its last segment when it went to sleep: the segment's bytes up to flush_lsn.
struct PartialName {
  uint64_t segno = 0;
  uint64_t log_term = 0;
  Lsn flush_lsn;
  Lsn commit_lsn;
  uint32_t crc = 0;  // CRC-32C of the content
  uint64_t safekeeper_id = 0;
  friend bool operator==(const PartialName&, const PartialName&) = default;
};
// The object's name, without its folder.
std::string to_string(const PartialName& name);
Result<PartialName> parse_partial_name(std::string_view text);

// The number of a segment from its file name; nullopt if it is none.
std::optional<uint64_t> parse_segment_name(std::string_view name);

class WalArchive {
 public:
  WalArchive(std::shared_ptr<ObjectStore> store, const TenantTimelineId& timeline);

  // Idempotent: the same bytes again are fine; other bytes under that name are kCorrupt, and stay.
  Status put_segment(uint64_t segno, ByteView segment);
  // True: the whole segment is there.
  Result<bool> has_segment(uint64_t segno) const;
  // Bytes [start, start + bytes.size()) of finished segments.
  Status read(Lsn start, MutableByteView bytes) const;
  // The end of the last segment of those that are there without a gap from `from` (a segment's start) on.
  Result<Lsn> end_of_segments(Lsn from) const;

  // Puts it and reads it back. `content`: the segment's bytes up to name.flush_lsn; name.crc is set here.
  Result<std::string> put_partial(PartialName name, ByteView content);
  // The content, checked against its name.
  Result<Bytes> get_partial(std::string_view name) const;
  // Removes the partial objects of this safekeeper but the one named `keep` (which may be empty).
  Status remove_partials(uint64_t safekeeper_id, std::string_view keep);

  std::string describe() const;

 private:
  std::string segment_key(uint64_t segno) const;

  const std::shared_ptr<ObjectStore> store_;
  const std::string folder_;  // "wal/TENANT/TIMELINE/"
};

// Finds damage in segments before they go to the store: pages and records must be valid. Segments are given in order;
// the first one may be preceded by the one before it (check() with it), so that the record that crosses over is checked
// too. A new object begins anew.
class SegmentCheck {
 public:
  explicit SegmentCheck(Lsn timeline_start);
  ~SegmentCheck();
  // kCorrupt: names the place.
  Status check(uint64_t segno, ByteView segment);

 private:
  const Lsn timeline_start_;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace helium::safekeeper
