// FeedCursor: what a reader of one timeline gets next: the term history, committed WAL, or nothing yet.
//
// A cursor starts anywhere, also ahead of commit_lsn, and never goes back; only committed WAL comes out (rule 6).
// Errors: the disk's and the store's. Not thread safe; it must not outlive the timeline.

#pragma once

#include <functional>
#include <optional>

#include "safekeeper/timeline.h"
#include "safekeeper/timeline_reader.h"

namespace helium::safekeeper {

enum class FeedKind { kReplication, kFeed };  // kFeed announces histories

// Where one message of WAL from `start` on ends, when all before `end` (a record end) may be sent: there, or at a page
// boundary. A standby replays what it has received, and takes a record's part on a page for complete once its header is
// there: a message never ends inside a record but at a page boundary (PostgreSQL's protocol documentation, XLogData).
Lsn feed_chunk_end(Lsn start, Lsn end);

class FeedCursor {
 public:
  FeedCursor(Timeline& timeline, Lsn start, FeedKind kind)
      : timeline_(timeline), kind_(kind), reader_(timeline), next_(start) {}

  struct Item {
    std::optional<TermHistory> history;  // it is new: tell it before `wal`
    Lsn start;
    ByteView wal;    // committed, from `start` on; empty: there is nothing now. Valid until the next call
    Lsn commit_lsn;  // of the moment
  };
  Result<Item> next();
  // Nothing comes for a while: lets go of buffers and files.
  void rest() {
    chunk_ = Bytes();
    reader_.rest();
  }

 private:
  Timeline& timeline_;
  const FeedKind kind_;
  TimelineReader reader_;
  Lsn next_;
  std::optional<TermHistory> history_;  // as it was told
  Bytes chunk_;
};

// READ_WAL: WAL [start, end) that may not be committed, while `term` is the acceptor's term or log term.
// Errors: kFenced, kLsnInFuture, the disk's, those of `consume`.
Status read_uncommitted(Timeline& timeline, uint64_t term, Lsn start, Lsn end,
                        const std::function<Status(Lsn start, ByteView wal)>& consume);

}  // namespace helium::safekeeper
