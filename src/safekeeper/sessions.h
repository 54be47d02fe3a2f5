// What a connection turns into after its command: a push, a feed, or one read. Each runs in the connection's thread
// and returns when it is over; the Status says whether the connection can go on with another command.

#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "safekeeper/feed_cursor.h"
#include "safekeeper/metrics.h"
#include "safekeeper/reply_timer.h"
#include "safekeeper/timeline.h"
#include "walclient/pg_socket.h"
#include "wire/pgwire.h"

namespace helium::safekeeper {

// The SQLSTATE that tells a client of the WAL service which ErrorCode was meant (walclient/pg_socket.h, to_error).
const char* sqlstate(ErrorCode code);

// START_WAL_PUSH: a proposer's messages, until it leaves, is refused or fenced.
Status run_push(const std::shared_ptr<walclient::PgSocket>& socket, Timeline& timeline);

struct FeedOptions {
  Lsn start;
  FeedKind kind = FeedKind::kReplication;
  std::string reader_name;  // application_name
  ReplyTimer::Milliseconds sender_timeout = ReplyTimer::kDefault;  // of a replication: silent clients are given up
};
// START_REPLICATION and START_WAL_FEED: committed WAL from `start` on, until the client ends the copy.
Status run_feed(walclient::PgSocket& socket, Timeline& timeline, const FeedOptions& options);

// READ_WAL: WAL that may not be committed yet, for a proposer or a peer of that term.
Status run_read(walclient::PgSocket& socket, Timeline& timeline, const wire::ReadWal& command);

}  // namespace helium::safekeeper
