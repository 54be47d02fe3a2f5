// TimelineReader: bytes of a timeline's WAL, wherever they are: on the local disk, in the object store, or, when the
// timeline sleeps, first brought back.
//
// A segment may leave the disk while it is being read; the reader goes on in the store. What may be read (committed
// WAL, or a term's) is the caller's business.
// Errors: kLsnTooOld: it is nowhere; the disk's and the store's. Not thread safe; each reader has its own.

#pragma once

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "safekeeper/timeline.h"
#include "safekeeper/wal_storage.h"

namespace helium::safekeeper {

class TimelineReader {
 public:
  explicit TimelineReader(Timeline& timeline);
  // All bytes [start, start + bytes.size()). What the caller knows to be written (by view(), say) it must have learned
  // before the call.
  Status read(Lsn start, MutableByteView bytes);
  // Gives buffers and files back; the next read opens them again.
  void rest();

 private:
  Status read_in_segment(Lsn start, MutableByteView bytes);
  Status read_from_store(Lsn start, MutableByteView bytes);

  Timeline& timeline_;
  WalReader local_;
  uint64_t epoch_;  // of the local files
  // A piece of a segment in the store, read ahead.
  Lsn window_start_;
  Bytes window_;
};

}  // namespace helium::safekeeper
