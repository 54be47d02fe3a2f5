#include "walclient/wal_proposer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "walclient/pg_socket.h"
#include "walclient/proposer.h"
#include "walclient/wal_buffer.h"
#include "wire/quorum.h"

namespace helium::walclient {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Timeout kConnectTimeout = std::chrono::seconds(2);
constexpr Timeout kAnswerTimeout = std::chrono::seconds(10);    // silence for so long: connect again
constexpr Timeout kHeartbeatInterval = std::chrono::seconds(1);
constexpr Timeout kBackoffMin{20}, kBackoffMax{1000};
constexpr Timeout kDonorRetry{100};
constexpr auto kCommitNewsDelay = std::chrono::milliseconds(1);  // commit_lsn rides on the next append if one comes soon
constexpr size_t kSendBytes = 256 * 1024;
constexpr int kElectionAttempts = 20;

}  // namespace

// mutex_ guards everything that is not constant. Each safekeeper has a Peer: its thread connects, greets, votes and
// then receives; a second thread, living as long as the connection, sends.
struct WalProposer::Impl {
  struct Peer {
    Safekeeper safekeeper;
    std::thread thread;
    std::shared_ptr<PgSocket> socket;  // of the connection there is
    bool streaming = false;
    bool wants_news = false;           // its sender waits for commit_lsn to rise
    Lsn flush_lsn;
    std::optional<Error> last_error;   // why there is no connection
  };

  explicit Impl(Options o)
      : options(std::move(o)),
        id(random_id<ProposerId>()),
        core({.id = id, .generation = options.generation, .members = member_ids(options)}),
        buffer(options.buffer_bytes) {
    for (const Safekeeper& safekeeper : options.safekeepers) {
      peers.push_back(std::make_unique<Peer>());
      peers.back()->safekeeper = safekeeper;
    }
  }

  static std::vector<uint64_t> member_ids(const Options& options) {
    std::vector<uint64_t> ids;
    for (const Safekeeper& safekeeper : options.safekeepers) ids.push_back(safekeeper.id);
    return ids;
  }

  // -- election -----------------------------------------------------------------------------------------------------
  Result<WalProposer::Elected> elect(Timeout timeout);
  Result<WalProposer::Elected> finish_election(std::unique_lock<std::mutex>& lock, Clock::time_point deadline);
  std::optional<Error> hopeless() const;
  Error timed_out() const;

  // -- one safekeeper -----------------------------------------------------------------------------------------------
  void run_peer(Peer& peer);
  Status serve_connection(Peer& peer);
  Result<wire::GreetingReply> greet(PgSocket& socket);
  Status vote(Peer& peer, PgSocket& socket);
  Result<Lsn> announce(Peer& peer, PgSocket& socket);
  void send_loop(Peer& peer, PgSocket& socket, Lsn next, const std::atomic<bool>& ended);
  const Safekeeper* choose_donor(const Peer& peer, Lsn upto);  // with mutex_
  Result<Lsn> relay(Peer& peer, PgSocket& socket, Lsn from, std::unique_lock<std::mutex>& lock);
  Status receive_loop(Peer& peer, PgSocket& socket);
  Status on_ack(Peer& peer, const wire::AppendReply& ack);
  Status send_append(PgSocket& socket, const wire::Append& append) {
    return socket.send_copy_data({wire::encode_append_header(append), append.wal});
  }
  template <typename Reply>
  Result<Reply> receive(PgSocket& socket, Timeout timeout);
  void tell_commit();
  void wake_all() {  // with mutex_
    changed.notify_all();
    to_send.notify_all();
  }
  void check_fenced();  // with mutex_

  const Options options;
  const ProposerId id;

  mutable std::mutex mutex_;
  std::condition_variable changed;
  std::condition_variable to_send;  // for the senders: WAL, wanted news, or the end
  Proposer core;
  WalBuffer buffer;
  std::vector<std::unique_ptr<Peer>> peers;
  bool started = false;
  bool stopping = false;
  bool fenced = false;
  size_t donor_turn = 0;
  bool votes_wanted = false;  // core has a term to vote for
  uint64_t system_id = 0;
  Lsn timeline_start;
  std::thread fence_thread;

