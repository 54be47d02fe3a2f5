#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "safekeeper/sessions.h"

namespace helium::safekeeper {
namespace {

// So much WAL is synced by a thread of its own, while more of it is received and written; syncing less costs no more
// than waking that thread up.
constexpr size_t kSyncAsideBytes = 64 * 1024;

// One proposer's connection. Appends are written as they come; one sync and one answer cover all that came since the
// last ones. A sync begins when the socket has nothing more or kSyncAsideBytes were written, unless one is running.
class PushSession {
 public:
  PushSession(std::shared_ptr<walclient::PgSocket> socket, Timeline& timeline)
      : socket_(std::move(socket)), timeline_(timeline), writer_(timeline) {
    // A later term must reach the proposer at once, also while it is silent: its connection's thread wakes up.
    listener_ = timeline_.add_listener([this] {
      if (fenced() || is_stale() || timeline_.stopping()) socket_->shutdown_receive();
    });
  }
  ~PushSession() {
    timeline_.remove_listener(listener_);
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      wake_.notify_all();
    }
    if (answerer_.joinable()) answerer_.join();
    // A compute's last words count as well: written WAL becomes durable, and others hear of it.
    timeline_.flush();
  }

  Status run() {
    while (true) {
      const bool answer_next = may_answer();
      const auto message = socket_->receive(answer_next ? std::optional(Timeout(0)) : std::nullopt);
      if (fenced()) return tell_fenced();
      if (is_stale()) return tell_stale();
      if (!message) return fail(message.error());
      if (!*message) {
        HELIUM_TRY(answer());
        continue;
      }
      switch ((*message)->type) {
        case 'd': break;
        case 'c': return fail(ErrorCode::kClosed, "the proposer is done");
        case 'X': return fail(ErrorCode::kClosed, "");
        default: return refuse({ErrorCode::kCorrupt, "only CopyData belongs into a push"});
      }
      const auto decoded = wire::decode_proposer_message((*message)->payload);
      if (!decoded) return refuse(decoded.error());
      HELIUM_TRY(std::visit([this](const auto& m) { return on(m); }, *decoded));
    }
  }

 private:
  bool fenced() const { return term_ != 0 && timeline_.current_term() > term_; }
  // A membership of a later generation is in force than the one that this proposer speaks of.
  bool is_stale() const { return generation_ != 0 && timeline_.current_generation() > generation_; }

  Status on(const wire::Greeting& greeting) {
    const auto reply = timeline_.greet(greeting);
    if (!reply) return refuse(reply.error());
    greeted_ = true;
    return send(*reply);
  }
  Status on(const wire::TellMembership& told) {
    if (!greeted_) return refuse({ErrorCode::kInvalid, "a membership before the greeting"});
    generation_ = 0;  // it may change under our hands
    const auto reply = timeline_.accept({.membership = told.membership, .changer = {}});
    if (!reply) return refuse(reply.error());
    return send(wire::MembershipTold{.term = reply->term, .filling = reply->filling, .membership = reply->membership});
  }
  Status on(const wire::VoteRequest& request) {
    if (!greeted_) return refuse({ErrorCode::kInvalid, "a vote request before the greeting"});
    generation_ = request.generation;
    const auto reply = timeline_.vote(request);
    if (!reply) return refuse(reply.error());
    if (reply->term == request.term) term_ = request.term;
    return send(*reply);
  }
  Status on(const wire::Elected& message) {
    if (!greeted_) return refuse({ErrorCode::kInvalid, "an election before the greeting"});
    generation_ = message.generation;
    const auto reply = timeline_.elected(message);
    if (!reply) return refuse(reply.error());
    term_ = message.term;
    elected_ = true;
    log::info("proposer connected", {{"timeline", to_string(timeline_.id())},
                                     {"term", message.term},
                                     {"flush_lsn", reply->flush_lsn}});
    return send(*reply);
  }
  Status on(const wire::Append& append) {
    if (!elected_) return refuse({ErrorCode::kInvalid, "an append before the election"});
    if (const Status written = timeline_.append(append); !written) return refuse(written.error());
    const std::lock_guard lock(mutex_);
    answer_due_ = answer_due_ || append.wants_reply;
    unanswered_bytes_ += append.wal.size();
    if (unanswered_bytes_ < kSyncAsideBytes) return {};
    if (!answerer_.joinable()) answerer_ = std::thread([this] { answer_aside(); });
    wake_.notify_all();
    return {};
  }

  // True if an answer is due that this thread should give.
  bool may_answer() {
    const std::lock_guard lock(mutex_);
    return answer_due_ && !answering_ && unanswered_bytes_ < kSyncAsideBytes;
  }
  // Syncs and answers, unless that happens already.
  Status answer() {
    std::unique_lock lock(mutex_);
    if (!answer_due_ || answering_) return {};
    return answer(lock);
  }
  Status answer(std::unique_lock<std::mutex>& lock) {
    answering_ = true;
    answer_due_ = false;
    unanswered_bytes_ = 0;
    lock.unlock();
    const Status sent = send(timeline_.flush());
    lock.lock();
    answering_ = false;
    return sent;
  }
  // The other thread: also answers what came while it was busy.
  void answer_aside() {
    std::unique_lock lock(mutex_);
    bool busy = false;
    while (true) {
      wake_.wait(lock, [&] {
        return ending_ || (!answering_ && (unanswered_bytes_ >= kSyncAsideBytes || (busy && answer_due_)));
      });
      if (ending_) return;
      if (!answer(lock)) {
        socket_->shutdown();  // the receiving thread hears of it
        return;
      }
      busy = answer_due_;
    }
  }
  Status tell_fenced() {
    const wire::AppendReply now = timeline_.flush();
    if (Status sent = send(now); !sent) return sent;
    return refuse({ErrorCode::kFenced, fmt::format("term {} is over: term {} was promised", term_.load(), now.term)});
  }
  Status tell_stale() {
    timeline_.flush();
    return refuse({ErrorCode::kUnavailable, fmt::format("membership generation {} is over", generation_.load())});
  }
  Status refuse(const Error& error) {
    log::info("push refused", {{"timeline", to_string(timeline_.id())}, {"term", term_.load()}, {"error", error}});
    const Timeline::View view = timeline_.view();
    const Status sent = send(wire::Refusal{.generation = view.membership.generation,
                                           .term = view.term,
                                           .code = error.code,
                                           .text = error.message,
                                           .membership = view.membership});
    if (sent) socket_->close_gently();
    return fail(ErrorCode::kClosed, "refused");
  }
  Status send(const wire::AcceptorMessage& message) {
    const std::lock_guard lock(send_mutex_);
    return socket_->send_copy_data({wire::encode(message)});
  }

  const std::shared_ptr<walclient::PgSocket> socket_;
  Timeline& timeline_;
  const Timeline::Writer writer_;
  uint64_t listener_ = 0;
  bool greeted_ = false;
  bool elected_ = false;
  std::atomic<uint64_t> term_ = 0;        // that this proposer has; the listener reads both
  std::atomic<uint32_t> generation_ = 0;  // that it speaks of

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool answer_due_ = false;
  size_t unanswered_bytes_ = 0;
  bool answering_ = false;
  bool ending_ = false;
  std::thread answerer_;  // started when WAL comes fast for the first time

  std::mutex send_mutex_;
};

}  // namespace

Status run_push(const std::shared_ptr<walclient::PgSocket>& socket, Timeline& timeline) {
  wire::MessageWriter out;
  HELIUM_TRY(socket->send(out.copy_both_response().view()));
  return PushSession(socket, timeline).run();
}

}  // namespace helium::safekeeper
