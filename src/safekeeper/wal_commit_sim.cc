#include "safekeeper/wal_commit_sim.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <variant>
#include <vector>

#include "safekeeper/acceptor.h"
#include "walclient/proposer.h"
#include "wire/quorum.h"

namespace helium::safekeeper::sim {
namespace {

using walclient::Proposer;

constexpr Lsn kStart(1000);
constexpr int kMembers = 3;
constexpr size_t kSector = 8;              // tears happen between sectors
constexpr size_t kCheckpointSize = 12;     // every term begins with a record of this length, as every compute does
constexpr size_t kSendMax = 40;            // so that appends split records

using Log = std::vector<uint8_t>;          // WAL from kStart on
Lsn lsn_of(size_t index) { return kStart + index; }
size_t index_of(Lsn lsn) { return lsn - kStart; }

// A toy record: length, bytes, checksum. Length 0: no record. The checksum is wide enough that no torn record passes.
constexpr size_t kChecksumSize = 4;
constexpr size_t kRecordMin = 1 + 1 + kChecksumSize;
uint32_t checksum(const uint8_t* bytes, size_t size) {
  uint32_t sum = 2166136261u;
  for (size_t i = 0; i < size; ++i) sum = (sum ^ bytes[i]) * 16777619u;
  return sum;
}
// The end of the last complete record, from the record end `from` on.
size_t last_record_end(const Log& log, size_t from) {
  while (from < log.size()) {
    const size_t length = log[from];
    if (length < kRecordMin || from + length > log.size()) break;
    const size_t body = length - kChecksumSize;
    if (checksum(log.data() + from, body) != load<uint32_t>(log.data() + from + body)) break;
    from += length;
  }
  return from;
}

struct PowerCut {};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t below(uint64_t n) { return engine_() % n; }
  bool chance(int percent) { return below(100) < static_cast<uint64_t>(percent); }

 private:
  std::mt19937_64 engine_;
};

// What a crash leaves: control state as persisted, of unsynced WAL some sectors.
struct Disk {
  AcceptorState control;
  Log synced;
  Log written;  // what reads see; at least as long as synced

  void crash(Random& random) {
    synced.resize(std::max(synced.size(), written.size()));
    written.resize(synced.size());
    for (size_t at = 0; at < written.size(); at += kSector) {
      const size_t end = std::min(at + kSector, written.size());
      if (random.chance(50)) std::copy(written.begin() + at, written.begin() + end, synced.begin() + at);
    }
    written = synced;
  }
};

// Messages, with what only the checker may look at.
struct VoteWithLog {
  wire::VoteReply reply;
  Log log;  // the voter's, up to flush_lsn
};
struct Greeted {
  uint64_t term;
};
struct OwnedAppend {
  wire::Append header;
  Bytes wal;
};
struct Hello {};
using Payload = std::variant<Hello, wire::VoteRequest, wire::Elected, OwnedAppend,  // to acceptors
                             Greeted, VoteWithLog, wire::AppendReply,               // to proposers
                             MemberProgress>;                                       // between acceptors
struct Envelope {
  int from, to;  // acceptors 1..kMembers, proposers from 100 on
  Payload payload;
};

class World;

class SimAcceptor {
 public:
  SimAcceptor(World& world, int id);
  bool up() const { return acceptor_.has_value(); }
  const Acceptor& core() const { return *acceptor_; }
  const Log& wal() const { return disk_.written; }
  void start();
  void crash();
  void receive(int from, const Payload& payload);
  // One batch: sync, then answer.
  void sync();
  bool has_unanswered() const { return !unanswered_.empty(); }
  void catch_up(SimAcceptor& peer);
  // READ_WAL.
  std::optional<Bytes> read(uint64_t term, Lsn start, Lsn end) const;

 private:
  void step();  // the power may go before each disk step
  void flush();
  void write(size_t at, const uint8_t* bytes, size_t size);
  void vote(int from, const wire::VoteRequest& request);
  void adopt(const Acceptor::ElectedDecision& decision);
  void append(int from, const wire::Append& append);
  void served();