  std::mutex tell_mutex;  // on_commit calls, in order
  Lsn told_commit;
};

// -- election -----------------------------------------------------------------------------------------------------------

Result<WalProposer::Elected> WalProposer::Impl::elect(Timeout timeout) {
  const auto deadline = Clock::now() + timeout;
  std::unique_lock lock(mutex_);
  CHECK(!started);
  started = true;
  system_id = options.system_id;
  for (const auto& peer : peers) {
    peer->thread = std::thread([this, &peer = *peer] { run_peer(peer); });
  }
  for (int attempt = 1;; ++attempt) {
    const bool heard = changed.wait_until(
        lock, deadline, [&] { return stopping || core.next_term().has_value() || hopeless().has_value(); });
    if (stopping) return fail(ErrorCode::kCanceled, "the proposer was stopped");
    if (!core.next_term()) return heard ? fail(*hopeless()) : fail(timed_out());
    core.request_votes(*core.next_term());
    votes_wanted = true;
    changed.notify_all();
    changed.wait_until(lock, deadline,
                       [&] { return stopping || core.election() != Proposer::Election::kWaiting || hopeless(); });
    if (stopping) return fail(ErrorCode::kCanceled, "the proposer was stopped");
    if (core.election() == Proposer::Election::kWon) return finish_election(lock, deadline);
    if (core.election() == Proposer::Election::kWaiting) {
      const auto why = hopeless();
      return fail(why ? *why : timed_out());
    }
    votes_wanted = false;
    if (attempt == kElectionAttempts) {
      return fail(ErrorCode::kFenced, fmt::format("another compute of timeline {} wins the elections",
                                                  to_string(options.timeline)));
    }
    // Somebody else ran in between: step aside for a random moment.
    const auto pause = std::chrono::milliseconds(5 + random_u64() % 50);
    changed.wait_until(lock, std::min(deadline, Clock::now() + pause), [&] { return stopping; });
  }
}

Result<WalProposer::Elected> WalProposer::Impl::finish_election(std::unique_lock<std::mutex>& lock,
                                                                Clock::time_point deadline) {
  const bool committed = changed.wait_until(lock, deadline, [&] {
    return stopping || fenced || core.fenced_by() || core.commit_lsn() >= core.start_lsn();
  });
  if (stopping) return fail(ErrorCode::kCanceled, "the proposer was stopped");
  if (core.fenced_by()) {
    return fail(ErrorCode::kFenced, fmt::format("another compute won term {}", *core.fenced_by()));
  }
  if (!committed) return fail(timed_out());
  const uint64_t donor = core.members_with(core.start_lsn()).front();
  WalProposer::Elected elected{.term = core.term(),
                               .start_lsn = core.start_lsn(),
                               .donor = {},
                               .system_id = system_id,
                               .timeline_start = timeline_start};
  for (const auto& peer : peers) {
    if (peer->safekeeper.id == donor) elected.donor = peer->safekeeper.address;
  }
  log::info("proposer elected", {{"timeline", to_string(options.timeline)},
                                 {"term", elected.term},
                                 {"start_lsn", elected.start_lsn},
                                 {"donor", to_string(elected.donor)}});
  return elected;
}

// An error that waiting will not cure at so many safekeepers that no majority is left.
std::optional<Error> WalProposer::Impl::hopeless() const {
  size_t against = 0;
  const Error* error = nullptr;
  for (const auto& peer : peers) {
    if (!peer->last_error) continue;
    const ErrorCode code = peer->last_error->code;
    if (code != ErrorCode::kNotFound && code != ErrorCode::kInvalid && code != ErrorCode::kTooNew &&
        code != ErrorCode::kCorrupt) {
      continue;
    }
    ++against;
    error = &*peer->last_error;
  }
  if (against == 0 || peers.size() - against >= majority(peers.size())) return std::nullopt;
  return *error;
}

