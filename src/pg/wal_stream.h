// WalStreamDecoder: bytes of WAL in, whole CRC-checked records out.
//
// Bytes are fed in order from a record boundary. Page headers are checked and skipped, records that cross pages
// and segments are put together, XLOG_SWITCH runs to its segment's end, an overwritten continuation
// (XLP_FIRST_IS_OVERWRITE_CONTRECORD) drops the torn record before it.
// end_lsn is PostgreSQL's EndRecPtr: aligned to 8, a page's start (not behind its header) if the record fills the page,
// a segment's start after a switch.
// Memory: bounded by the longest record (1 GiB is refused, as PostgreSQL does: XLogRecordMaxSize) plus what was fed.
// Not thread safe. Source: PostgreSQL 15 xlogreader.c, xlog_internal.h, xlogrecord.h.

#pragma once

#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"

namespace helium::pg {

struct WalRecordView {
  Lsn start_lsn;   // first byte of the record header
  Lsn end_lsn;     // EndRecPtr
  ByteView bytes;  // the whole record, contiguous: header and data; valid until the next call on the decoder,
                   // and while the caller keeps what it fed
};

class WalStreamDecoder {
 public:
  // `start`: the end of a record (a page's start is fine), or the start of one. `pg_version`: pages of other major
  // versions are refused; 0: the first page decides, the others must be like it.
  explicit WalStreamDecoder(Lsn start, int pg_version = 0);
  ~WalStreamDecoder();
  WalStreamDecoder(WalStreamDecoder&&) noexcept;
  WalStreamDecoder& operator=(WalStreamDecoder&&) noexcept;

  // Bytes at [fed_lsn(), fed_lsn() + bytes.size()). Not copied: the caller keeps them until next() has given all records
  // and wants more, or said what is wrong.
  void feed(ByteView bytes);

  // The next record; nullopt when more bytes are needed. Errors: kCorrupt: what follows is no valid record
  // (length, CRC or page header); the decoder stays where it is, and says the same until rewind(). At the end of a
  // file that is still being written (length zero, half a record) this is the normal answer, not damage.
  Result<std::optional<WalRecordView>> next();

  // Forgets all bytes behind record_end_lsn(): feed from there again.
  void rewind();

  Lsn fed_lsn() const;            // behind the last byte fed
  Lsn record_end_lsn() const;     // end of the last record returned; `start` before the first
  Lsn last_record_start() const;  // start of the last record returned; invalid before the first

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helium::pg
