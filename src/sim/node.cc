#include "sim/node.h"

#include <fmt/format.h>

#include <algorithm>

#include "pg/constants.h"
#include "pg/wal_stream.h"
#include "sim/world.h"

namespace helium::sim {

using safekeeper::ControlFile;
using safekeeper::Environment;
using safekeeper::Safekeeper;
using safekeeper::Timeline;

namespace {

std::string folder() {
  return std::string(World::kDatadir) + "/" + to_string(World::timeline_id().tenant) + "/" +
         to_string(World::timeline_id().timeline);
}
std::string control_path() { return folder() + "/" + safekeeper::kControlFileName; }

}  // namespace

Node::Node(World& world, uint64_t id) : world_(world), id_(id), disk_(world.random) {
  disk_.skips = [this](SimDisk::Operation operation, const std::string& path) {
    switch (operation) {
      case SimDisk::Operation::kSync: return planted(Bug::kControlNotSynced) && path.ends_with(".control.tmp");
      case SimDisk::Operation::kSyncFolder: return planted(Bug::kFolderNotSynced) && path == folder();
    }
    return false;
  };
}

Node::~Node() {
  disk_.kill_process();
  safekeeper_.reset();
}

std::shared_ptr<Timeline> Node::timeline() {
  if (!safekeeper_) return nullptr;
  try {
    const auto found = safekeeper_->timeline(World::timeline_id());  // recovers it
    return found ? *found : nullptr;
  } catch (const PowerCut&) {
    crashed();
    return nullptr;
  }
}

bool Node::is_busy() { return world_.is_slow(id_) && !world_.random.one_in(8); }

template <typename Work>
void Node::guarded(Work work) {
  if (!safekeeper_) return;
  try {
    work();
    check_said();
    may_cut_to_.reset();
  } catch (const PowerCut&) {
    crashed();
  }
}

void Node::crashed() {
  world_.trace("node {} lost power in the middle of something", id_);
  ++world_.figures.crashes;
  safekeeper_.reset();
  unanswered_.clear();
}

void Node::power_off() {
  if (!safekeeper_) return;
  world_.trace("node {} loses power", id_);
  ++world_.figures.crashes;
  disk_.cut_power();
  safekeeper_.reset();
  unanswered_.clear();
}

void Node::kill() {
  if (!safekeeper_) return;
  world_.trace("node {} is killed", id_);
  ++world_.figures.crashes;
  disk_.kill_process();
  safekeeper_.reset();
  unanswered_.clear();
}

void Node::stop() {
  if (!safekeeper_) return;
  world_.trace("node {} stops", id_);
  disk_.closing();
  safekeeper_.reset();
  disk_.kill_process();
  unanswered_.clear();
}

void Node::start() {
  if (safekeeper_) return;
  ++life_;
  try {
    Environment environment{.disk = disk_.mount(), .time = &world_.time, .read_peer_wal = {}};
    environment.read_peer_wal = [this](const auto& wanted, const auto& consume) { return read_from_peer(wanted, consume); };
    auto opened = Safekeeper::open({.id = id_, .datadir = World::kDatadir, .broker = {}, .environment = environment});
    if (!opened && opened.error().code == ErrorCode::kNoSpace) return;  // later
    if (!opened) return world_.truth.violated(fmt::format("node {} does not start: {}", id_, opened.error().message));
    safekeeper_ = std::move(*opened);
    const auto found = safekeeper_->timeline(World::timeline_id());
    check_recovered(found ? Status() : fail(found.error()));
    check_said();
    may_cut_to_.reset();
  } catch (const PowerCut&) {
    crashed();
  }
}

void Node::create(const ControlFile& initial) {
  guarded([&] {
    const Status created = safekeeper_->create_timeline(initial);
    world_.trace("node {} creates the timeline: {}", id_, created ? "done" : created.error().message);
    created_ = created_ || created.has_value();
  });
}

void Node::lose_disk() {
  world_.trace("node {} loses its disk", id_);
  ++world_.figures.lost_disks;
  disk_.lose_everything();
  safekeeper_.reset();
  unanswered_.clear();
  lost_ = true;
  deleted_ = false;  // the tombstone is gone, too: it may join as a newcomer
}

// -- the checkers -------------------------------------------------------------------------------------------------------

void Node::check_recovered(const Status& opened) {
  if (!opened) {
    world_.trace("node {} started: {}", id_, opened.error().message);
    const bool may_be_missing = !created_ || may_be_deleted_ || lost_;
    if (opened.error().code == ErrorCode::kNotFound ? may_be_missing : damaged_) return;
    return world_.truth.violated(fmt::format("node {} refuses, and nothing was damaged: {}", id_, opened.error().message));
  }
  const Timeline::View view = timeline()->view();
  world_.trace("node {} started: generation {}, term {}, log term {}, flush {}, commit {}, history {}", id_,
               view.membership.generation, view.term, view.log_term, to_string(view.flush_lsn),
               to_string(view.commit_lsn), to_string(view.history));
  if (deleted_) return world_.truth.violated(fmt::format("node {} has the timeline again that was deleted", id_));
  if (damaged_) return world_.truth.violated(fmt::format("node {} opens a damaged timeline", id_));
  if (planted(Bug::kAmnesia) && lost_) lost_ = false;
  if (!created_ || planted(Bug::kAmnesia)) return;
  const bool keeps_wal = std::pair(view.log_term, view.flush_lsn) >= std::pair(said_.log_term, said_.flush_lsn) ||
                         (may_cut_to_ && view.flush_lsn >= *may_cut_to_);
  if (view.term < said_.term || view.membership.generation < said_.membership.generation || !keeps_wal) {
    world_.truth.violated(fmt::format("node {} forgot: it said generation {}, term {}, log term {}, flush {}; now {}, {}, {}, {}",
                                      id_, said_.membership.generation, said_.term, said_.log_term, to_string(said_.flush_lsn),
                                      view.membership.generation, view.term, view.log_term, to_string(view.flush_lsn)));
  }
  world_.truth.holds(fmt::format("node {}", id_), view.log_term, wal(view.flush_lsn));
}

void Node::check_said() {
  const auto here = timeline();
  if (!here) return;
  Timeline::View view = here->view();
  if (view.commit_lsn > said_.commit_lsn || !created_) {
    world_.truth.committed(fmt::format("node {}", id_), view.log_term, view.commit_lsn);
  }
  world_.truth.has_membership(fmt::format("node {}", id_), view.membership);
  said_ = std::move(view);
}

Bytes Node::wal(Lsn end) const {
  Bytes bytes;
  for (Lsn at = World::start_of(world_); at < end;) {
    const uint32_t offset = pg::wal_segment_offset(at);
    const size_t size = std::min<uint64_t>(end - at, pg::kWalSegmentSize - offset);
    const Bytes part = disk_.peek(safekeeper::segment_path(folder(), pg::wal_segment_number(at)).string(), offset, size);
    bytes.insert(bytes.end(), part.begin(), part.end());
    bytes.resize(bytes.size() + size - part.size());
    at = at + size;
  }
  return bytes;
}

void Node::may_cut(const TermHistory& next) {
  const auto here = timeline();
  if (!here) return;
  const Timeline::View view = here->view();
  may_cut_to_ = fork_point(view.history, view.flush_lsn, next);
  if (*may_cut_to_ >= view.flush_lsn) return;
  ++world_.figures.truncations;
  world_.aim_at_truncation(disk_);
}

// -- damage -------------------------------------------------------------------------------------------------------------

bool Node::damage() {
  if (safekeeper_ || lost_ || !created_ || deleted_) return false;
  const auto size = disk_.size_of(control_path());
  if (!size) return false;
  const auto control = safekeeper::decode_control_file(disk_.peek(control_path(), 0, *size));
  if (!control) return false;
  const auto flip = [&](const std::string& path, uint64_t offset) {
    world_.trace("node {}: a bit flips in {} at {}", id_, path, offset);
    disk_.flip_bit(path, offset, static_cast<int>(world_.random.below(8)));
    damaged_ = lost_ = true;
    return true;
  };
  if (world_.random.chance(30)) return flip(control_path(), world_.random.below(*size));
  // A record that recovery reads, and that was synced for sure.
  if (control->clean_close) return false;
  const Bytes all = wal(control->flushed_lsn);
  const Lsn start = World::start_of(world_);
  pg::WalStreamDecoder decoder(control->verify_lsn);
  decoder.feed(ByteView(all).subspan(control->verify_lsn - start));
  std::vector<std::pair<Lsn, size_t>> records;
  for (auto record = decoder.next(); record && *record; record = decoder.next()) {
    records.push_back({(*record)->start_lsn, (*record)->bytes.size()});
  }
  if (records.empty()) return false;
  const auto [at, length] = records[world_.random.below(records.size())];
  const size_t in_page = pg::kWalPageSize - pg::wal_page_offset(at);
  const Lsn place = at + world_.random.below(std::min(length, in_page));
  return flip(safekeeper::segment_path(folder(), pg::wal_segment_number(place)).string(), pg::wal_segment_offset(place));
}

// -- messages -----------------------------------------------------------------------------------------------------------

void Node::reply(int to, const wire::AcceptorMessage& message) {
  world_.network.send(static_cast<int>(id_), to, [this, to, bytes = wire::encode(message)] {
    if (Compute* compute = world_.compute(to)) compute->receive(*this, bytes);
  });
}

void Node::refuse(int to, const Error& error) {
  const auto here = timeline();
  if (!here) return;
  const Timeline::View view = here->view();
  world_.trace("node {} refuses {}: {}", id_, to, error.message);
  if (error.code == ErrorCode::kCorrupt) {
    world_.truth.violated(fmt::format("node {} refuses what is right: {}", id_, error.message));
  }
  if (error.code == ErrorCode::kNoSpace) ++world_.figures.full_disks;
  reply(to, wire::Refusal{.generation = view.membership.generation, .term = view.term, .code = error.code,
                          .text = error.message, .membership = view.membership});
}

struct Node::OfPush {
  Node& node;
  Timeline& timeline;
  const int from;

