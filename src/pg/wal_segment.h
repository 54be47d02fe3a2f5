// A WAL segment file seen from its start: which version, cluster and position it is, and where its first record begins.
//
// Most segments begin in the middle of a record whose start lies in an earlier one. Pure; bytes are untrusted.
// Specification: docs/formats/wal_segment.md. Source: PostgreSQL 15 xlog_internal.h, xlogreader.c XLogFindNextRecord.

#pragma once

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"

namespace helium::pg {

struct WalSegmentInfo {
  int pg_version = 0;
  uint32_t pg_timeline = 0;
  uint64_t system_identifier = 0;
  Lsn start_lsn;
};

// From the first 40 bytes. Errors: kTruncated, kCorrupt (no WAL segment, or one of another segment size).
Result<WalSegmentInfo> read_segment_info(ByteView segment);

// The start of the first record that begins in these bytes, which start at `start` (a page's start): skips the rest of
// a record that began before. Errors: kTruncated when no record begins in them, kCorrupt for a bad page header.
Result<Lsn> find_first_record(ByteView wal, Lsn start);

}  // namespace helium::pg