Error WalProposer::Impl::timed_out() const {
  std::string text = "no majority of safekeepers in time:";
  for (const auto& peer : peers) {
    text += fmt::format(" safekeeper {} at {}: {};", peer->safekeeper.id, to_string(peer->safekeeper.address),
                        peer->last_error ? peer->last_error->message : "no answer yet");
  }
  text.pop_back();
  return {ErrorCode::kTimeout, std::move(text)};
}

// -- one safekeeper -----------------------------------------------------------------------------------------------------

void WalProposer::Impl::run_peer(Peer& peer) {
  Timeout backoff = kBackoffMin;
  while (true) {
    const auto began = Clock::now();
    const Status ended = serve_connection(peer);
    std::unique_lock lock(mutex_);
    peer.socket.reset();
    const bool was_streaming = std::exchange(peer.streaming, false);
    const bool news = !peer.last_error || peer.last_error->message != ended.error().message;
    peer.last_error = ended.error();
    changed.notify_all();
    if (stopping || fenced) return;
    if (news || was_streaming) {
      log::info("safekeeper lost; trying again", {{"safekeeper", peer.safekeeper.id},
                                                  {"address", to_string(peer.safekeeper.address)},
                                                  {"timeline", to_string(options.timeline)},
                                                  {"error", ended.error()}});
    }
    if (was_streaming && Clock::now() - began > kBackoffMax) backoff = kBackoffMin;
    changed.wait_for(lock, backoff, [&] { return stopping || fenced; });
    if (stopping || fenced) return;
    backoff = std::min(backoff * 2, kBackoffMax);
  }
}

// Never returns success: a connection ends by an error.
Status WalProposer::Impl::serve_connection(Peer& peer) {
  HELIUM_ASSIGN(PgSocket connected, connect_wal_service(peer.safekeeper.address, options.timeline, kConnectTimeout,
                                                        "proposer"));
  const auto socket = std::make_shared<PgSocket>(std::move(connected));
  {
    const std::lock_guard lock(mutex_);
    if (stopping) return fail(ErrorCode::kCanceled, "stopping");
    peer.socket = socket;
  }
  HELIUM_TRY(start_copy(*socket, "START_WAL_PUSH", kConnectTimeout));
  HELIUM_ASSIGN(const wire::GreetingReply greeting, greet(*socket));
  if (greeting.safekeeper_id != peer.safekeeper.id) {
    return fail(ErrorCode::kInvalid, fmt::format("{} is safekeeper {}, not {}", to_string(peer.safekeeper.address),
                                                 greeting.safekeeper_id, peer.safekeeper.id));
  }
  {
    const std::lock_guard lock(mutex_);
    if (system_id == 0) system_id = greeting.system_id;
    if (greeting.system_id != system_id) {
      return fail(ErrorCode::kInvalid, fmt::format("safekeeper {} has system identifier {}, another one {}",
                                                   peer.safekeeper.id, greeting.system_id, system_id));
    }
    timeline_start = greeting.timeline_start_lsn;
    peer.last_error.reset();
    core.on_term_seen(peer.safekeeper.id, greeting.term);
    check_fenced();
    changed.notify_all();
  }
  HELIUM_TRY(vote(peer, *socket));
  HELIUM_ASSIGN(const Lsn start, announce(peer, *socket));

  set_send_timeout(socket->fd(), kAnswerTimeout);
  std::atomic<bool> ended = false;
  std::thread sender([&] { send_loop(peer, *socket, start, ended); });
  const Status received = receive_loop(peer, *socket);
  ended = true;
  socket->shutdown();
  {
    const std::lock_guard lock(mutex_);
    wake_all();
  }
  sender.join();
  return received;
}

