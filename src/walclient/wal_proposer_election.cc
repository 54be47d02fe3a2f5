// How a term is won: elect() waits and decides, each safekeeper's thread greets, votes and announces.

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "walclient/wal_proposer_impl.h"
#include "wire/quorum.h"

namespace helium::walclient {
namespace {

constexpr int kElectionAttempts = 20;

}  // namespace

void WalProposer::Impl::start_peers() {
  CHECK(!started);
  started = true;
  system_id = options.system_id;
  for (const auto& peer : peers) {
    peer->thread = std::thread([this, &peer = *peer] { run_peer(peer); });
  }
}

void WalProposer::Impl::ask_for_votes() {
  core.request_votes(*core.next_term());
  votes_wanted = true;
  changed.notify_all();
}

Result<WalProposer::Elected> WalProposer::Impl::elect(Timeout timeout) {
  const auto deadline = Clock::now() + timeout;
  std::unique_lock lock(mutex_);
  start_peers();
  for (int attempt = 1;; ++attempt) {
    const bool heard = changed.wait_until(
        lock, deadline, [&] { return stopping || core.next_term().has_value() || hopeless().has_value(); });
    if (stopping) return fail(ErrorCode::kCanceled, "the proposer was stopped");
    if (!core.next_term()) return heard ? fail(*hopeless()) : fail(timed_out());
    ask_for_votes();
    changed.wait_until(lock, deadline,
                       [&] { return stopping || core.election() != Proposer::Election::kWaiting || hopeless(); });
    if (stopping) return fail(ErrorCode::kCanceled, "the proposer was stopped");
    if (core.election() == Proposer::Election::kWon) {
      if (auto finished = finish_election(lock, deadline)) return std::move(*finished);
    }
    if (core.election() == Proposer::Election::kWaiting) {
      const auto why = hopeless();
      return fail(why ? *why : timed_out());
    }
    votes_wanted = false;
    wake_all();  // everybody greets again
    if (attempt == kElectionAttempts) {
      return fail(ErrorCode::kFenced, fmt::format("another compute of timeline {} wins the elections",
                                                  to_string(options.timeline)));
    }
    // Somebody else ran in between: step aside for a random moment.
    const auto pause = std::chrono::milliseconds(5 + random_u64() % 50);
    changed.wait_until(lock, std::min(deadline, Clock::now() + pause), [&] { return stopping; });
  }
}

std::optional<Result<WalProposer::Elected>> WalProposer::Impl::finish_election(std::unique_lock<std::mutex>& lock,
                                                                                Clock::time_point deadline) {
  const auto is_lost = [&] { return core.election() == Proposer::Election::kLost; };
  const bool ended = changed.wait_until(lock, deadline, [&] {
    return stopping || fenced || core.fenced_by() || is_lost() || core.commit_lsn() >= core.start_lsn();
  });
  if (stopping) return fail(ErrorCode::kCanceled, "the proposer was stopped");
  if (core.fenced_by()) {
    return fail(ErrorCode::kFenced, fmt::format("another compute won term {}", *core.fenced_by()));
  }
  if (is_lost()) {
    for (const auto& peer : peers) {
      if (!peer->streaming) continue;
      peer->retry_now = true;
      if (peer->socket) peer->socket->shutdown();
    }
    return std::nullopt;
  }
  if (!ended) return fail(timed_out());
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

// An error that waiting will not cure at so many safekeepers that no quorum is left.
std::optional<Error> WalProposer::Impl::hopeless() const {
  std::set<uint64_t> left;
  size_t against = 0;
  const Error* error = nullptr;
  for (const auto& peer : peers) {
    const ErrorCode code = peer->last_error ? peer->last_error->code : ErrorCode::kUnavailable;
    if (code != ErrorCode::kNotFound && code != ErrorCode::kInvalid && code != ErrorCode::kTooNew &&
        code != ErrorCode::kCorrupt) {
      left.insert(peer->safekeeper.id);
      continue;
    }
    ++against;
    error = &*peer->last_error;
  }
  const bool is_left = core.newest() ? is_quorum(*core.newest(), left) : left.size() >= majority(peers.size());
  if (against == 0 || is_left) return std::nullopt;
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

// -- with one safekeeper ------------------------------------------------------------------------------------------------

Result<wire::GreetingReply> WalProposer::Impl::greet(Peer& peer, PgSocket& socket) {
  uint64_t known_system_id;
  uint32_t known_generation;
  {
    const std::lock_guard lock(mutex_);
    known_system_id = system_id;
    known_generation = core.newest() ? core.newest()->generation : 0;
  }
  const wire::ProposerMessage greeting = wire::Greeting{.version = wire::kWalCommitVersion,
                                                        .generation = known_generation,
                                                        .proposer = id,
                                                        .timeline = options.timeline,
                                                        .pg_version = static_cast<uint32_t>(options.pg_version),
                                                        .system_id = known_system_id};
  HELIUM_TRY(socket.send_copy_data({wire::encode(greeting)}));
  return receive<wire::GreetingReply>(peer, socket, kConnectTimeout);
}

// Votes in each term that is tried, until one is won. Who lost greets again before the next one: a proposer that is not
// heard by a quorum any more must not raise terms.
Status WalProposer::Impl::vote(Peer& peer, PgSocket& socket) {
  const uint64_t safekeeper = peer.safekeeper.id;
  uint64_t voted = 0;
  while (true) {
    wire::ProposerMessage request;
    bool greets = false;
    {
      std::unique_lock lock(mutex_);
      const auto is_won = [&] { return core.election() == Proposer::Election::kWon; };
      changed.wait(lock, [&] {
        return stopping || fenced || is_won() || !core.is_heard(safekeeper) ||
               (votes_wanted && core.vote_request().term > voted && core.may_vote(safekeeper));
      });
      if (stopping || fenced) return fail(ErrorCode::kCanceled, "stopping");
      if (is_won()) return {};
      greets = !core.is_heard(safekeeper);
      if (!greets) {
        request = core.vote_request();
        voted = core.vote_request().term;
      }
    }
    if (greets) {
      HELIUM_ASSIGN(const wire::GreetingReply greeting, greet(peer, socket));
      const std::lock_guard lock(mutex_);
      core.on_greeting(safekeeper,
                       {.term = greeting.term, .filling = greeting.filling, .membership = greeting.membership});
      follow_membership();
      changed.notify_all();
      if (!core.is_heard(safekeeper)) return fail(ErrorCode::kUnavailable, "it answered with a membership of before");
      continue;
    }
    HELIUM_TRY(socket.send_copy_data({wire::encode(request)}));
    HELIUM_ASSIGN(const wire::VoteReply reply, receive<wire::VoteReply>(peer, socket, kAnswerTimeout));
    const std::lock_guard lock(mutex_);
    const bool was_won = core.election() == Proposer::Election::kWon;
    core.on_vote(safekeeper, reply);
    // With the vote that decides, before any sender looks at the buffer: elect() may wake up after them.
    if (!was_won && core.election() == Proposer::Election::kWon) buffer.reset(core.start_lsn());
    peer.flush_lsn = reply.flush_lsn;
    check_fenced();
    changed.notify_all();
  }
}

// Makes the safekeeper adopt the term's history; it gets WAL from where it is then.
Status WalProposer::Impl::announce(Peer& peer, PgSocket& socket) {
  wire::ProposerMessage message;
  {
    const std::lock_guard lock(mutex_);
    if (core.election() != Proposer::Election::kWon) return fail(ErrorCode::kUnavailable, "the term was given up");
    peer.generation = core.generation_of(peer.safekeeper.id);
    message = core.elected_message(peer.safekeeper.id);
  }
  HELIUM_TRY(socket.send_copy_data({wire::encode(message)}));
  HELIUM_ASSIGN(const wire::AppendReply reply, receive<wire::AppendReply>(peer, socket, kAnswerTimeout));
  HELIUM_TRY(on_ack(peer, reply));
  const std::lock_guard lock(mutex_);
  peer.streaming = true;
  peer.ended = false;
  peer.term = std::get<wire::Elected>(message).term;
  peer.next = reply.flush_lsn;
  peer.commit_sent = Lsn();
  peer.unsent.clear();
  peer.wal_sent_at = {};
  peer.heartbeat_due = Clock::now() + kHeartbeatInterval;
  return {};
}

}  // namespace helium::walclient
