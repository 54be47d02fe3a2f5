#include "sim/world.h"

#include <algorithm>
#include <cstdlib>

#include "base/check_handler.h"
#include "pg/constants.h"
#include "wire/quorum.h"

namespace helium::sim {
namespace {

constexpr Address kFirstCompute = 100, kFirstChanger = 1000, kFirstReader = 2000;
constexpr int kProgressRounds = 600;

}  // namespace

TenantTimelineId World::timeline_id() {
  TenantTimelineId id;
  id.tenant.bytes[0] = 1;
  id.timeline.bytes[0] = 2;
  return id;
}

Profile profile_of(uint64_t seed) {
  switch (seed % 8) {
    case 0:
    case 2:
    case 5: return Profile::kChanges;
    case 7: return Profile::kDisks;
    default: return Profile::kGeneral;
  }
}

// -- setting out --------------------------------------------------------------------------------------------------------

Lsn World::choose_start() {
  constexpr uint64_t kSegment = pg::kWalSegmentSize, kPage = pg::kWalPageSize;
  const auto aligned = [](uint64_t n) { return n / 8 * 8; };
  switch (profile_ == Profile::kDisks ? 5 : random.below(6)) {
    case 0: return Lsn(kSegment + 0x128);
    case 1: return Lsn(2 * kSegment);                                       // exactly at a segment's start
    case 2: return Lsn(kSegment + 7 * kPage);                               // … at a page's
    default: break;
  }
  if (profile_ == Profile::kDisks && random.one_in(3)) return Lsn(2 * kSegment - aligned(random.between(40, 130)));
  const uint64_t before = aligned(random.between(64, random.chance(50) ? 4000 : 60000));  // … a little before a segment's end
  const Lsn lsn(2 * kSegment - before);
  return pg::wal_page_offset(lsn) < 40 ? lsn + 40 : lsn;
}

World::World(uint64_t seed)
    : random(seed), network(random), profile_(profile_of(seed)), start_(choose_start()), truth(start_),
      tracing_(std::getenv("HELIUM_SIM_TRACE") != nullptr) {
  const bool is_small = profile_ != Profile::kGeneral && random.chance(75);
  member_count_ = is_small ? 3 : random.chance(75) ? 3 : random.chance(60) ? 5 : random.chance(50) ? 4 : 2;
  const uint64_t cuts[] = {0, 60, 200, 400, 1000};
  cut_one_in_ = cuts[random.below(5)];
  has_damage_ = random.chance(25);
  has_full_disks_ = random.chance(30);
  has_changes_ = random.chance(50);
  has_kills_ = random.chance(60);
  record_bytes_max = random.one_in(40) ? 3'000'000 : random.one_in(5) ? 100'000 : random.chance(50) ? 20'000 : 2000;
  send_bytes_max = random.one_in(3) ? 64 : random.chance(50) ? 1000 : 200'000;
  if (profile_ == Profile::kChanges) {
    has_changes_ = true;
    is_calm_ = random.chance(60);
    if (is_calm_) cut_one_in_ = 0;
    has_damage_ = random.chance(40);
    has_full_disks_ = false;
    record_bytes_max = 2000;
  } else if (profile_ == Profile::kDisks) {
    has_changes_ = random.chance(20);
    has_kills_ = true;
    record_bytes_max = random.chance(50) ? 20'000 : 300;
  }
  for (uint64_t id = 1; id <= member_count_ + (profile_ == Profile::kChanges ? 6 : 4); ++id) nodes_[id] = std::make_unique<Node>(*this, id);
}

World::~World() = default;

safekeeper::ControlFile World::initial_control(uint64_t node) const {
  safekeeper::ControlFile control;
  control.safekeeper_id = node;
  control.id = timeline_id();
  control.pg_version = kPgVersion;
  control.system_id = kSystemId;
  for (uint64_t id = 1; id <= member_count_; ++id) {
    control.acceptor.membership.members.push_back({id, "node", static_cast<uint16_t>(id), 0});
  }
  control.acceptor.start_lsn = control.acceptor.commit_lsn = control.local_start_lsn = start_;
  control.flushed_lsn = control.verify_lsn = start_;
  return control;
}

// The control plane asks until each member has it.
void World::create_timeline() {
  for (auto& [id, node] : nodes_) {
    node->disk().set_cut_chance(cut_one_in_);
    for (bool done = false; !done;) {
      node->start();
      if (id > member_count_) done = node->up();
      else node->create(initial_control(id));
      done = done || node->timeline() != nullptr;
    }
  }
}

Node* World::node(uint64_t id) {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : found->second.get();
}
Node& World::any_node() {
  // Members, mostly.
  while (true) {
    Node& node = *nodes_.at(1 + random.below(nodes_.size()));
    if (node.timeline() || random.one_in(8)) return node;
  }
}
Compute* World::compute(Address address) {
  for (size_t i = computes_.size() - std::min(computes_.size(), kComputesAlive); i < computes_.size(); ++i) {
    if (computes_[i]->address() == address) return computes_[i].get();
  }
  return nullptr;
}
Compute& World::any_live_compute() {
  const size_t alive = std::min(computes_.size(), kComputesAlive);
  return *computes_[computes_.size() - 1 - (random.chance(75) ? 0 : random.below(alive))];
}
Changer* World::changer(Address address) {
  const auto live = std::ranges::find(live_changers_, address, &Changer::address);
  return live == live_changers_.end() ? nullptr : *live;
}
Changer* World::live_changer() {
  if (live_changers_.size() < 2) return live_changers_.empty() ? nullptr : live_changers_.front();
  return live_changers_[random.below(live_changers_.size())];
}
void World::new_compute() {
  computes_.push_back(std::make_unique<Compute>(*this, kFirstCompute + static_cast<Address>(computes_.size())));
}

void World::note_vote(uint64_t node, const wire::VoteRequest& request, uint64_t log_term, Bytes log) {
  votes_.insert_or_assign({node, request.term, request.proposer}, Vote{log_term, std::move(log)});
  while (votes_.size() > 60) {
    // Old ones are over.
    const auto oldest = std::ranges::min_element(votes_, {}, [](const auto& vote) { return std::get<1>(vote.first); });
    votes_.erase(oldest);
  }
}
const Vote* World::vote_of(uint64_t node, uint64_t term, const ProposerId& proposer) const {
  const auto found = votes_.find({node, term, proposer});
  return found == votes_.end() ? nullptr : &found->second;
}

// -- events -------------------------------------------------------------------------------------------------------------

void World::deliver_one() {
  if (network.empty()) return;
  network.deliver_one([&](Address to) { return to < kFirstCompute && nodes_.at(static_cast<uint64_t>(to))->is_busy(); });
}

void World::work() {
  // Changers ask everybody there is, over and over.
  for (int i = 0; profile_ == Profile::kChanges && i < 3; ++i) deliver_one();
  if (profile_ == Profile::kChanges && random.one_in(4)) {
    continue_plot();
    if (random.one_in(40)) begin_plot();
    if (live_changers_.size() < 2 && random.one_in(live_changers_.empty() ? 10 : 60)) return start_change();
    Changer* changer = live_changer();
    if (changer != nullptr) changer->step();
    if (changer != nullptr && changer->core().is_over()) drop_changer(changer);
    return;
  }
  const uint64_t what = random.below(100);
  if (what < 45 && !network.empty()) {
    deliver_one();
  } else if (what < 70) {
    any_live_compute().talk_to(any_node());
  } else if (what < 78) {
    Node& one = any_node();
    if (one.has_unanswered()) one.flush();
  } else if (what < 84) {
    any_live_compute().write();
  } else if (what < 87) {
    readers_[random.below(readers_.size())]->poll();
  } else if (what < 90) {
    Node& from = any_node();
    Node& to = any_node();
    if (const auto progress = from.progress(); progress && from.id() != to.id()) {
      network.send(static_cast<int>(from.id()), static_cast<int>(to.id()), [&to, progress = *progress] { to.on_peer(progress); });
    }
  } else if (what < 91) {
    Node& one = any_node();
    Node& peer = any_node();
    if (one.id() != peer.id()) one.catch_up(peer);
  } else if (what < 92) {
    any_node().housekeep();
  } else if (Changer* changer = live_changer()) {
    for (int i = 0; i < 4; ++i) changer->step();
    if (changer->core().is_over() && random.one_in(10)) drop_changer(changer);
  } else if (has_changes_ && random.one_in(20)) {
    start_change();
  }
}

bool World::can_lose(const Node& victim) const {
  // In every membership that anybody may go on from, a majority of each half stays whole.
  for (const auto& [id, node] : nodes_) {
    const wire::Membership& membership = node->said().membership;
    for (const auto* half : {&membership.members, &membership.new_members}) {
      const auto whole = std::ranges::count_if(*half, [&](const wire::Member& member) {
        return member.id != victim.id() && nodes_.at(member.id)->is_healthy();
      });
      if (!half->empty() && static_cast<size_t>(whole) <= half->size() / 2) return false;
    }
  }
  return true;
}

void World::hurt_a_node() {
  Node& victim = any_node();
  if (has_damage_ && random.one_in(3) && can_lose(victim)) {
    victim.power_off();
    if (random.chance(70) ? victim.damage() : false) {
      ++figures.damaged;
      victim.start();
    } else if (has_changes_ || planted(Bug::kAmnesia)) {
      victim.lose_disk();
    }
    return;
  }
  if (planted(Bug::kAmnesia) && random.one_in(2) && can_lose(victim) && victim.timeline()) {
    victim.lose_disk();
    victim.start();
    victim.create(initial_control(victim.id()));
    return;
  }
  if (profile_ == Profile::kDisks && victim.has_unanswered() && random.chance(50)) return kill_and_cut(victim);
  const uint64_t how = random.below(4);
  if (how == 0 && has_kills_) return victim.kill();
  if (how == 1 && has_kills_) return victim.stop();
  victim.power_off();
}

void World::cut_links() {
  const int alone = static_cast<int>(any_node().id());
  std::vector<Address> others;
  for (const auto& compute : computes_) others.push_back(compute->address());
  for (const auto& [id, node] : nodes_) others.push_back(static_cast<Address>(id));
  for (const auto& changer : changers_) others.push_back(changer->address());
  for (const Address other : others) {
    if (random.chance(60)) network.cut(other, alone);
    if (random.chance(60)) network.cut(alone, other);
  }
}

// The network in two halves, each whole; a compute and a changer may be on either side. Readers see both.
void World::fall_apart() {
  network.heal();
  ++figures.partitions;
  std::vector<Address> sides[2];
  const auto put = [&](Address who) { sides[random.below(2)].push_back(who); };
  for (size_t i = computes_.size() - std::min(computes_.size(), kComputesAlive); i < computes_.size(); ++i) {
    put(computes_[i]->address());
  }
  for (const auto& [id, node] : nodes_) put(static_cast<Address>(id));
  for (const Changer* changer : live_changers_) put(changer->address());
  for (const Address one : sides[0]) {
    for (const Address other : sides[1]) {
      network.cut(one, other);
      network.cut(other, one);
    }
  }
}

// As an operator would see it.
const wire::Membership* World::newest_membership() const {
  const wire::Membership* newest = nullptr;
  for (const auto& [id, node] : nodes_) {
    if (node->said().membership.members.empty()) continue;
    if (newest == nullptr || node->said().membership.generation > newest->generation) newest = &node->said().membership;
  }
  return newest;
}

void World::add_changer(walclient::MembershipChange::Config config) {
  for (const auto& [id, node] : nodes_) config.known.push_back({id, "node", static_cast<uint16_t>(id), 0});
  config.id = ChangerId{{static_cast<uint8_t>(changers_.size() + 1)}};
  const Address address = kFirstChanger + static_cast<Address>(changers_.size());
  trace("changer {}: {} by {}{}", address, config.remove, config.add.id, config.abort ? ", abort" : "");
  changers_.push_back(std::make_unique<Changer>(*this, address, std::move(config)));
  live_changers_.push_back(changers_.back().get());
  ++figures.changes_started;
}

void World::start_change() {
  const wire::Membership* newest = newest_membership();
  if (newest == nullptr) return;
  walclient::MembershipChange::Config config;
  if (!changers_.empty() && random.chance(50)) {
    config = changers_.back()->config();  // the same command again
    config.known.clear();
    config.abort = random.one_in(6);
  } else {
    const auto& members = newest->members;
    const auto lost = std::ranges::find_if(members, [&](const wire::Member& m) { return !nodes_.at(m.id)->is_healthy(); });
    config.remove = lost != members.end() ? lost->id : members[random.below(members.size())].id;
    const uint64_t add = 1 + random.below(nodes_.size());
    if (wire::is_in(members, add) || nodes_.at(add)->is_lost()) return;
    if (profile_ == Profile::kChanges && nodes_.at(add)->is_spent() && random.chance(80)) return;
    config.add = {add, "node", static_cast<uint16_t>(add), 0};
    config.abort = random.one_in(20);
  }
  add_changer(std::move(config));
}

void World::drop_changer(Changer* changer) {
  if (changer == nullptr) return;
  const auto state = changer->core().state();
  if (state == walclient::MembershipChange::State::kDone) ++figures.changes_done;
  else if (!changer->core().is_over()) ++figures.changers_died;
  trace("changer {} ends: {} {}", changer->address(), to_string(state), changer->core().error());
  std::erase(live_changers_, changer);
}

void World::fault() {
  if (is_calm_) {
    // What goes wrong is the plots'.
    if (random.one_in(6)) new_compute();
    if (random.one_in(8)) hurt_a_node();
    if (random.one_in(3)) {
      for (auto& [id, node] : nodes_) node->start();
    }
    return;
  }
  if (profile_ != Profile::kGeneral) {
    // Fewer than in general, so that much happens between them.
    if (random.chance(50)) return;
    if (random.one_in(6)) return fall_apart();
    if (random.one_in(6)) return network.heal();
  }
  switch (random.below(18)) {
    case 0:
    case 16:
    case 17: return new_compute();
    case 1:
    case 2:
    case 3: return hurt_a_node();
    case 4:
    case 5:
    case 6:
    case 7:
      for (auto& [id, node] : nodes_) {
        if (random.chance(60)) node->start();
      }
      return;
    case 8:
    case 9: return cut_links();
    case 10:
      for (auto& [id, node] : nodes_) node->disk().set_full(has_full_disks_ && random.one_in(4));
      slow_node_ = random.chance(30) ? any_node().id() : 0;
      return;
    case 11: return readers_[random.below(readers_.size())]->forget();
    case 12: return time.pass(std::chrono::milliseconds(static_cast<int64_t>(random.below(3'600'000)) - 600'000));
    case 13:
      if (!has_changes_) return;
      if (Changer* changer = live_changer(); changer != nullptr && (changer->core().is_over() || random.one_in(5))) {
        drop_changer(changer);
      }
      if (live_changers_.empty()) start_change();
      return;
    default: return network.heal();
  }
}

// -- and then ------------------------------------------------------------------------------------------------------------

void World::stop_faults() {
  trace("the faults stop");
  quiet_ = true;
  network.be_quiet();
  network.heal();
  network.release();
  network.forget();
  slow_node_ = 0;
  for (auto& [id, node] : nodes_) {
    node->disk().stop_faults();
    node->start();
  }
}

bool World::everybody_is_there(Lsn target) {
  for (const auto& [id, node] : nodes_) {
    const auto here = node->timeline();
    if (!here) continue;
    const auto view = here->view();
    const Compute& compute = *computes_.back();
    const wire::Membership* newest = compute.core().newest();
    if (newest != nullptr && wire::is_member(*newest, id) && view.commit_lsn < target) return false;
  }
  return std::ranges::all_of(readers_, [&](const auto& reader) { return reader->position() >= target; });
}

// Whoever began a change ends it, if one is half done.
void World::resume_change() {
  const wire::Membership* newest = newest_membership();
  if (newest == nullptr || changers_.empty()) return;
  walclient::MembershipChange::Config config;
  if (!newest->is_joint()) {
    std::set<uint64_t> holders;
    for (const auto& [id, node] : nodes_) {
      if (node->timeline() && node->said().membership == *newest) holders.insert(id);
    }
    if (is_quorum(*newest, holders)) return;
    config = changers_.back()->config();
    config.known.clear();
    config.abort = true;  // it is to become a fact, nothing more
    return add_changer(std::move(config));
  }
  for (const wire::Member& member : newest->members) {
    if (!wire::is_in(newest->new_members, member.id)) config.remove = member.id;
  }
  for (const wire::Member& member : newest->new_members) {
    if (!wire::is_in(newest->members, member.id)) config.add = member;
  }
  config.abort = nodes_.at(config.add.id)->timeline() == nullptr;  // what the command says to who asks for the change
  add_changer(std::move(config));
}

void World::prove_progress() {
  stop_faults();
  while (!live_changers_.empty()) drop_changer(live_changers_.back());
  new_compute();
  resume_change();
  Lsn target;
  for (int round = 0; round < kProgressRounds && !truth.violation(); ++round) {
    ++step_;
    time.pass(std::chrono::milliseconds(1000));
    if (newest_compute().is_over()) new_compute();
    Compute& compute = newest_compute();
    for (auto& [id, node] : nodes_) compute.talk_to(*node);
    if (!live_changers_.empty()) {
      Changer* changer = live_changers_.back();
      changer->step();
      if (changer->core().is_over()) {
        const bool failed = changer->core().state() == walclient::MembershipChange::State::kFailed;
        drop_changer(changer);
        if (failed) resume_change();  // whoever wants it done looks again
      }
    }
    while (!network.empty()) network.deliver_one({});
    for (auto& [id, node] : nodes_) node->flush();
    for (auto& [id, node] : nodes_) {
      for (auto& [peer_id, peer] : nodes_) {
        const auto progress = peer->progress();
        if (progress && peer_id != id && round % 4 == 0) node->on_peer(*progress);
      }
    }
    while (!network.empty()) network.deliver_one({});
    for (auto& reader : readers_) reader->poll();
    if (compute.runs() && !target.is_valid()) {
      compute.write();
      compute.write();
      target = truth.end_of(compute.core().term());
    } else if (!compute.runs()) {
      target = Lsn();
    }
    if (target.is_valid() && compute.core().commit_lsn() >= target && everybody_is_there(target) && live_changers_.empty()) {
      return;
    }
  }
  std::string state;
  for (const auto& [id, node] : nodes_) {
    const auto here = node->timeline();
    if (!here) continue;
    const auto view = here->view();
    state += fmt::format("; node {}: {}{}, term {}, log term {}, flush {}, commit {}", id, to_string(view.membership),
                         view.filling ? " (filling)" : "", view.term, view.log_term, to_string(view.flush_lsn),
                         to_string(view.commit_lsn));
  }
  for (const Changer* changer : live_changers_) {
    state += fmt::format("; changer: {} {}", to_string(changer->core().state()), changer->core().waits_for());
  }
  stood_still_ = !truth.violation();
  truth.violated(fmt::format("no progress after the faults stopped (target {}){}", to_string(target), state));
}

void World::collect_disk_figures() {
  for (const auto& [id, node] : nodes_) {
    const SimDisk::Stats& stats = node->disk().stats();
    figures.lost_pages += stats.lost_pages;
    figures.torn_pages += stats.torn_pages;
    figures.lost_names += stats.lost_names;
  }
  figures.commits = truth.commits();
  figures.records = truth.record_count();
  figures.schedules = 1;
  figures.events = static_cast<uint64_t>(step_);
}

Outcome World::run(int steps) {
  try {
    create_timeline();
    for (Address i = 0; i < 2; ++i) readers_.push_back(std::make_unique<Reader>(*this, kFirstReader + i));
    new_compute();
    for (step_ = 0; step_ < steps && !truth.violation(); ++step_) {
      time.pass(std::chrono::milliseconds(random.below(40)));
      if (random.one_in(40)) fault();
      work();
    }
    if (!truth.violation()) prove_progress();
  } catch (const CheckFailed& failed) {
    truth.violated("CHECK failed: " + failed.what);
  }
  collect_disk_figures();
  return {truth.violation(), stood_still_, figures, truth.fingerprint()};
}

Outcome run(uint64_t seed, Bug bug, int steps) {
  planted_bug = bug;
  World world(seed);
  Outcome outcome = world.run(steps);
  planted_bug = Bug::kNone;
  return outcome;
}

}  // namespace helium::sim
