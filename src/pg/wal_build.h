// WAL that Helium writes itself: page headers, and the synthetic shutdown checkpoint that a compute starts from.
// Source: PostgreSQL 15 xlog_internal.h, xlogrecord.h. Pure.

#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "pg/control_file.h"

namespace helium::pg {

// XLOG_PAGE_MAGIC; pg_version is 14 to 18 (CHECK: callers have refused others).
uint16_t wal_page_magic(int pg_version);

struct WalPageHeader {
  Lsn page_lsn;             // start of the page
  uint64_t system_identifier = 0;
  uint32_t remaining_len = 0;  // xlp_rem_len; >0 sets XLP_FIRST_IS_CONTRECORD
  int pg_version = 15;
};
// 40 bytes at a segment's start, else 24.
Bytes encode_wal_page_header(const WalPageHeader& header);

// The WAL of a shutdown checkpoint appended at `x` (the end of the last record): all bytes of the stream in
// [x, end_lsn), with the page headers that fall into it; it may cross a page, or a segment.
struct SyntheticCheckpoint {
  Lsn record_start;   // x, or behind the page header if x starts a page
  Lsn end_lsn;        // EndRecPtr of the record, aligned
  Bytes wal;          // the bytes of [x, end_lsn)
  Checkpoint checkpoint;  // as written: redo = record_start
};
SyntheticCheckpoint build_shutdown_checkpoint(Lsn x, Lsn prev_record_start, Checkpoint checkpoint,
                                              uint64_t system_identifier, int pg_version);

// What stands in the local segment files of a compute, or in a branch's first segment at a safekeeper, zeros left out:
// the header of x's segment, the header of x's page (with xlp_rem_len so that readers skip to x) and, from x on, `wal`,
// which may run over the segment's end. Ascending; a piece never crosses a segment's end.
struct WalPiece {
  Lsn at;
  Bytes bytes;
};
std::vector<WalPiece> build_sparse_pieces(Lsn x, ByteView wal, uint64_t system_identifier, int pg_version);

// The same as whole files of 16 MiB, one for each segment that `wal` reaches: for tests.
std::vector<Bytes> build_sparse_segments(Lsn x, ByteView wal, uint64_t system_identifier, int pg_version);

// One whole WAL record (no page headers): header with CRC, then main data. For tests and logical messages.
Bytes build_record(uint8_t rmgr, uint8_t info, uint32_t xid, Lsn prev, ByteView main_data);
// Lays a record out as stream bytes from `at` (record end of the one before), with page headers. Returns its bytes
// and sets `end`.
Bytes lay_out_record(Lsn at, ByteView record, uint64_t system_identifier, int pg_version, Lsn* end);

}  // namespace helium::pg
