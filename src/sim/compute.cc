#include "sim/compute.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/planted_bugs.h"
#include "pg/wal_stream.h"
#include "safekeeper/feed_cursor.h"
#include "sim/world.h"

namespace helium::sim {

using walclient::Proposer;

namespace {

ProposerId proposer_id(Address address) {
  return ProposerId{{static_cast<uint8_t>(address), static_cast<uint8_t>(address >> 8), 1}};
}

}  // namespace

Compute::Compute(World& world, Address address) : world_(world), address_(address), core_(proposer_id(address)) {}

void Compute::send(Node& node, const wire::ProposerMessage& message) {
  world_.network.send(address_, static_cast<int>(node.id()), [&node, from = address_, bytes = wire::encode(message)] {
    node.on_push(from, bytes);
  });
}

void Compute::talk_to(Node& node) {
  if (is_over()) return;
  const uint64_t id = node.id();
  const auto greeting = [&] {
    const wire::Membership* newest = core_.newest();
    send(node, wire::Greeting{.version = wire::kWalCommitVersion, .generation = newest ? newest->generation : 0,
                              .proposer = proposer_id(address_), .timeline = World::timeline_id(),
                              .pg_version = World::kPgVersion, .system_id = World::kSystemId});
  };
  if (core_.generation_of(id) == 0 || world_.random.one_in(30)) return greeting();
  if (core_.lags(id) && world_.random.chance(50)) return send(node, wire::TellMembership{*core_.newest()});
  if (is_elected()) {
    const auto at = at_.find(id);
    if (at == at_.end() || world_.random.chance(4)) return send(node, core_.elected_message(id));
    return send_wal(node, at->second);
  }
  if (core_.election() == Proposer::Election::kLost) asked_ = false;
  if (!asked_) {
    if (!core_.next_term()) return greeting();
    core_.request_votes(*core_.next_term());
    asked_ = true;
  }
  if (core_.may_vote(id)) return send(node, core_.vote_request());
  greeting();
}

void Compute::send_wal(Node& node, Lsn from) {
  const bool news = from >= writer_.end();
  wire::Append append{.generation = core_.generation_of(node.id()), .term = core_.term(), .wants_reply = true,
                      .start_lsn = from, .commit_lsn = core_.commit_lsn(), .wal = {}};
  Bytes wal;
  if (!news && from < core_.start_lsn()) {
    // Not ours: from a member that has it.
    std::vector<uint64_t> donors = core_.members_with(core_.start_lsn());
    std::erase(donors, node.id());
    if (donors.empty()) return;
    Node* donor = world_.node(donors[world_.random.below(donors.size())]);
    const auto there = donor != nullptr ? donor->timeline() : nullptr;
    if (!there || !world_.network.connected(address_, static_cast<int>(donor->id()))) return;
    const Lsn upto = std::min(core_.start_lsn(), from + world_.send_size());
    const Status read = safekeeper::read_uncommitted(*there, core_.term(), from, upto, [&](Lsn, ByteView bytes) -> Status {
      wal.insert(wal.end(), bytes.begin(), bytes.end());
      return {};
    });
    if (!read) return;
    append.commit_lsn = Lsn();
  } else if (!news) {
    const size_t size = std::min<uint64_t>(writer_.end() - from, world_.send_size());
    const Bytes& log = world_.truth.log(core_.term());
    const auto first = log.begin() + static_cast<ptrdiff_t>(from - World::start_of(world_));
    wal.assign(first, first + static_cast<ptrdiff_t>(size));
  }
  append.wal = wal;
  at_[node.id()] = from + wal.size();
  if (!world_.faulty() && world_.random.one_in(4)) at_.erase(node.id());
  send(node, append);
}

void Compute::receive(Node& from, const Bytes& message) {
  auto decoded = wire::decode_acceptor_message(message);
  CHECK(decoded.has_value());
  std::visit([&](const auto& m) { on(from, m); }, *decoded);
}

void Compute::on(Node& from, const wire::GreetingReply& reply) {
  core_.on_greeting(from.id(), {.term = reply.term, .filling = reply.filling, .membership = reply.membership});
}

void Compute::on(Node& from, const wire::MembershipTold& told) {
  core_.on_greeting(from.id(), {.term = told.term, .filling = told.filling, .membership = told.membership});
  at_.erase(from.id());
}

void Compute::on(Node& from, const wire::Refusal& refusal) {
  core_.on_membership(from.id(), refusal.term, refusal.membership);
  if (refusal.code != ErrorCode::kNoSpace) core_.on_lost(from.id());
  at_.erase(from.id());
}

void Compute::on(Node& from, const wire::VoteReply& reply) {
  const bool was_elected = is_elected();
  core_.on_vote(from.id(), reply);
  if (!was_elected && is_elected()) won();
}

void Compute::on(Node& from, const wire::AppendReply& reply) {
  const bool ours = begun_ && reply.term == core_.term();
  core_.on_ack(from.id(), reply);
  if (ours) {
    Lsn& at = at_.try_emplace(from.id(), reply.flush_lsn).first->second;
    at = std::min(std::max(at, reply.flush_lsn), writer_.end());
    if (world_.random.one_in(20)) at = reply.flush_lsn;  // as after a new connection
  }
  note_commit();
}

void Compute::won() {
  ++world_.figures.elections;
  begun_ = true;
  const Vote* vote = world_.vote_of(core_.donor(), core_.term(), proposer_id(address_));
  world_.trace("compute {} wins term {}: starts at {}, as node {}, history {}", address_, core_.term(),
               to_string(core_.start_lsn()), core_.donor(), to_string(core_.history()));
  CHECK(vote != nullptr);
  if (core_.start_lsn() - World::start_of(world_) > vote->log.size()) {
    return world_.truth.violated(fmt::format("node {} voted twice in term {}, the second time with a shorter log",
                                             core_.donor(), core_.term()));
  }
  Bytes log(vote->log.begin(), vote->log.begin() + static_cast<ptrdiff_t>(core_.start_lsn() - World::start_of(world_)));
  // The start of the last record, as the pageserver tells it.
  pg::WalStreamDecoder decoder(World::start_of(world_));
  decoder.feed(log);
  for (auto record = decoder.next(); record && *record;) record = decoder.next();
  writer_ = WalWriter(core_.start_lsn(), decoder.last_record_start(), World::kSystemId, World::kPgVersion);
  world_.truth.term_begins(core_.term(), vote->log_term, std::move(log));
  note_commit();
}

void Compute::note_commit() {
  if (!begun_ || core_.commit_lsn() <= told_commit_) return;
  told_commit_ = core_.commit_lsn();
  world_.truth.committed(fmt::format("the proposer of term {}", core_.term()), core_.term(), told_commit_);
}

void Compute::write(size_t size) {
  if (!runs() || is_over()) return;
  Bytes wal;
  if (!wrote_checkpoint_) {
    wrote_checkpoint_ = true;
    // The same bytes now and then, and always the same length: nothing but the history tells them apart.
    wal = writer_.checkpoint(world_.random.chance(50) ? address_ : 1);
  } else {
    if (size == 0) size = world_.random.between(1, world_.random.one_in(20) ? world_.record_bytes_max : 300);
    wal = writer_.record(size, static_cast<uint8_t>(world_.random.between(1, 255)));
  }
  world_.truth.term_writes(core_.term(), wal);
  CHECK(world_.truth.end_of(core_.term()) == writer_.end());
}

}  // namespace helium::sim