  Status operator()(const wire::Greeting& greeting) const {
    HELIUM_ASSIGN(auto answer, timeline.greet(greeting));
    node.reply(from, std::move(answer));
    return {};
  }
  Status operator()(const wire::TellMembership& told) const {
    HELIUM_ASSIGN(const auto answer, timeline.accept({.membership = told.membership, .changer = {}}));
    node.reply(from, wire::MembershipTold{.term = answer.term, .filling = answer.filling, .membership = answer.membership});
    return {};
  }
  Status operator()(const wire::VoteRequest& request) const {
    HELIUM_ASSIGN(const auto answer, timeline.vote(request));
    node.world_.trace("node {} {} term {} to {}: flush {}, history {}", node.id_, answer.granted ? "gives" : "refuses",
                      request.term, from, to_string(answer.flush_lsn), to_string(answer.history));
    if (answer.granted) {
      const uint64_t log_term = log_term_at(answer.history, answer.flush_lsn);
      Bytes log = node.wal(answer.flush_lsn);
      node.world_.truth.holds(fmt::format("node {}", node.id_), log_term, log);
      node.world_.note_vote(node.id_, request, log_term, std::move(log));
    }
    node.reply(from, answer);
    return {};
  }
  Status operator()(const wire::Elected& message) const {
    node.may_cut(message.history);
    HELIUM_ASSIGN(const auto answer, timeline.elected(message));
    node.reply(from, answer);
    return {};
  }
  Status operator()(const wire::Append& append) const {
    HELIUM_TRY(timeline.append(append));
    if (append.wants_reply) node.unanswered_.insert(from);
    return {};
  }
};

void Node::on_push(int from, const Bytes& message) {
  guarded([&] {
    const auto here = timeline();
    if (!here) return;
    const auto decoded = wire::decode_proposer_message(message);
    CHECK(decoded.has_value());
    const Status done = std::visit(OfPush{*this, *here, from}, *decoded);
    if (!done) refuse(from, done.error());
  });
}

void Node::flush() {
  guarded([&] {
    const auto here = timeline();
    if (!here) return;
    const wire::AppendReply answer = here->flush();
    for (const int to : std::exchange(unanswered_, {})) reply(to, answer);
  });
}

std::optional<safekeeper::MemberProgress> Node::progress() {
  const auto here = timeline();
  if (!here) return std::nullopt;
  const Timeline::View view = here->view();
  return safekeeper::MemberProgress{.safekeeper_id = id_, .generation = view.membership.generation, .filling = view.filling,
                                    .term = view.term, .log_term = view.log_term, .flush_lsn = view.flush_lsn,
                                    .commit_lsn = view.commit_lsn};
}

void Node::on_peer(const safekeeper::MemberProgress& progress) {
  guarded([&] {
    if (const auto here = timeline()) here->on_peer(progress);
  });
}

void Node::housekeep() {
  guarded([&] {
    if (const auto here = timeline()) here->housekeep();
  });
}

void Node::catch_up(Node& peer) {
  guarded([&] {
    const auto here = timeline();
    const auto there = peer.timeline();
    if (!here || !there) return;
    const Timeline::View view = there->view();
    may_cut(view.history);
    const Status done = here->catch_up({"node", static_cast<uint16_t>(peer.id())}, view.membership.generation, view.log_term,
                                       view.history, view.flush_lsn);
    world_.trace("node {} catches up from {}: {}", id_, peer.id(), done ? "done" : done.error().message);
    if (done) ++world_.figures.catch_ups;
  });
}

Status Node::read_from_peer(const Environment::PeerWal& wanted, const Environment::Consume& consume) {
  Node* peer = world_.node(wanted.peer.port);
  const auto there = peer != nullptr ? peer->timeline() : nullptr;
  const int from = static_cast<int>(id_), to = static_cast<int>(wanted.peer.port);
  if (!there || !world_.network.connected(from, to) || !world_.network.connected(to, from)) {
    return fail(ErrorCode::kUnavailable, "connection refused");
  }
  return safekeeper::read_uncommitted(*there, wanted.term, wanted.start, wanted.end, [&](Lsn at, ByteView wal) -> Status {
    if (world_.faulty() && world_.random.one_in(10)) {
      HELIUM_TRY(consume(at, wal.first(world_.random.below(wal.size() + 1))));
      return fail(ErrorCode::kClosed, "the connection broke");
    }
    return consume(at, wal);
  });
}

// -- membership ---------------------------------------------------------------------------------------------------------

Result<wire::MembershipReply> Node::change(Timeline& timeline, const walclient::MembershipChange::Message& message) {
  using Change = walclient::MembershipChange;
  if (const auto* prepare = std::get_if<wire::PrepareRequest>(&message)) return timeline.prepare(*prepare);
  if (const auto* accept = std::get_if<wire::AcceptRequest>(&message)) return timeline.accept(*accept);
  if (const auto* create = std::get_if<Change::Create>(&message)) return timeline.accept(create->request);
  if (const auto* fill = std::get_if<wire::FillRequest>(&message)) return timeline.fill(*fill);
  if (const auto* pull = std::get_if<Change::CatchUp>(&message)) {
    may_cut(pull->history);
    HELIUM_TRY(timeline.catch_up({"node", static_cast<uint16_t>(pull->donor.id)}, pull->generation, pull->log_term,
                                 pull->history, pull->upto_lsn));
  }
  return timeline.membership();
}

void Node::on_change(const walclient::MembershipChange::Message& message, const std::function<void(Answer)>& answer) {
  using Change = walclient::MembershipChange;
  guarded([&] {
    if (const auto* create = std::get_if<Change::Create>(&message)) {
      ControlFile initial = world_.initial_control(id_);
      initial.acceptor.membership = create->request.membership;
      initial.acceptor.promised_generation = create->request.membership.generation;
      initial.acceptor.changer = create->request.changer;
      initial.acceptor.filling = !planted(Bug::kNewcomerVotesEmpty);
      if (const Status created = safekeeper_->create_timeline(initial); !created) {
        return world_.trace("node {} is not created: {}", id_, created.error().message);
      }
      created_ = true;
    }
    if (std::holds_alternative<Change::Delete>(message)) {
      may_be_deleted_ = true;
      const Status done = safekeeper_->delete_timeline(World::timeline_id());
      if (!done && done.error().code != ErrorCode::kNotFound) return;
      world_.trace("node {} deletes the timeline", id_);
      deleted_ = deleted_ || done.has_value();
      return answer([id = id_](Change& changer) { changer.on_deleted(id); });
    }
    const auto found = safekeeper_->timeline(World::timeline_id());
    if (!found) {
      if (found.error().code == ErrorCode::kNotFound) answer([id = id_](Change& changer) { changer.on_missing(id); });
      return;
    }
    const auto done = change(**found, message);
    if (!done) return world_.trace("node {} does not change: {}", id_, done.error().message);
    check_said();
    answer([id = id_, reply = *done](Change& changer) { changer.on_reply(id, reply); });
  });
}

}  // namespace helium::sim
