// Inside of WalProposer, shared by its files; nobody else includes this.
//
//   wal_proposer.cc             the interface: append, waiting for commits, fencing, the end
//   wal_proposer_election.cc    from the first greeting to a committed X
//   wal_proposer_connection.cc  one safekeeper's connection: set up, answers, tried again
//   wal_proposer_membership.cc  connections follow the membership
//   wal_proposer_send.cc        WAL out to one safekeeper: from the buffer, or from a donor
//
// Threads: mutex_ guards everything that is not constant. Each safekeeper has a Peer: its thread connects, greets, votes
// and then receives; a second thread, living as long as the connection, sends what append() does not send itself.

#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <variant>

#include "walclient/pg_socket.h"
#include "walclient/proposer.h"
#include "walclient/wal_buffer.h"
#include "walclient/wal_proposer.h"
#include "wire/wal_commit.h"

namespace helium::walclient {

inline constexpr Timeout kConnectTimeout = std::chrono::seconds(2);
inline constexpr Timeout kAnswerTimeout = std::chrono::seconds(10);  // silence for so long: connect again
inline constexpr Timeout kHeartbeatInterval = std::chrono::seconds(1);

struct WalProposer::Impl {
  using Clock = std::chrono::steady_clock;

  struct Peer {
    Safekeeper safekeeper;
    std::thread thread;
    std::shared_ptr<PgSocket> socket;  // of the connection there is
    bool streaming = false;
    Lsn flush_lsn;
    std::optional<Error> last_error;   // why there is no connection
    uint32_t generation = 0;           // that this connection speaks of
    uint32_t told_generation = 0;      // the newest membership that it was told of
    bool retry_now = false;            // the connection ended for news of the membership: no pause
    bool removed = false;              // no member any more: its thread ends

    // While streaming. Who sends (this peer's sender, or append() if the sender has nothing to do) sets `sending`.
    bool sending = false;
    bool ended = false;                // the connection is over: nobody begins to send
    Lsn next;                          // WAL up to here was sent
    Lsn commit_sent;
    Bytes unsent;                      // the end of a message that the socket had no room for
    bool wants_news = false;           // its sender waits for commit_lsn to rise
    Clock::time_point wal_sent_at;
    Clock::time_point heartbeat_due;
    uint64_t term = 0;                 // that it was announced to be in
  };

  explicit Impl(Options o)
      : options(std::move(o)),
        id(random_id<ProposerId>()),
        core(id),
        buffer(options.buffer_bytes) {
    for (const Safekeeper& safekeeper : options.safekeepers) add_peer(safekeeper);
  }

  Peer& add_peer(const Safekeeper& safekeeper) {
    peers.push_back(std::make_unique<Peer>());
    peers.back()->safekeeper = safekeeper;
    return *peers.back();
  }

  // -- election -----------------------------------------------------------------------------------------------------
  Result<WalProposer::Elected> elect(Timeout timeout);
  void start_peers();    // with mutex_
  void ask_for_votes();  // with mutex_; next_term() is known
  // nullopt: the term died with its generation.
  std::optional<Result<WalProposer::Elected>> finish_election(std::unique_lock<std::mutex>& lock,
                                                              Clock::time_point deadline);
  std::optional<Error> hopeless() const;
  Error timed_out() const;
  Result<wire::GreetingReply> greet(Peer& peer, PgSocket& socket);
  Status vote(Peer& peer, PgSocket& socket);
  Status announce(Peer& peer, PgSocket& socket);

  // -- one safekeeper's connection ----------------------------------------------------------------------------------
  void run_peer(Peer& peer);
  Status serve_connection(Peer& peer);
  Status receive_loop(Peer& peer, PgSocket& socket);
  Status on_ack(Peer& peer, const wire::AppendReply& ack);
  template <typename Reply>
  Result<Reply> receive(Peer& peer, PgSocket& socket, Timeout timeout);

  // -- the membership, as the safekeepers tell of it ------------------------------------------------------------------
  Status tell_membership(Peer& peer, PgSocket& socket);
  void on_refusal(Peer& peer, const wire::Refusal& refusal);
  void follow_membership();  // with mutex_: connects to new members, tells those that lag
  void drop_removed();       // with mutex_

  // -- sending ------------------------------------------------------------------------------------------------------
  void send_loop(Peer& peer, PgSocket& socket);
  Status send_some(Peer& peer, PgSocket& socket, std::unique_lock<std::mutex>& lock);
  void send_at_once(Lsn start, ByteView wal, std::unique_lock<std::mutex>& lock);
  wire::Append next_append(const Peer& peer, ByteView wal) const;  // with mutex_
  void note_sent(Peer& peer, const wire::Append& append);          // with mutex_
  const Safekeeper* choose_donor(const Peer& peer, Lsn upto);  // with mutex_
  Result<Lsn> relay(Peer& peer, PgSocket& socket, Lsn from, std::unique_lock<std::mutex>& lock);

  // -- news for everybody -------------------------------------------------------------------------------------------
  void tell_commit();
  void check_fenced();  // with mutex_
  void wake_all() {     // with mutex_
    changed.notify_all();
    to_send.notify_all();
  }

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
  uint32_t followed_generation = 0;  // members of up to this one have a Peer
  uint32_t dropped_generation = 0;   // who is in none from this one on has none
  uint64_t system_id = 0;
  Lsn timeline_start;
  std::thread fence_thread;

  std::mutex tell_mutex;  // on_commit calls, in order
  Lsn told_commit;
};

template <typename Reply>
Result<Reply> WalProposer::Impl::receive(Peer& peer, PgSocket& socket, Timeout timeout) {
  HELIUM_ASSIGN(const auto message, socket.receive(timeout));
  if (!message) return fail(ErrorCode::kTimeout, "no answer in time");
  if (message->type == 'E') return fail(to_error(message->payload));
  if (message->type != 'd') return fail(ErrorCode::kClosed, "the safekeeper ended the push");
  HELIUM_ASSIGN(wire::AcceptorMessage decoded, wire::decode_acceptor_message(message->payload));
  if (const auto* refusal = std::get_if<wire::Refusal>(&decoded)) {
    on_refusal(peer, *refusal);
    return fail(refusal->code, refusal->text);
  }
  auto* reply = std::get_if<Reply>(&decoded);
  if (reply == nullptr) return fail(ErrorCode::kClosed, "the safekeeper's answer is out of order");
  return std::move(*reply);
}

}  // namespace helium::walclient
