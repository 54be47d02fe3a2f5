// verify: compares what the compute has with what storage would give a new compute, page by page.
//
// After a CHECKPOINT, so that the cache files hold PostgreSQL's state, and at the position shipped by then: every block
// that is present in the cache with the pageserver's version, the size of every fork of every permanent relation (free
// space maps are not kept by storage), SLRU pages and segment sizes. What differs is looked at again after another
// checkpoint, a few times, since a running system changes pages meanwhile.
//
// Ownership: the report is a plain value. Errors: kUnavailable: PostgreSQL or the pageserver cannot be asked.
// Threads: any; slow (every cached page travels once).

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "base/result.h"
#include "compute/compute_life.h"

namespace helium::compute {

struct VerifyReport {
  struct Difference {
    std::string what;    // "1663/5/16384 block 7", "pg_xact/0000 page 3"
    std::string kind;    // page, all_visible, nsn, slru, size, slru_size, error
    std::string detail;
  };
  Lsn lsn;
  uint64_t rounds = 0;
  uint64_t relations = 0;             // permanent ones, in all databases that take connections
  uint64_t fork_sizes_compared = 0;
  uint64_t blocks_compared = 0;
  std::array<uint64_t, pg::kForkCount> blocks_by_fork{};
  uint64_t slru_pages_compared = 0;
  uint64_t slru_segments_compared = 0;
  uint64_t unlogged_tail_blocks = 0;  // empty pages behind storage's end of a fork
  uint64_t copied_maps = 0;           // map pages that CREATE DATABASE logged without content
  uint64_t blocks_unclassified = 0;   // written blocks of relations that no catalog names
  uint64_t unlogged_relations = 0;    // local by nature, left out
  std::vector<Difference> differences;
};

// Of the round that is under way; others may look.
struct VerifyProgress {
  std::atomic<uint64_t> round{0};
  std::atomic<uint64_t> blocks_done{0};
  std::atomic<uint64_t> blocks_all{0};
};

Result<VerifyReport> verify_pages(ComputeLife& life, const EndpointSpec& spec, VerifyProgress& progress);
std::string to_json(const VerifyReport& report);

}  // namespace helium::compute