  World& world_;
  const int id_;
  Disk disk_;
  std::optional<Acceptor> acceptor_;
  size_t end_ = 0;         // of bytes
  size_t record_end_ = 0;
  std::map<int, uint64_t> unanswered_;  // proposer, the term of its appends
  std::map<int, MemberProgress> peers_;
  uint64_t told_term_ = 0;
  Lsn told_commit_;
};

class SimProposer {
 public:
  SimProposer(World& world, int id);
  void receive(int from, const Payload& payload);
  // Says again whatever this acceptor needs now.
  void talk_to(int acceptor);
  void write_record();
  bool over() const { return core_.fenced_by().has_value(); }
  bool elected() const { return core_.election() == Proposer::Election::kWon; }
  const Proposer& core() const { return core_; }

 private:
  void won();
  void record(size_t size);
  void committed();

  World& world_;
  const int id_;
  Proposer core_;
  bool asked_ = false;
  std::map<int, Log> voters_logs_;
  Log log_;                        // the whole log of this term; below X known to the checker only
  std::map<int, Lsn> at_;          // where an acceptor that adopted our history is
};

class World {
 public:
  World(uint64_t seed, Bug bug) : random(seed), bug(bug) {
    for (int id = 1; id <= kMembers; ++id) acceptors.emplace_back(*this, id);
  }

  Outcome run(int steps);

  void send(int from, int to, Payload payload) {
    if (cut.contains({from, to})) return;
    network.push_back({from, to, std::move(payload)});
  }
  SimAcceptor& acceptor(int id) { return acceptors[static_cast<size_t>(id - 1)]; }

  // Somebody calls `log` up to `end` committed, in a log of `term`.
  void declare_committed(const std::string& who, uint64_t term, const Log& log, size_t end) {
    if (violation) return;
    size_t& in_term = committed_in[term];
    in_term = std::max(in_term, end);
    const size_t common = std::min(end, truth.size());
    if (log.size() < end) return violated(fmt::format("{}: calls {} committed and has {}", who, end, log.size()));
    if (!std::equal(log.begin(), log.begin() + static_cast<ptrdiff_t>(common), truth.begin())) {
      return violated(fmt::format("{}: committed WAL up to {} is not what was committed before", who, end));
    }
    if (end > truth.size()) {
      truth.assign(log.begin(), log.begin() + static_cast<ptrdiff_t>(end));
      if (last_record_end(truth, 0) != end) violated(fmt::format("{}: {} is no record end", who, end));
    }
  }
  // A term begins with all that earlier terms committed. (A later one may have begun already: then this one is dead.)
  void check_start(uint64_t term, const Log& log) {
    size_t needed = 0;
    for (const auto& [earlier, end] : committed_in) {
      if (earlier < term) needed = std::max(needed, end);
    }
    const auto end = truth.begin() + static_cast<ptrdiff_t>(needed);
    if (log.size() < needed || !std::equal(truth.begin(), end, log.begin())) {
      violated(fmt::format("term {} starts at {} without WAL up to {}, committed before", term, log.size(), needed));
    }
  }
  void violated(std::string what) {
    if (!violation) violation = std::move(what);
  }

  Random random;
  const Bug bug;
  std::deque<SimAcceptor> acceptors;
  std::deque<SimProposer> proposers;  // the last one or two are alive
  std::deque<Envelope> network;
  std::set<std::pair<int, int>> cut;  // links that lose everything, one way
  Log truth;                          // all that was ever called committed
  std::map<uint64_t, size_t> committed_in;  // how far, by the term of the log
  std::optional<std::string> violation;
  Outcome outcome;
  bool quiet = false;
  uint8_t next_byte = 0;

