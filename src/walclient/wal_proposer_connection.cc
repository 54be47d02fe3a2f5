// One safekeeper's connection: set up, its answers taken in, and set up again when it is lost.

#include <fmt/format.h>
#include <algorithm>

#include "base/log.h"
#include "walclient/wal_proposer_impl.h"

namespace helium::walclient {
namespace {

constexpr Timeout kBackoffMin{20}, kBackoffMax{1000};

}  // namespace

void WalProposer::Impl::run_peer(Peer& peer) {
  Timeout backoff = kBackoffMin;
  while (true) {
    const auto began = Clock::now();
    const Status ended = serve_connection(peer);
    std::unique_lock lock(mutex_);
    peer.socket.reset();
    core.on_lost(peer.safekeeper.id);
    const bool was_streaming = std::exchange(peer.streaming, false);
    const bool news = !peer.last_error || peer.last_error->message != ended.error().message;
    peer.last_error = ended.error();
    changed.notify_all();
    if (stopping || fenced || peer.removed) return;
    if (std::exchange(peer.retry_now, false)) continue;  // each generation gives rise to one of these
    if (news || was_streaming) {
      log::info("safekeeper lost; trying again", {{"safekeeper", peer.safekeeper.id},
                                                  {"address", to_string(peer.safekeeper.address)},
                                                  {"timeline", to_string(options.timeline)},
                                                  {"error", ended.error()}});
    }
    if (was_streaming && Clock::now() - began > kBackoffMax) backoff = kBackoffMin;
    changed.wait_for(lock, backoff, [&] { return stopping || fenced || peer.removed; });
    if (stopping || fenced || peer.removed) return;
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
  HELIUM_ASSIGN(const wire::GreetingReply greeting, greet(peer, *socket));
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
    core.on_greeting(peer.safekeeper.id,
                     {.term = greeting.term, .filling = greeting.filling, .membership = greeting.membership});
    follow_membership();
    check_fenced();
    changed.notify_all();
  }
  HELIUM_TRY(tell_membership(peer, *socket));
  HELIUM_TRY(vote(peer, *socket));
  set_send_timeout(socket->fd(), kAnswerTimeout);
  HELIUM_TRY(announce(peer, *socket));

  std::thread sender([&] { send_loop(peer, *socket); });
  const Status received = receive_loop(peer, *socket);
  socket->shutdown();
  {
    const std::lock_guard lock(mutex_);
    peer.ended = true;
    wake_all();
  }
  sender.join();
  std::unique_lock lock(mutex_);
  changed.wait(lock, [&] { return !peer.sending; });  // append() may
  return received;
}

Status WalProposer::Impl::receive_loop(Peer& peer, PgSocket& socket) {
  while (true) {
    const auto reply = receive<wire::AppendReply>(peer, socket, kAnswerTimeout);
    if (!reply) return fail(reply.error());
    HELIUM_TRY(on_ack(peer, *reply));
  }
}

Status WalProposer::Impl::on_ack(Peer& peer, const wire::AppendReply& ack) {
  bool rose = false, news_wanted = false;
  {
    const std::lock_guard lock(mutex_);
    rose = core.on_ack(peer.safekeeper.id, ack);
    peer.flush_lsn = ack.flush_lsn;
    check_fenced();
    if (stopping || fenced) return fail(ErrorCode::kCanceled, "stopping");
    if (rose) drop_removed();
    news_wanted = std::ranges::any_of(peers, [](const auto& each) { return each->wants_news; });
  }
  // Those who wait wake up to a mutex that is free.
  if (!rose) return {};
  changed.notify_all();
  tell_commit();
  if (news_wanted) to_send.notify_all();
  return {};
}

}  // namespace helium::walclient
