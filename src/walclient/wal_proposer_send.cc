// WAL out to safekeepers. Who has got all that came before gets new WAL from append() itself, without a thread in
// between; its sender does the rest: WAL that piled up (from the buffer, or from a donor if it has left the buffer),
// news of commits when no WAL carries them, heartbeats.

#include <algorithm>

#include "base/log.h"
#include "walclient/wal_proposer_impl.h"

namespace helium::walclient {
namespace {

constexpr Timeout kDonorRetry{100};
constexpr auto kCommitNewsDelay = std::chrono::milliseconds(1);  // commit_lsn rides on the next append if one comes soon
constexpr size_t kSendBytes = 256 * 1024;
constexpr size_t kPieceBytes = 32 * 1024;  // worth a system call of its own while other WAL is on its way

Status send_append(PgSocket& socket, const wire::Append& append) {
  return socket.send_copy_data({wire::encode_append_header(append), append.wal});
}

}  // namespace

wire::Append WalProposer::Impl::next_append(const Peer& peer, ByteView wal) const {
  return {.generation = peer.generation,
          .term = peer.term,
          .wants_reply = !wal.empty() || Clock::now() >= peer.heartbeat_due,
          .start_lsn = peer.next,
          .commit_lsn = core.commit_lsn(),
          .wal = wal};
}

void WalProposer::Impl::note_sent(Peer& peer, const wire::Append& append) {
  const auto now = Clock::now();
  if (append.wants_reply) peer.heartbeat_due = now + kHeartbeatInterval;
  if (!append.wal.empty()) peer.wal_sent_at = now;
  peer.next = append.start_lsn + append.wal.size();
  peer.commit_sent = append.commit_lsn;
}

void WalProposer::Impl::send_at_once(Lsn start, ByteView wal, std::unique_lock<std::mutex>& lock) {
  struct Target {
    Peer& peer;
    std::shared_ptr<PgSocket> socket;
    wire::Append append;
  };
  std::vector<Target> targets;
  bool others = false;
  for (const auto& peer : peers) {
    if (!peer->streaming || peer->ended) continue;
    const bool caught_up = !peer->sending && peer->unsent.empty() && peer->next == start;
    const bool quiet = peer->flush_lsn >= start;  // else small pieces pile up until its sender gets to them
    if (!caught_up || wal.size() > kSendBytes || (!quiet && wal.size() < kPieceBytes)) {
      others = true;
      continue;
    }
    peer->sending = true;
    targets.push_back({*peer, peer->socket, next_append(*peer, wal)});
  }
  lock.unlock();
  if (others) to_send.notify_all();
  std::vector<Result<Bytes>> unsent;
  for (const Target& target : targets) {
    unsent.push_back(target.socket->send_copy_data_now(wire::encode_append_header(target.append), wal));
    if (!unsent.back()) target.socket->shutdown();  // its receiver hears of it
  }
  lock.lock();
  for (size_t i = 0; i < targets.size(); ++i) {
    Peer& peer = targets[i].peer;
    peer.sending = false;
    note_sent(peer, targets[i].append);
    if (unsent[i] && !unsent[i]->empty()) peer.unsent = std::move(*unsent[i]);
    if (peer.ended || !peer.unsent.empty()) wake_all();
  }
}

void WalProposer::Impl::send_loop(Peer& peer, PgSocket& socket) {
  std::unique_lock lock(mutex_);
  // A term that is given up has nothing to say any more.
  const auto is_lost = [&] { return core.election() != Proposer::Election::kWon || core.term() != peer.term; };
  while (!peer.ended && !stopping && !fenced && !is_lost()) {
    const auto now = Clock::now();
    const bool has_wal = !peer.unsent.empty() || peer.next < buffer.end();
    // News of a commit rides on the next WAL if that comes soon: nobody is woken for each commit of a busy compute.
    const bool has_news = core.commit_lsn() > peer.commit_sent;
    const auto news_due = peer.wal_sent_at + kCommitNewsDelay;
    if (!peer.sending && (has_wal || (has_news && now >= news_due) || now >= peer.heartbeat_due)) {
      peer.sending = true;
      const Status sent = send_some(peer, socket, lock);
      peer.sending = false;
      if (!sent) {
        socket.shutdown();  // the receiver hears of it
        return;
      }
      continue;
    }
    peer.wants_news = !has_news;
    to_send.wait_until(lock, peer.sending ? now + kCommitNewsDelay
                                          : std::min(peer.heartbeat_due, has_news ? news_due : peer.heartbeat_due));
    peer.wants_news = false;
  }
}

// One step of the sender, which has work. Unlocks while it sends.
Status WalProposer::Impl::send_some(Peer& peer, PgSocket& socket, std::unique_lock<std::mutex>& lock) {
  if (!peer.unsent.empty()) {
    const Bytes rest = std::exchange(peer.unsent, {});
    lock.unlock();
    const Status sent = socket.send(rest);
    lock.lock();
    return sent;
  }
  if (peer.next < buffer.start()) {
    HELIUM_ASSIGN(peer.next, relay(peer, socket, peer.next, lock));
    return {};
  }
  Bytes wal;
  buffer.read(peer.next, kSendBytes, wal);
  const wire::Append append = next_append(peer, wal);
  lock.unlock();
  const Status sent = send_append(socket, append);
  lock.lock();
  if (sent) note_sent(peer, append);
  return sent;
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
  const uint32_t generation = peer.generation;
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
      sent = send_append(socket, {.generation = generation, .term = term, .wants_reply = true,
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

}  // namespace helium::walclient