template <typename Reply>
Result<Reply> WalProposer::Impl::receive(PgSocket& socket, Timeout timeout) {
  HELIUM_ASSIGN(const auto message, socket.receive(timeout));
  if (!message) return fail(ErrorCode::kTimeout, "no answer in time");
  if (message->type == 'E') return fail(to_error(message->payload));
  if (message->type != 'd') return fail(ErrorCode::kClosed, "the safekeeper ended the push");
  HELIUM_ASSIGN(wire::AcceptorMessage decoded, wire::decode_acceptor_message(message->payload));
  if (const auto* refusal = std::get_if<wire::Refusal>(&decoded)) {
    return fail(refusal->code, refusal->text);
  }
  auto* reply = std::get_if<Reply>(&decoded);
  if (reply == nullptr) return fail(ErrorCode::kClosed, "the safekeeper's answer is out of order");
  return std::move(*reply);
}

Result<wire::GreetingReply> WalProposer::Impl::greet(PgSocket& socket) {
  uint64_t known_system_id;
  {
    const std::lock_guard lock(mutex_);
    known_system_id = system_id;
  }
  const wire::ProposerMessage greeting = wire::Greeting{.version = wire::kWalCommitVersion,
                                                        .generation = options.generation,
                                                        .proposer = id,
                                                        .timeline = options.timeline,
                                                        .pg_version = static_cast<uint32_t>(options.pg_version),
                                                        .system_id = known_system_id};
  HELIUM_TRY(socket.send_copy_data({wire::encode(greeting)}));
  return receive<wire::GreetingReply>(socket, kConnectTimeout);
}

// Votes in each term that is tried, until one is won.
Status WalProposer::Impl::vote(Peer& peer, PgSocket& socket) {
  uint64_t voted = 0;
  while (true) {
    wire::ProposerMessage request;
    {
      std::unique_lock lock(mutex_);
      changed.wait(lock, [&] {
        return stopping || fenced || (votes_wanted && core.vote_request().term > voted) ||
               (voted != 0 && core.election() == Proposer::Election::kWon);
      });
      if (stopping || fenced) return fail(ErrorCode::kCanceled, "stopping");
      if (core.vote_request().term == voted) return {};
      request = core.vote_request();
      voted = core.vote_request().term;
    }
    HELIUM_TRY(socket.send_copy_data({wire::encode(request)}));
    HELIUM_ASSIGN(const wire::VoteReply reply, receive<wire::VoteReply>(socket, kAnswerTimeout));
    const std::lock_guard lock(mutex_);
    const bool was_won = core.election() == Proposer::Election::kWon;
    core.on_vote(peer.safekeeper.id, reply);
    // With the vote that decides, before any sender looks at the buffer: elect() may wake up after them.
    if (!was_won && core.election() == Proposer::Election::kWon) buffer.reset(core.start_lsn());
    peer.flush_lsn = reply.flush_lsn;
    check_fenced();
    changed.notify_all();
  }
}

// Makes the safekeeper adopt the term's history; answers from where it needs WAL.
Result<Lsn> WalProposer::Impl::announce(Peer& peer, PgSocket& socket) {
  wire::ProposerMessage message;
  {
    const std::lock_guard lock(mutex_);
    message = core.elected_message();
  }
  HELIUM_TRY(socket.send_copy_data({wire::encode(message)}));
  HELIUM_ASSIGN(const wire::AppendReply reply, receive<wire::AppendReply>(socket, kAnswerTimeout));
  HELIUM_TRY(on_ack(peer, reply));
  const std::lock_guard lock(mutex_);
  peer.streaming = true;
  return reply.flush_lsn;
}

