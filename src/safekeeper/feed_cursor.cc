#include "safekeeper/feed_cursor.h"

#include <algorithm>

#include "base/planted_bugs.h"
#include "pg/constants.h"

namespace helium::safekeeper {
namespace {

constexpr uint64_t kFeedChunk = 128 * 1024;
constexpr size_t kReadChunk = 512 * 1024;

}  // namespace

Lsn feed_chunk_end(Lsn start, Lsn end) {
  if (end - start <= kFeedChunk) return end;
  const Lsn cut = start + kFeedChunk;
  return Lsn(cut.bytes() - pg::wal_page_offset(cut));
}

Result<FeedCursor::Item> FeedCursor::next() {
  const Timeline::View view = timeline_.view();
  Item item{.history = {}, .start = next_, .wal = {}, .commit_lsn = view.commit_lsn};
  if (kind_ == FeedKind::kFeed && view.committed_history != history_) {
    history_ = view.committed_history;
    item.history = history_;
  }
  const Lsn end = planted(Bug::kServeUncommitted) ? view.flush_lsn : view.commit_lsn;
  if (next_ >= end) return item;
  timeline_.touch();
  chunk_.resize(feed_chunk_end(next_, end) - next_);
  HELIUM_TRY(reader_.read(next_, chunk_));
  item.wal = chunk_;
  next_ = next_ + chunk_.size();
  return item;
}

Status read_uncommitted(Timeline& timeline, uint64_t term, Lsn start, Lsn end,
                        const std::function<Status(Lsn start, ByteView wal)>& consume) {
  HELIUM_TRY(timeline.check_uncommitted_read(term, end));
  TimelineReader reader(timeline);
  Bytes chunk;
  for (Lsn at = start; at < end; at = at + chunk.size()) {
    timeline.touch();
    chunk.resize(std::min<uint64_t>(kReadChunk, end - at));
    HELIUM_TRY(reader.read(at, chunk));
    // Bytes may have been cut off while we read them; then the term is another one by now.
    HELIUM_TRY(timeline.check_uncommitted_read(term, end));
    HELIUM_TRY(consume(at, chunk));
  }
  return {};
}

}  // namespace helium::safekeeper
