#include "safekeeper/feed_cursor.h"

#include <gtest/gtest.h>

#include <random>

#include "pg/constants.h"

namespace helium::safekeeper {
namespace {

// Goal: no message ends inside a page but where everything ends; each goes on, and none is long.
TEST(FeedCursor, MessagesEndAtPageBoundariesOrAtTheEnd) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 2000; ++round) {
    const Lsn start(0x1000028 + random() % 0x2000000);
    const Lsn end = start + (1 + random() % (round % 2 ? 300'000 : 5'000'000));
    for (Lsn at = start; at < end;) {
      const Lsn next = feed_chunk_end(at, end);
      ASSERT_GT(next, at);
      ASSERT_LE(next, end);
      ASSERT_LE(next - at, 128u * 1024);
      ASSERT_TRUE(next == end || pg::wal_page_offset(next) == 0) << to_string(at) << " to " << to_string(next);
      at = next;
    }
  }
}

}  // namespace
}  // namespace helium::safekeeper
