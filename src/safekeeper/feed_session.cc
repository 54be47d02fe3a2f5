#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <chrono>

#include "base/log.h"
#include "safekeeper/sessions.h"

namespace helium::safekeeper {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kRest = std::chrono::seconds(5);  // a reader that gets nothing for so long holds no buffers

class FeedSession {
 public:
  FeedSession(walclient::PgSocket& socket, Timeline& timeline, const FeedOptions& options)
      : socket_(socket),
        timeline_(timeline),
        kind_(options.kind),
        keepalive_interval_(options.kind == FeedKind::kFeed ? Timeout(1000) : Timeout(10000)),
        reply_timer_(options.kind == FeedKind::kFeed ? Timeout(0) : options.sender_timeout, Clock::now()),
        wakeup_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        cursor_(timeline, options.start, options.kind),
        told_{.name = options.reader_name,
              .kind = options.kind == FeedKind::kFeed ? "feed" : "replication",
              .sent = options.start,
              .received = options.start,
              .flushed = {},
              .applied = {}} {
    CHECK(wakeup_);
    listener_ = timeline_.add_listener([this] {
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t n = write(wakeup_.get(), &one, sizeof(one));
    });
    timeline_.note_reader(listener_, told_);
  }
  ~FeedSession() { timeline_.remove_listener(listener_); }

  // True: the client has ended the copy and may send another command.
  Result<bool> run() {
    while (true) {
      HELIUM_ASSIGN(const bool done, read_client());
      if (done) return true;
      if (timeline_.stopping()) return fail(ErrorCode::kClosed, "the safekeeper is shutting down");
      HELIUM_ASSIGN(const bool sent, send_some());
      if (!sent) HELIUM_TRY(wait());
      HELIUM_TRY(look_after_client());
    }
  }

 private:
  Result<bool> read_client() {
    while (true) {
      HELIUM_ASSIGN(const auto message, socket_.receive(Timeout(0)));
      if (!message) return false;
      if (message->type == 'c') return true;
      if (message->type == 'X' || message->type == 'f') return fail(ErrorCode::kClosed, "");
      if (message->type != 'd') return fail(ErrorCode::kCorrupt, "only CopyData belongs into a copy");
      reply_timer_.on_reply(Clock::now());
      HELIUM_ASSIGN(const auto status, wire::parse_standby_message(message->payload));
      if (!status) continue;
      told_.received = status->written;
      told_.flushed = status->flushed;
      told_.applied = status->applied;
      timeline_.note_reader(listener_, told_);
      if (kind_ == FeedKind::kFeed) timeline_.note_remote_consistent(status->flushed);
      if (status->reply_requested) HELIUM_TRY(send_keepalive(timeline_.view().commit_lsn));
    }
  }

  // False: there is nothing to send now.
  Result<bool> send_some() {
    HELIUM_ASSIGN(const FeedCursor::Item item, cursor_.next());
    commit_lsn_ = item.commit_lsn;
    if (item.history) HELIUM_TRY(socket_.send_copy_data({wire::encode_feed_history(*item.history)}));
    if (item.wal.empty()) return false;
    const auto header = wire::encode_wal_data_header(item.start, item.commit_lsn, wire::pg_time_now());
    HELIUM_TRY(socket_.send_copy_data({header, item.wal}));
    last_sent_ = last_wal_ = Clock::now();
    told_.sent = item.start + item.wal.size();
    timeline_.note_reader(listener_, told_);
    return true;
  }

  Status wait() {
    const auto now = Clock::now();
    if (now >= last_sent_ + keepalive_interval_) {
      if (now - last_wal_ > kRest) cursor_.rest();
      return send_keepalive(commit_lsn_);
    }
    const auto due = std::min(last_sent_ + keepalive_interval_, reply_timer_.next());
    pollfd waiting[2] = {{socket_.fd().get(), POLLIN, 0}, {wakeup_.get(), POLLIN, 0}};
    const auto left = std::chrono::ceil<Timeout>(std::max(due - now, Clock::duration::zero()));
    if (poll(waiting, 2, static_cast<int>(left.count())) > 0 && (waiting[1].revents & POLLIN)) {
      uint64_t count;
      [[maybe_unused]] const ssize_t n = read(wakeup_.get(), &count, sizeof(count));
    }
    return {};
  }

  Status look_after_client() {
    switch (reply_timer_.check(Clock::now())) {
      case ReplyTimer::Due::kNothing: return {};
      case ReplyTimer::Due::kAsk: return send_keepalive(commit_lsn_, true);
      case ReplyTimer::Due::kGiveUp: break;
    }
    return fail(ErrorCode::kTimeout, "terminating the stream: the client has said nothing for wal_sender_timeout");
  }

  Status send_keepalive(Lsn commit_lsn, bool reply_requested = false) {
    last_sent_ = Clock::now();
    return socket_.send_copy_data({wire::encode_keepalive({.wal_end = commit_lsn, .reply_requested = reply_requested},
                                                          wire::pg_time_now())});
  }

  walclient::PgSocket& socket_;
  Timeline& timeline_;
  const FeedKind kind_;
  const Timeout keepalive_interval_;
  ReplyTimer reply_timer_;
  const Fd wakeup_;
  uint64_t listener_ = 0;
  FeedCursor cursor_;
  Timeline::Reader told_;
  Lsn commit_lsn_;
  Clock::time_point last_wal_;
  Clock::time_point last_sent_;  // long ago: the first keepalive goes out at once
};

Status send_read(walclient::PgSocket& socket, Timeline& timeline, const wire::ReadWal& command) {
  return read_uncommitted(timeline, command.term, command.start, command.end, [&](Lsn start, ByteView wal) {
    const auto header = wire::encode_wal_data_header(start, command.end, wire::pg_time_now());
    return socket.send_copy_data({header, wal});
  });
}

}  // namespace

Status run_feed(walclient::PgSocket& socket, Timeline& timeline, const FeedOptions& options) {
  wire::MessageWriter out;
  HELIUM_TRY(socket.send(out.copy_both_response().view()));
  log::info("feed started", {{"timeline", to_string(timeline.id())},
                             {"reader", options.reader_name},
                             {"start_lsn", options.start}});
  const Result<bool> ended = FeedSession(socket, timeline, options).run();
  log::info("feed ended", {{"timeline", to_string(timeline.id())},
                           {"reader", options.reader_name},
                           {"reason", ended ? "the client ended it" : ended.error().message}});
  wire::MessageWriter end;
  if (!ended) {
    if (ended.error().code != ErrorCode::kClosed || !ended.error().message.empty()) {
      end.error_response("FATAL", sqlstate(ended.error().code), ended.error().message);
      [[maybe_unused]] const Status sent = socket.send(end.view());
    }
    return fail(ended.error());
  }
  end.begin('c').end().command_complete("START_STREAMING");
  // A walreceiver that ends the copy itself waits for PostgreSQL's second word.
  if (options.kind == FeedKind::kReplication) end.command_complete("START_REPLICATION");
  return socket.send(end.view());
}

Status run_read(walclient::PgSocket& socket, Timeline& timeline, const wire::ReadWal& command) {
  wire::MessageWriter out;
  HELIUM_TRY(socket.send(out.copy_out_response().view()));
  const Status sent = send_read(socket, timeline, command);
  wire::MessageWriter end;
  if (!sent) {
    return socket.send(end.error_response("ERROR", sqlstate(sent.error().code), sent.error().message).view());
  }
  return socket.send(end.begin('c').end().command_complete("READ_WAL").view());
}

}  // namespace helium::safekeeper