 private:
  void deliver(size_t index);
  void fault_step();
  void work_step();
  void prove_progress();
  SimProposer* proposer(int id) {
    const int index = id - 100;
    const int first_alive = std::max(0, static_cast<int>(proposers.size()) - 2);
    return index >= first_alive && index < static_cast<int>(proposers.size()) ? &proposers[index] : nullptr;
  }
  void new_proposer() { proposers.emplace_back(*this, 100 + static_cast<int>(proposers.size())); }
  int any_acceptor() { return 1 + static_cast<int>(random.below(kMembers)); }
};

// -- acceptor -----------------------------------------------------------------------------------------------------------

const wire::Membership& membership() {
  static const wire::Membership three{1, {{1, "", 0, 0}, {2, "", 0, 0}, {3, "", 0, 0}}, {}, {}};
  return three;
}

AcceptorState first_control() {
  AcceptorState state;
  state.membership = membership();
  state.start_lsn = state.commit_lsn = kStart;
  return state;
}

SimAcceptor::SimAcceptor(World& world, int id) : world_(world), id_(id) {
  disk_.control = first_control();
  start();
}

void SimAcceptor::start() {
  if (world_.bug == Bug::kAmnesia && world_.outcome.crashes % 4 == 3) {
    disk_ = {.control = first_control(), .synced = {}, .written = {}};
  }
  record_end_ = last_record_end(disk_.written, 0);
  if (world_.bug == Bug::kNone && lsn_of(record_end_) < disk_.control.commit_lsn) {
    world_.violated(fmt::format("acceptor {} lost committed WAL of its own", id_));
  }
  if (world_.bug != Bug::kNone) disk_.control.commit_lsn = std::min(disk_.control.commit_lsn, lsn_of(record_end_));
  end_ = record_end_;
  unanswered_.clear();
  peers_.clear();
  told_term_ = 0;
  acceptor_.emplace(static_cast<uint64_t>(id_), disk_.control, lsn_of(record_end_));
}

void SimAcceptor::crash() {
  ++world_.outcome.crashes;
  acceptor_.reset();
  disk_.crash(world_.random);
}

void SimAcceptor::step() {
  if (!world_.quiet && world_.random.below(400) == 0) throw PowerCut{};
}

void SimAcceptor::write(size_t at, const uint8_t* bytes, size_t size) {
  disk_.written.resize(std::max(disk_.written.size(), at + size));
  std::copy(bytes, bytes + size, disk_.written.begin() + static_cast<ptrdiff_t>(at));
}

void SimAcceptor::flush() {
  step();
  disk_.synced = disk_.written;
  acceptor_->on_flushed(lsn_of(record_end_));
  acceptor_->on_commit(told_term_, told_commit_);
  served();
}

void SimAcceptor::served() {
  const Lsn upto = world_.bug == Bug::kServeUncommitted ? acceptor_->flush_lsn() : acceptor_->commit_lsn();
  world_.declare_committed(fmt::format("acceptor {}", id_), acceptor_->log_term(), disk_.written, index_of(upto));
}

void SimAcceptor::receive(int from, const Payload& payload) {
  try {
    if (std::holds_alternative<Hello>(payload)) {
      world_.send(id_, from, Greeted{acceptor_->state().term});
    } else if (const auto* request = std::get_if<wire::VoteRequest>(&payload)) {
      vote(from, *request);
    } else if (const auto* elected = std::get_if<wire::Elected>(&payload)) {
      flush();
      const auto decision = acceptor_->on_elected(*elected);
      if (decision) adopt(*decision);
      if (!decision && decision.error().code == ErrorCode::kCorrupt) world_.violated(decision.error().message);
      world_.send(id_, from, acceptor_->progress());
    } else if (const auto* owned = std::get_if<OwnedAppend>(&payload)) {
      wire::Append whole = owned->header;
      whole.wal = owned->wal;
      append(from, whole);
    } else if (const auto* progress = std::get_if<MemberProgress>(&payload)) {
      MemberProgress peer = *progress;
      if (world_.bug == Bug::kPeersOfAnyTerm) peer.log_term = acceptor_->log_term();
      peers_[from] = peer;
      std::vector<MemberProgress> all;
      for (const auto& [id, known] : peers_) all.push_back(known);
      acceptor_->on_peers(all);
      served();
    }
  } catch (const PowerCut&) {
    crash();
  }
}

void SimAcceptor::vote(int from, const wire::VoteRequest& request) {
  const bool early = world_.bug == Bug::kVoteBeforeFlush;
  if (!early) flush();
  const Acceptor voter = early ? Acceptor(static_cast<uint64_t>(id_), acceptor_->state(), acceptor_->flush_lsn()) : *acceptor_;
  auto decision = voter.on_vote_request(request);
  if (!decision) return;
  if (world_.bug == Bug::kUncutHistory) {
    decision->reply.history = acceptor_->state().history;
    for (TermSwitch& entry : decision->reply.history) entry.lsn = std::min(entry.lsn, decision->reply.flush_lsn);
  }
  VoteWithLog reply{decision->reply, disk_.written};
  reply.log.resize(index_of(reply.reply.flush_lsn));
  if (decision->persist) {
    step();
    if (world_.bug != Bug::kVoteNotPersisted) disk_.control = *decision->persist;
    step();
    acceptor_->install(*decision->persist);
  }
  world_.send(id_, from, std::move(reply));
}

void SimAcceptor::adopt(const Acceptor::ElectedDecision& decision) {
  const size_t to = index_of(decision.truncate_to);
  if (to < record_end_) ++world_.outcome.truncations;
  const auto truncate = [&] {
    if (world_.bug == Bug::kNoTruncation) return;
    step();
    std::fill(disk_.written.begin() + static_cast<ptrdiff_t>(std::min(to, disk_.written.size())), disk_.written.end(), 0);
    step();
    disk_.synced = disk_.written;
  };
  const auto persist = [&] {
    step();
    disk_.control = decision.persist;
  };
  if (world_.bug == Bug::kHistoryFirst) {
    persist();
    // Not yet carried out when the power goes: as if the truncation were left for later.
    if (!world_.quiet && world_.random.chance(20)) throw PowerCut{};
    truncate();
  } else {
    truncate();
    persist();
  }
  step();
  acceptor_->install(decision.persist, decision.truncate_to);
  record_end_ = end_ = to;
  unanswered_.clear();
  if (told_term_ < decision.persist.term) told_term_ = 0;
}

void SimAcceptor::append(int from, const wire::Append& append) {
  const auto decision = acceptor_->on_append(append, lsn_of(end_));
  if (!decision && world_.bug != Bug::kVoteBeforeFlush) {
    if (decision.error().code == ErrorCode::kFenced) world_.send(id_, from, acceptor_->progress());
    return;
  }
  if (!decision) return;
  const ByteView fresh = append.wal.subspan(decision->skip);
  if (!fresh.empty()) {
    step();
    write(end_, reinterpret_cast<const uint8_t*>(fresh.data()), fresh.size());
    end_ += fresh.size();
    Log here(disk_.written.begin(), disk_.written.begin() + static_cast<ptrdiff_t>(end_));
    record_end_ = last_record_end(here, record_end_);
    if (world_.bug == Bug::kTailCounts) record_end_ = end_;
    if (world_.bug == Bug::kNoTruncation) {
      // Its parser finds the old term's records right behind the new ones, and takes them for its own.
      record_end_ = end_ = last_record_end(disk_.written, record_end_);
    }
    acceptor_->on_written(lsn_of(record_end_));
  }
  told_commit_ = append.term > told_term_ ? append.commit_lsn : std::max(told_commit_, append.commit_lsn);
  told_term_ = append.term;
  unanswered_[from] = append.term;
  if (world_.bug == Bug::kAckBeforeFsync) {
    wire::AppendReply reply = acceptor_->progress();
    reply.flush_lsn = acceptor_->written_lsn();
    reply.log_term = log_term_at(acceptor_->state().history, reply.flush_lsn);
    world_.send(id_, from, reply);
  }
}

void SimAcceptor::sync() {
  try {
    flush();
    for (const auto& [proposer, term] : unanswered_) {
      wire::AppendReply reply = acceptor_->progress();
      if (world_.bug == Bug::kVoteBeforeFlush) reply.term = term;
      world_.send(id_, proposer, reply);
    }
    unanswered_.clear();
  } catch (const PowerCut&) {
    crash();
  }
}

std::optional<Bytes> SimAcceptor::read(uint64_t term, Lsn start, Lsn end) const {
  if (!up() || (term != acceptor_->state().term && term != acceptor_->log_term())) return std::nullopt;
  if (end > acceptor_->flush_lsn()) return std::nullopt;
  const auto* first = reinterpret_cast<const std::byte*>(disk_.written.data());
  return Bytes(first + index_of(start), first + index_of(end));
}

void SimAcceptor::catch_up(SimAcceptor& peer) {
  try {
    flush();
    const uint64_t log_term = peer.core().log_term();
    if (log_term == 0) return;
    auto decision = acceptor_->on_catch_up(1, log_term, peer.core().state().history);
    if (world_.bug == Bug::kCatchUpAfterPromise && !decision && log_term >= acceptor_->log_term()) {
      // As if the vote had not been: but what it promised to others stands.
      AcceptorState forgot = acceptor_->state();
      forgot.term = std::max(log_term, log_term_at(forgot.history, acceptor_->flush_lsn()));
      if (!forgot.history.empty()) forgot.term = std::max(forgot.term, forgot.history.back().term);
      decision = Acceptor(static_cast<uint64_t>(id_), forgot, acceptor_->flush_lsn()).on_catch_up(1, log_term, peer.core().state().history);
      if (decision) decision->persist.term = acceptor_->state().term;
    }
    if (!decision) return;
    adopt(*decision);
    const Lsn upto = peer.core().flush_lsn();
    if (upto <= acceptor_->flush_lsn()) return;
    const auto bytes = peer.read(log_term, acceptor_->flush_lsn(), upto);
    if (!bytes) return;
    step();
    write(end_, reinterpret_cast<const uint8_t*>(bytes->data()), bytes->size());
    end_ = record_end_ = index_of(upto);
    acceptor_->on_written(upto);
    flush();
  } catch (const PowerCut&) {
    crash();
  }
}

// -- proposer -----------------------------------------------------------------------------------------------------------

SimProposer::SimProposer(World& world, int id)
    : world_(world), id_(id), core_(ProposerId{{static_cast<uint8_t>(id), static_cast<uint8_t>(id >> 8)}}) {}

void SimProposer::talk_to(int acceptor) {
  if (over()) return;
  if (elected()) {
    const auto at = at_.find(acceptor);
    if (at == at_.end() || world_.random.chance(5)) return world_.send(id_, acceptor, core_.elected_message(static_cast<uint64_t>(acceptor)));
    const Lsn end = lsn_of(log_.size());
    OwnedAppend append{.header = {.generation = 1, .term = core_.term(), .start_lsn = at->second,
                                  .commit_lsn = core_.commit_lsn()},
                       .wal = {}};
    if (at->second < core_.start_lsn()) {
      // Not ours: from a member that has it.
      std::vector<uint64_t> donors = core_.members_with(core_.start_lsn());
      std::erase(donors, static_cast<uint64_t>(acceptor));
      if (donors.empty()) return;
      const auto donor = static_cast<int>(donors[world_.random.below(donors.size())]);
      auto bytes = world_.acceptor(donor).read(core_.term(), at->second, core_.start_lsn());
      if (!bytes) return;
      append.wal = std::move(*bytes);
    } else {
      const size_t size = std::min<size_t>(end - at->second, 1 + world_.random.below(kSendMax));
      const auto* first = reinterpret_cast<const std::byte*>(log_.data()) + index_of(at->second);
      append.wal.assign(first, first + size);
    }
    at->second = at->second + append.wal.size();
    return world_.send(id_, acceptor, std::move(append));
  }
  if (!asked_) {
    if (!core_.next_term()) return world_.send(id_, acceptor, Hello{});
    core_.request_votes(*core_.next_term());
    voters_logs_.clear();
    asked_ = true;
  }
  world_.send(id_, acceptor, core_.vote_request());
}

void SimProposer::receive(int from, const Payload& payload) {
  const auto id = static_cast<uint64_t>(from);
  if (const auto* greeted = std::get_if<Greeted>(&payload)) {
    core_.on_greeting(id, {.term = greeted->term, .filling = false, .membership = membership()});
  } else if (const auto* vote = std::get_if<VoteWithLog>(&payload)) {
    if (vote->reply.granted && vote->reply.term == core_.vote_request().term) voters_logs_.try_emplace(from, vote->log);
    switch (core_.on_vote(id, vote->reply)) {
      case Proposer::Election::kWon: won(); break;
      case Proposer::Election::kLost: asked_ = false; break;
      case Proposer::Election::kWaiting: break;
    }
  } else if (const auto* ack = std::get_if<wire::AppendReply>(&payload)) {
    const bool rose = core_.on_ack(id, *ack);
    if (elected() && ack->term == core_.term()) {
      // Anything may have been lost: go on from what it has.
      at_[from] = std::min(ack->flush_lsn, lsn_of(log_.size()));
    }
    if (rose) committed();
  }
}

void SimProposer::won() {
  ++world_.outcome.elections_won;
  log_ = voters_logs_.at(static_cast<int>(core_.donor()));
  log_.resize(index_of(core_.start_lsn()));
  world_.check_start(core_.term(), log_);
  if (world_.bug == Bug::kStartCommittedByVote) {
    world_.declare_committed(fmt::format("votes of term {}", core_.term()), core_.term(), log_, log_.size());
  }
  record(kCheckpointSize);
}

void SimProposer::record(size_t size) {
  const size_t at = log_.size();
  log_.push_back(static_cast<uint8_t>(size));
  for (size_t i = 1; i + kChecksumSize < size; ++i) log_.push_back(++world_.next_byte);
  log_.resize(at + size);
  store(log_.data() + at + size - kChecksumSize, checksum(log_.data() + at, size - kChecksumSize));
}

void SimProposer::write_record() {
  if (elected() && !over()) record(kRecordMin + world_.random.below(30));
}

void SimProposer::committed() {
  world_.outcome.committed_records++;
  world_.declare_committed(fmt::format("proposer of term {}", core_.term()), core_.term(), log_,
                           index_of(core_.commit_lsn()));
}

// -- the world ----------------------------------------------------------------------------------------------------------

void World::deliver(size_t index) {
  const Envelope envelope = std::move(network[index]);
  network.erase(network.begin() + static_cast<ptrdiff_t>(index));
  if (!quiet && random.chance(5)) return;                          // lost
  if (!quiet && random.chance(5)) network.push_back(envelope);     // comes again, later
  if (envelope.to <= kMembers) {
    if (acceptor(envelope.to).up()) acceptor(envelope.to).receive(envelope.from, envelope.payload);
  } else if (SimProposer* to = proposer(envelope.to)) {
    to->receive(envelope.from, envelope.payload);
  }
}

void World::fault_step() {
  switch (random.below(12)) {
    case 0: new_proposer(); break;
    case 1:
    case 2: {
      SimAcceptor& victim = acceptor(any_acceptor());
      if (victim.up()) victim.crash();
      break;
    }
    case 3:
    case 4:
    case 5:
      for (SimAcceptor& one : acceptors) {
        if (!one.up() && random.chance(60)) one.start();
      }
      break;
    case 6:
    case 7: {  // one acceptor hears, or is heard, no more
      const int alone = any_acceptor();
      for (int id = 100; id < 100 + static_cast<int>(proposers.size()) + 3; ++id) {
        if (random.chance(60)) cut.insert({id, alone});
        if (random.chance(60)) cut.insert({alone, id});
      }
      break;
    }
    default: cut.clear(); break;
  }
}

void World::work_step() {
  const uint64_t what = random.below(100);
  if (what < 50 && !network.empty()) {
    // Mostly in order; any message may be overtaken.
    deliver(random.chance(75) ? 0 : random.below(network.size()));
  } else if (what < 75) {
    const size_t alive = std::min<size_t>(2, proposers.size());
    proposers[proposers.size() - 1 - (random.chance(75) ? 0 : random.below(alive))].talk_to(any_acceptor());
  } else if (what < 85) {
    SimAcceptor& one = acceptor(any_acceptor());
    if (one.up() && one.has_unanswered()) one.sync();
  } else if (what < 92) {
    proposers[proposers.size() - 1 - random.below(std::min<size_t>(2, proposers.size()))].write_record();
  } else if (what < 97) {
    const int from = any_acceptor(), to = any_acceptor();
    if (from != to && acceptor(from).up()) {
      const Acceptor& core = acceptor(from).core();
      send(from, to, MemberProgress{static_cast<uint64_t>(from), 1, false, core.log_term(), core.flush_lsn(), core.commit_lsn()});
    }
  } else if (what < 98) {
    const int one = any_acceptor(), peer = any_acceptor();
    if (one != peer && acceptor(one).up() && acceptor(peer).up()) acceptor(one).catch_up(acceptor(peer));
  }
  if (network.size() > 200) network.erase(network.begin(), network.begin() + 100);
}

// No more faults: a new proposer must win, commit a record, and everybody must get there.
void World::prove_progress() {
  quiet = true;
  cut.clear();
  network.clear();
  for (SimAcceptor& one : acceptors) {
    if (!one.up()) one.start();
  }
  new_proposer();
  bool wrote = false;
  for (int round = 0; round < 400 && !violation; ++round) {
    SimProposer& last = proposers.back();
    for (int id = 1; id <= kMembers; ++id) last.talk_to(id);
    while (!network.empty()) deliver(0);
    for (SimAcceptor& one : acceptors) one.sync();
    while (!network.empty()) deliver(0);
    if (last.elected() && !wrote) {
      last.write_record();
      wrote = true;
    }
    const bool all = std::ranges::all_of(acceptors, [&](const SimAcceptor& one) {
      return wrote && one.core().commit_lsn() == last.core().commit_lsn() && index_of(one.core().commit_lsn()) == truth.size();
    });
    if (all && last.core().commit_lsn() > last.core().start_lsn() + kCheckpointSize) return;
  }
  violated("no progress after the faults stopped");
}

Outcome World::run(int steps) {
  new_proposer();
  for (int i = 0; i < steps && !violation; ++i) {
    if (random.below(60) == 0) fault_step();
    work_step();
  }
  if (!violation) prove_progress();
  outcome.violation = violation;
  outcome.fingerprint = 1469598103934665603u;
  for (const uint8_t byte : truth) outcome.fingerprint = (outcome.fingerprint ^ byte) * 1099511628211u;
  return outcome;
}

}  // namespace

Outcome run(uint64_t seed, int steps, Bug bug) { return World(seed, bug).run(steps); }

std::string to_string(Bug bug) {
  switch (bug) {
    case Bug::kNone: return "none";
    case Bug::kUncutHistory: return "uncut history";
    case Bug::kStartCommittedByVote: return "start committed by vote";
    case Bug::kTailCounts: return "tail counts";
    case Bug::kNoTruncation: return "no truncation";
    case Bug::kHistoryFirst: return "history first";
    case Bug::kVoteBeforeFlush: return "vote before flush";
    case Bug::kVoteNotPersisted: return "vote not persisted";
    case Bug::kPeersOfAnyTerm: return "peers of any term";
    case Bug::kCatchUpAfterPromise: return "catch-up after promise";
    case Bug::kAmnesia: return "amnesia";
    case Bug::kAckBeforeFsync: return "ack before fsync";
    case Bug::kServeUncommitted: return "serve uncommitted";
  }
  return "?";
}

}  // namespace helium::safekeeper::sim
