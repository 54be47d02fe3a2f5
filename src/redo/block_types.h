// Every kind of block that a record of a built-in resource manager changes by redo, named as the oracle counts them:
// "BTREE/SPLIT_L", and for blocks other than 0 "BTREE/SPLIT_L blk 1". To tell what a run did not show.
//
// Not here: XLOG's images, and what comes as an image by design (HASH/SPLIT_PAGE, GIN/SPLIT but for the child, GIN/VACUUM_PAGE).
// Pure. Source: PostgreSQL 15 *xlog.h; 18.6 heapam_xlog.h.

#pragma once

#include <string>
#include <vector>

namespace helium::redo {

std::vector<std::string> native_block_types(int pg_version);

}  // namespace helium::redo
