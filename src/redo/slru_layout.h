// How many entries a page of each SLRU holds. Source: PostgreSQL 15 clog.c, multixact.c, commit_ts.c.

#pragma once

#include <cstdint>

#include "pg/constants.h"

namespace helium::redo {

inline constexpr uint32_t kClogXidsPerPage = pg::kBlockSize * 4;
inline constexpr uint32_t kOffsetsPerPage = pg::kBlockSize / sizeof(uint32_t);
inline constexpr uint32_t kMembersPerGroup = 4;
inline constexpr uint32_t kMemberGroupSize = 20;
inline constexpr uint32_t kMembersPerPage = pg::kBlockSize / kMemberGroupSize * kMembersPerGroup;
inline constexpr uint32_t kCommitTsEntrySize = 10;
inline constexpr uint32_t kCommitTsPerPage = pg::kBlockSize / kCommitTsEntrySize;
static_assert(kMembersPerPage == 1636 && kCommitTsPerPage == 819);

}  // namespace helium::redo