void WalProposer::Impl::send_loop(Peer& peer, PgSocket& socket, Lsn next, const std::atomic<bool>& ended) {
  Lsn commit_sent;
  auto heartbeat_due = Clock::now() + kHeartbeatInterval;
  Bytes wal;
  std::unique_lock lock(mutex_);
  const auto over = [&] { return ended || stopping || fenced; };
  const auto has_wal = [&] { return next < buffer.end(); };
  // News of a commit rides on the next WAL if that comes soon: a busy sender is not woken for each commit.
  const auto has_news = [&] { return core.commit_lsn() > commit_sent; };
  while (true) {
    if (commit_sent.is_valid() && commit_sent < next) {
      to_send.wait_for(lock, kCommitNewsDelay, [&] { return over() || has_wal(); });
    }
    peer.wants_news = true;
    to_send.wait_until(lock, heartbeat_due, [&] { return over() || has_wal() || has_news(); });
    peer.wants_news = false;
    if (over()) return;
    if (next < buffer.start()) {
      const Result<Lsn> reached = relay(peer, socket, next, lock);
      if (!reached) {
        socket.shutdown();
        return;
      }
      next = *reached;
      continue;
    }
    buffer.read(next, kSendBytes, wal);
    const wire::Append append{.generation = options.generation,
                              .term = core.term(),
                              .wants_reply = !wal.empty() || Clock::now() >= heartbeat_due,
                              .start_lsn = next,
                              .commit_lsn = core.commit_lsn(),
                              .wal = wal};
    lock.unlock();
    const Status sent = send_append(socket, append);
    if (!sent) {
      socket.shutdown();  // the receiver hears of it
      return;
    }
    if (append.wants_reply) heartbeat_due = Clock::now() + kHeartbeatInterval;
    next = next + wal.size();
    commit_sent = append.commit_lsn;
    lock.lock();
  }
}

// Another one that has WAL up to there: one that is connected, if there is one, and not the same each time.
const Safekeeper* WalProposer::Impl::choose_donor(const Peer& peer, Lsn upto) {
  std::vector<const Peer*> donors;
  for (const uint64_t id : core.members_with(upto)) {
    const auto other = std::ranges::find(peers, id, [](const auto& p) { return p->safekeeper.id; });
    if (other != peers.end() && other->get() != &peer) donors.push_back(other->get());
  }
  if (donors.empty()) return nullptr;
  if (std::ranges::any_of(donors, &Peer::streaming)) {
    std::erase_if(donors, [](const Peer* donor) { return !donor->streaming; });
  }
  return &donors[donor_turn++ % donors.size()]->safekeeper;
}

// WAL that has left the buffer comes from a safekeeper that has it. Returns where this one is then.
Result<Lsn> WalProposer::Impl::relay(Peer& peer, PgSocket& socket, Lsn from, std::unique_lock<std::mutex>& lock) {
  const Lsn upto = buffer.start();
  const uint64_t term = core.term();
  const Safekeeper* donor = choose_donor(peer, upto);
  if (donor == nullptr) {
    changed.wait_for(lock, kDonorRetry, [&] { return stopping || fenced; });
    return from;
  }
  lock.unlock();
  log::info("feeding a lagging safekeeper", {{"safekeeper", peer.safekeeper.id},
                                             {"from", from},
                                             {"upto", upto},
                                             {"donor", donor->id}});
  Status sent;
  Lsn reached = from;
  const Status got = read_wal(donor->address, options.timeline, term, from, upto, kAnswerTimeout, [&](Lsn start, ByteView wal) {
    while (sent && !wal.empty()) {
      const ByteView part = wal.first(std::min(wal.size(), wire::kMaxAppendBytes));
      sent = send_append(socket, {.generation = options.generation, .term = term, .wants_reply = true,
                                  .start_lsn = start, .commit_lsn = Lsn(), .wal = part});
      start = start + part.size();
      wal = wal.subspan(part.size());
      reached = start;
    }
    return sent;
  });
  lock.lock();
  if (!sent) return fail(sent.error());
  if (!got) {
    log::info("a donor failed; trying another", {{"donor", donor->id}, {"error", got.error()}});
    changed.wait_for(lock, kDonorRetry, [&] { return stopping || fenced; });
  }
  return reached;
}

Status WalProposer::Impl::receive_loop(Peer& peer, PgSocket& socket) {
  while (true) {
    const auto reply = receive<wire::AppendReply>(socket, kAnswerTimeout);
    if (!reply) return fail(reply.error());
    HELIUM_TRY(on_ack(peer, *reply));
  }
}

