// Connections follow the membership that the safekeepers tell of: new members get one, those that lag are told, and who is
// no member any more is left alone. The term and what is being written go on meanwhile.

#include <algorithm>

#include "base/log.h"
#include "walclient/wal_proposer_impl.h"

namespace helium::walclient {

// Passes the newest membership on to a safekeeper that has an older one. It may not take it: a later change is under way
// there. Then it goes on in its own.
Status WalProposer::Impl::tell_membership(Peer& peer, PgSocket& socket) {
  wire::TellMembership news;
  {
    const std::lock_guard lock(mutex_);
    if (!core.lags(peer.safekeeper.id)) return {};
    news.membership = *core.newest();
    peer.told_generation = news.membership.generation;
  }
  HELIUM_TRY(socket.send_copy_data({wire::encode(wire::ProposerMessage(news))}));
  HELIUM_ASSIGN(const auto told, receive<wire::MembershipTold>(peer, socket, kAnswerTimeout));
  const std::lock_guard lock(mutex_);
  core.on_greeting(peer.safekeeper.id, {.term = told.term, .filling = told.filling, .membership = told.membership});
  follow_membership();
  check_fenced();
  changed.notify_all();
  return {};
}

void WalProposer::Impl::on_refusal(Peer& peer, const wire::Refusal& refusal) {
  const std::lock_guard lock(mutex_);
  const uint32_t before = core.generation_of(peer.safekeeper.id);
  core.on_membership(peer.safekeeper.id, refusal.term, refusal.membership);
  if (core.generation_of(peer.safekeeper.id) != before) peer.retry_now = true;
  follow_membership();
  changed.notify_all();
}

void WalProposer::Impl::follow_membership() {
  const wire::Membership* newest = core.newest();
  if (newest == nullptr || stopping || fenced) return;
  if (newest->generation > followed_generation) {
    if (followed_generation != 0) {
      log::info("the membership changed", {{"timeline", to_string(options.timeline)},
                                           {"membership", wire::to_string(*newest)}});
    }
    followed_generation = newest->generation;
    for (const wire::Member& member : wire::all_members(*newest)) {
      const auto known = std::ranges::find(peers, member.id, [](const auto& peer) { return peer->safekeeper.id; });
      if (known != peers.end() && !(*known)->removed) continue;
      Peer& peer = add_peer({member.id, {member.host, member.pg_port}});
      peer.thread = std::thread([this, &peer] { run_peer(peer); });
    }
  }
  for (const auto& peer : peers) {
    // Told when it connects.
    if (!peer->streaming || !core.lags(peer->safekeeper.id) || peer->told_generation >= newest->generation) continue;
    peer->retry_now = true;
    if (peer->socket) peer->socket->shutdown();
  }
}

// Once WAL is committed in a later generation, nobody needs those who left before.
void WalProposer::Impl::drop_removed() {
  const uint32_t oldest = core.oldest_generation();
  if (oldest == dropped_generation) return;
  dropped_generation = oldest;
  for (const auto& peer : peers) {
    if (core.is_known(peer->safekeeper.id) || peer->removed) continue;
    peer->removed = true;
    if (peer->socket) peer->socket->shutdown();
    log::info("safekeeper is no member any more", {{"timeline", to_string(options.timeline)},
                                                   {"safekeeper", peer->safekeeper.id}});
  }
  changed.notify_all();
}

}  // namespace helium::walclient
