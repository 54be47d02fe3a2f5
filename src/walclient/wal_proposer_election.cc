// How a term is won: elect() waits and decides, each safekeeper's thread greets, votes and announces.

#include <fmt/format.h>
#include <algorithm>

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

// -- with one safekeeper ------------------------------------------------------------------------------------------------

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

// Makes the safekeeper adopt the term's history; it gets WAL from where it is then.
Status WalProposer::Impl::announce(Peer& peer, PgSocket& socket) {
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
  peer.ended = false;
  peer.next = reply.flush_lsn;
  peer.commit_sent = Lsn();
  peer.unsent.clear();
  peer.wal_sent_at = {};
  peer.heartbeat_due = Clock::now() + kHeartbeatInterval;
  return {};
}

}  // namespace helium::walclient