Status WalProposer::Impl::on_ack(Peer& peer, const wire::AppendReply& ack) {
  bool rose = false;
  {
    const std::lock_guard lock(mutex_);
    rose = core.on_ack(peer.safekeeper.id, ack);
    peer.flush_lsn = ack.flush_lsn;
    check_fenced();
    if (stopping || fenced) return fail(ErrorCode::kCanceled, "stopping");
    if (rose) {
      changed.notify_all();
      if (std::ranges::any_of(peers, [](const auto& each) { return each->wants_news; })) to_send.notify_all();
    }
  }
  if (rose) tell_commit();
  return {};
}

void WalProposer::Impl::tell_commit() {
  const std::lock_guard tell_lock(tell_mutex);
  Lsn commit;
  {
    const std::lock_guard lock(mutex_);
    commit = core.commit_lsn();
  }
  if (commit <= told_commit) return;
  told_commit = commit;
  if (options.on_commit) options.on_commit(commit);
}

void WalProposer::Impl::check_fenced() {
  if (fenced || !core.fenced_by()) return;
  fenced = true;
  wake_all();
  log::info("fenced: a later term exists", {{"timeline", to_string(options.timeline)},
                                            {"term", core.term()},
                                            {"newer_term", *core.fenced_by()}});
  if (options.on_fenced) {
    fence_thread = std::thread([tell = options.on_fenced, term = *core.fenced_by()] { tell(term); });
  }
}

// -- the interface ------------------------------------------------------------------------------------------------------

WalProposer::WalProposer(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}

WalProposer::~WalProposer() {
  stop();
  if (impl_->fence_thread.joinable()) impl_->fence_thread.join();
}

Result<WalProposer::Elected> WalProposer::elect(Timeout timeout) { return impl_->elect(timeout); }

void WalProposer::append(Lsn start, ByteView whole_records) {
  std::unique_lock lock(impl_->mutex_);
  CHECK(impl_->fenced || impl_->stopping || start == impl_->buffer.end());
  while (!whole_records.empty()) {
    impl_->changed.wait(lock, [&] {
      return impl_->stopping || impl_->fenced || impl_->buffer.room(impl_->core.commit_lsn()) > 0;
    });
    if (impl_->stopping || impl_->fenced) return;
    const size_t room = impl_->buffer.room(impl_->core.commit_lsn());
    const ByteView part = whole_records.first(std::min(whole_records.size(), room));
    impl_->buffer.append(part);
    whole_records = whole_records.subspan(part.size());
    impl_->to_send.notify_all();
  }
}

Lsn WalProposer::commit_lsn() const {
  const std::lock_guard lock(impl_->mutex_);
  return impl_->core.commit_lsn();
}

Status WalProposer::wait_commit(Lsn lsn, Timeout timeout) {
  std::unique_lock lock(impl_->mutex_);
  const bool ended = impl_->changed.wait_for(
      lock, timeout, [&] { return impl_->stopping || impl_->fenced || impl_->core.commit_lsn() >= lsn; });
  if (impl_->core.commit_lsn() >= lsn) return {};
  if (!ended) return fail(ErrorCode::kTimeout, fmt::format("{} is not committed in time", to_string(lsn)));
  if (impl_->fenced) return fail(ErrorCode::kFenced, "another compute holds a later term");
  return fail(ErrorCode::kCanceled, "the proposer was stopped");
}

std::vector<WalProposer::SafekeeperState> WalProposer::safekeepers() const {
  const std::lock_guard lock(impl_->mutex_);
  std::vector<SafekeeperState> states;
  for (const auto& peer : impl_->peers) {
    states.push_back({peer->safekeeper.id, peer->streaming, peer->flush_lsn});
  }
  return states;
}

TermHistory WalProposer::term_history() const {
  const std::lock_guard lock(impl_->mutex_);
  return impl_->core.history();
}

void WalProposer::stop() {
  {
    const std::lock_guard lock(impl_->mutex_);
    impl_->stopping = true;
    for (const auto& peer : impl_->peers) {
      if (peer->socket) peer->socket->shutdown();
    }
    impl_->wake_all();
  }
  for (const auto& peer : impl_->peers) {
    if (peer->thread.joinable()) peer->thread.join();
  }
}

}  // namespace helium::walclient
