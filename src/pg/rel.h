// Names of what PostgreSQL keeps in blocks: relation forks and SLRU segments.
// Source: PostgreSQL 15 relfilenode.h, relpath.c, slru.c. Plain values.

#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace helium::pg {

enum class Fork : uint8_t { kMain = 0, kFsm = 1, kVm = 2, kInit = 3 };
inline constexpr int kForkCount = 4;

inline constexpr uint32_t kDefaultTablespace = 1663;
inline constexpr uint32_t kGlobalTablespace = 1664;  // its database is 0

// One fork of one relation.
struct RelTag {
  uint32_t spcnode = 0;
  uint32_t dbnode = 0;
  uint32_t relnode = 0;
  Fork forknum = Fork::kMain;
  friend auto operator<=>(const RelTag&, const RelTag&) = default;
};
std::string to_string(const RelTag& rel);  // "1663/5/16384", other forks "1663/5/16384_vm"
inline std::string format_as(const RelTag& rel) { return to_string(rel); }

// Numbers are stored in keys and travel in the page service protocol.
enum class SlruKind : uint8_t { kClog = 0, kMultixactMembers = 1, kMultixactOffsets = 2, kCommitTs = 3 };
inline constexpr int kSlruKindCount = 4;
const char* slru_folder(SlruKind kind);  // "pg_xact", "pg_multixact/members", "pg_multixact/offsets", "pg_commit_ts"

// One segment of an SLRU: up to 32 pages.
struct SlruSegment {
  SlruKind kind = SlruKind::kClog;
  uint32_t segno = 0;
  friend auto operator<=>(const SlruSegment&, const SlruSegment&) = default;
};
std::string to_string(const SlruSegment& segment);  // "pg_xact/0000"
inline std::string format_as(const SlruSegment& segment) { return to_string(segment); }

// A file of a data directory that holds blocks, by its path relative to the directory:
// "base/5/16384_vm.1" is fork VM, segment 1 of 1663/5/16384; "global/1262"; "pg_tblspc/16400/PG_15_…/5/16401".
struct RelFile {
  RelTag rel;
  uint32_t segno = 0;
  friend auto operator<=>(const RelFile&, const RelFile&) = default;
};
std::optional<RelFile> parse_rel_path(std::string_view path);
std::optional<SlruSegment> parse_slru_path(std::string_view path);

}  // namespace helium::pg
