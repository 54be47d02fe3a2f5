// WAL out to one safekeeper: from the buffer, and what has left the buffer from a donor.

#include <algorithm>

#include "base/log.h"
#include "walclient/wal_proposer_impl.h"

namespace helium::walclient {
namespace {

constexpr Timeout kHeartbeatInterval = std::chrono::seconds(1);
constexpr Timeout kDonorRetry{100};
constexpr auto kCommitNewsDelay = std::chrono::milliseconds(1);  // commit_lsn rides on the next append if one comes soon
constexpr size_t kSendBytes = 256 * 1024;

Status send_append(PgSocket& socket, const wire::Append& append) {
  return socket.send_copy_data({wire::encode_append_header(append), append.wal});
}

}  // namespace

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

}  // namespace helium::walclient
