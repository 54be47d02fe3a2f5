// The changer against production acceptors, in one thread: directed cases, and seeded schedules of lost, late and doubled
// messages, dead changers and competing ones, judged by who sees everything.

#include "walclient/membership_change.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <random>

#include "safekeeper/acceptor.h"
#include "wire/quorum.h"

namespace helium::safekeeper {
namespace {

using walclient::MembershipChange;
using State = MembershipChange::State;

const Lsn kBase(1000);

wire::Member member(uint64_t id) { return {id, "host", static_cast<uint16_t>(5000 + id), static_cast<uint16_t>(7000 + id)}; }
std::vector<wire::Member> list(const std::vector<uint64_t>& ids) {
  std::vector<wire::Member> members;
  for (const uint64_t id : ids) members.push_back(member(id));
  return members;
}

// Acceptors by id; what is not there has lost its disk, or never had the timeline.
class World {
 public:
  World() {
    for (const uint64_t id : {1, 2, 3}) {
      AcceptorState state;
      state.membership = {1, list({1, 2, 3}), {}, {}};
      state.start_lsn = state.commit_lsn = kBase;
      acceptors_.emplace(id, Acceptor(id, state, kBase));
    }
  }

  Acceptor& at(uint64_t id) { return acceptors_.at(id); }
  bool has(uint64_t id) const { return acceptors_.contains(id); }
  void lose_disk(uint64_t id) { acceptors_.erase(id); }
  std::set<uint64_t> down;

  // A log of `term` up to lsn, as its proposer would have made it.
  void write(uint64_t id, uint64_t term, Lsn lsn) {
    Acceptor& acceptor = at(id);
    AcceptorState state = acceptor.state();
    state.term = std::max(state.term, term);
    state.history = {{term, kBase}};
    acceptor.install(state);
    acceptor.on_written(lsn);
    acceptor.on_flushed(lsn);
  }

  // Nothing: no answer comes.
  std::optional<wire::MembershipReply> deliver(const MembershipChange::Request& request, bool& missing, bool& deleted) {
    const uint64_t id = request.to.id;
    missing = deleted = false;
    if (down.contains(id)) return std::nullopt;
    if (const auto* create = std::get_if<MembershipChange::Create>(&request.message); create && !has(id)) {
      if (tombstones.contains(id)) return std::nullopt;
      AcceptorState state;
      state.membership = create->request.membership;
      state.promised_generation = state.membership.generation;
      state.changer = create->request.changer;
      state.filling = true;
      state.start_lsn = state.commit_lsn = kBase;
      acceptors_.emplace(id, Acceptor(id, state, kBase));
      note();
      return at(id).membership_reply();
    }
    if (!has(id)) {
      missing = true;
      return std::nullopt;
    }
    Acceptor& acceptor = at(id);
    Acceptor::MembershipDecision decision{std::nullopt, acceptor.membership_reply()};
    if (const auto* prepare = std::get_if<wire::PrepareRequest>(&request.message)) decision = acceptor.on_prepare(*prepare);
    if (const auto* accept = std::get_if<wire::AcceptRequest>(&request.message)) decision = acceptor.on_accept(*accept);
    if (const auto* create = std::get_if<MembershipChange::Create>(&request.message)) {
      decision = acceptor.on_accept(create->request);
    }
    if (const auto* fill = std::get_if<wire::FillRequest>(&request.message)) decision = acceptor.on_fill(*fill);
    if (const auto* order = std::get_if<MembershipChange::CatchUp>(&request.message)) {
      const auto adopted = acceptor.on_catch_up(order->generation, order->log_term, order->history);
      if (adopted) {
        acceptor.install(adopted->persist, adopted->truncate_to);
        acceptor.on_written(std::max(order->upto_lsn, acceptor.flush_lsn()));
        acceptor.on_flushed(acceptor.written_lsn());
      }
      decision.reply = acceptor.membership_reply();
    }
    if (std::holds_alternative<MembershipChange::Delete>(request.message)) {
      acceptors_.erase(id);
      tombstones.insert(id);
      deleted = true;
      return std::nullopt;
    }
    if (decision.persist) acceptor.install(*decision.persist);
    note();
    return decision.reply;
  }

  // One round in which everything arrives.
  void round(MembershipChange& change) {
    for (const auto& request : change.requests()) {
      bool missing = false, deleted = false;
      const auto reply = deliver(request, missing, deleted);
      if (reply) change.on_reply(request.to.id, *reply);
      if (missing) change.on_missing(request.to.id);
      if (deleted) change.on_deleted(request.to.id);
    }
    change.advance();
  }
  State run(MembershipChange& change, int rounds = 40) {
    for (int i = 0; i < rounds && !change.is_over(); ++i) round(change);
    return change.state();
  }
  State run_until(MembershipChange& change, State state) {
    for (int i = 0; i < 40 && !change.is_over() && change.state() != state; ++i) round(change);
    return change.state();
  }

  // What was ever in force, by generation: the next one always shares a half with the one before.
  void judge() const {
    const wire::Membership* before = nullptr;
    for (const auto& [generation, now] : in_force_) {
      if (before != nullptr) {
        const bool same = ids(now.members) == ids(before->members) && ids(now.new_members) == ids(before->new_members);
        const bool next = before->is_joint()
                              ? !now.is_joint() && (ids(now.members) == ids(before->members) ||
                                                    ids(now.members) == ids(before->new_members))
                              : now.is_joint() && ids(now.members) == ids(before->members);
        EXPECT_TRUE(same || next) << wire::to_string(*before) << ", then " << wire::to_string(now);
      }
      before = &now;
    }
    for (const auto& [generation, contents] : accepted_) {
      EXPECT_EQ(contents.size(), 1u) << "generation " << generation << " was two things";
    }
  }
  const wire::Membership& newest() const { return in_force_.rbegin()->second; }
  std::set<uint64_t> tombstones;

 private:
  static std::set<uint64_t> ids(const std::vector<wire::Member>& members) {
    std::set<uint64_t> set;
    for (const wire::Member& each : members) set.insert(each.id);
    return set;
  }
  void note() {
    std::map<uint32_t, std::set<uint64_t>> holders;
    for (const auto& [id, acceptor] : acceptors_) {
      const wire::Membership& membership = acceptor.state().membership;
      holders[membership.generation].insert(id);
      accepted_[membership.generation].insert(wire::to_string(membership));
      if (is_quorum(membership, holders[membership.generation])) in_force_[membership.generation] = membership;
    }
  }

  std::map<uint64_t, Acceptor> acceptors_;
  std::map<uint32_t, wire::Membership> in_force_;
  std::map<uint32_t, std::set<std::string>> accepted_;
};

MembershipChange::Config replace(uint8_t changer, uint64_t remove, uint64_t add) {
  return {.id = ChangerId{{changer}}, .remove = remove, .add = member(add), .abort = false, .known = list({1, 2, 3})};
}

TEST(MembershipChange, ReplacesALivingMember) {
  World world;
  for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000 + 8 * id));
  MembershipChange change(replace(1, 3, 4));
  EXPECT_EQ(world.run_until(change, State::kFilling), State::kFilling);
  EXPECT_TRUE(world.newest().is_joint());
  EXPECT_TRUE(world.at(4).state().filling);
  EXPECT_EQ(world.run(change), State::kDone) << change.error() << change.waits_for();
  EXPECT_EQ(wire::to_string(world.newest()), "generation 3: 1,2,4 (before: 1,2,3)");
  EXPECT_FALSE(world.at(4).state().filling);
  EXPECT_GE(world.at(4).flush_lsn(), Lsn(2016)) << "what a majority of the old members held";
  EXPECT_GE(world.at(4).state().term, 5u);
  EXPECT_FALSE(world.has(3)) << "its timeline is deleted";
  world.judge();
}

TEST(MembershipChange, ReplacesADeadMemberWhoseDiskIsLost) {
  World world;
  for (const uint64_t id : {1, 2}) world.write(id, 5, Lsn(2000));
  world.lose_disk(3);
  MembershipChange change(replace(1, 3, 4));
  EXPECT_EQ(world.run(change), State::kDone) << change.waits_for();
  EXPECT_EQ(world.newest().generation, 3u);
  world.judge();
}

TEST(MembershipChange, WaitsWithoutAMajorityAndGoesOnLater) {
  World world;
  world.lose_disk(3);
  world.down = {2};
  MembershipChange change(replace(1, 3, 4));
  EXPECT_EQ(world.run(change), State::kPreparing);
  EXPECT_FALSE(world.has(4)) << "nobody is created before the number is promised";
  world.down = {};
  EXPECT_EQ(world.run(change), State::kDone) << change.waits_for();
}

TEST(MembershipChange, AnotherOneGoesOnFromEveryPoint) {
  for (int died_after = 0; died_after < 12; ++died_after) {
    SCOPED_TRACE(died_after);
    World world;
    for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000));
    MembershipChange first(replace(1, 3, 4));
    for (int i = 0; i < died_after; ++i) world.round(first);
    MembershipChange second(replace(2, 3, 4));
    EXPECT_EQ(world.run(second), State::kDone) << second.error() << second.waits_for();
    EXPECT_FALSE(wire::is_in(world.newest().members, 3));
    EXPECT_FALSE(world.newest().is_joint());
    world.judge();
  }
}

// Found by the simulation: an answer of another change's newcomer, which alone had a joint membership, and the accepts went
// out with nobody made.
TEST(MembershipChange, MakesItsNewcomerThoughAnotherChangesOneIsHeardOf) {
  World world;
  MembershipChange rival(replace(1, 1, 5)), change(replace(2, 3, 4));
  ASSERT_EQ(world.run_until(rival, State::kCreating), State::kCreating);
  ASSERT_EQ(world.run_until(change, State::kCreating), State::kCreating);
  world.down = {1, 2, 3};
  world.round(rival);
  ASSERT_TRUE(world.has(5));
  change.on_reply(5, world.at(5).membership_reply());
  for (const auto& request : change.requests()) {
    EXPECT_TRUE(std::holds_alternative<MembershipChange::Create>(request.message)) << request.to.id;
  }
  world.down = {};
  EXPECT_EQ(world.run(change), State::kDone) << change.error() << change.waits_for();
  EXPECT_TRUE(world.has(4));
  world.judge();
}

TEST(MembershipChange, WhoLeavesIsDeletedOnlyWhenAllMembersKnow) {
  World world;
  for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000));
  MembershipChange change(replace(1, 3, 4));
  ASSERT_EQ(world.run_until(change, State::kFilling), State::kFilling);
  world.down = {1};
  ASSERT_EQ(world.run_until(change, State::kCleaning), State::kCleaning) << change.waits_for();
  world.round(change);
  EXPECT_TRUE(world.has(3));
  world.down = {};
  EXPECT_EQ(world.run(change), State::kDone);
  EXPECT_FALSE(world.has(3));
  world.judge();
}

// A changer that died made the newcomer promise more than the joint membership's number: it must get a higher one.
TEST(MembershipChange, ANewcomerThatPromisedMoreIsStillFilled) {
  World world;
  for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000));
  MembershipChange first(replace(1, 3, 4));
  ASSERT_EQ(world.run_until(first, State::kFilling), State::kFilling);
  // The joint membership becomes a fact again, which 4 does not hear of.
  wire::Membership again = world.at(1).state().membership;
  ++again.generation;
  for (const uint64_t id : {1, 2, 3}) {
    const auto accepted = world.at(id).on_accept({again, ChangerId{{2}}});
    ASSERT_TRUE(accepted.persist.has_value());
    world.at(id).install(*accepted.persist);
  }
  const auto promised = world.at(4).on_prepare({again.generation + 1, ChangerId{{3}}});
  ASSERT_TRUE(promised.persist.has_value());
  world.at(4).install(*promised.persist);
  MembershipChange third(replace(4, 3, 4));
  EXPECT_EQ(world.run(third), State::kDone) << third.error() << third.waits_for();
  world.judge();
}

TEST(MembershipChange, DiesInTheMiddleOfARound) {
  for (int messages = 0; messages < 60; ++messages) {
    SCOPED_TRACE(messages);
    World world;
    for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000));
    MembershipChange first(replace(1, 3, 4));
    int left = messages;
    while (left > 0 && !first.is_over()) {
      for (const auto& request : first.requests()) {
        if (left-- <= 0) break;
        bool missing = false, deleted = false;
        const auto reply = world.deliver(request, missing, deleted);
        if (reply) first.on_reply(request.to.id, *reply);
        if (missing) first.on_missing(request.to.id);
        if (deleted) first.on_deleted(request.to.id);
      }
      if (left > 0) first.advance();
    }
    MembershipChange second(replace(2, 3, 4));
    EXPECT_EQ(world.run(second), State::kDone) << second.error() << second.waits_for();
    world.judge();
  }
}

TEST(MembershipChange, GoesBackWhenAskedTo) {
  for (int died_after = 0; died_after < 7; ++died_after) {
    SCOPED_TRACE(died_after);
    World world;
    world.down = {4};  // it comes up after it was created, and is lost
    MembershipChange first(replace(1, 3, 4));
    for (int i = 0; i < died_after; ++i) {
      if (i > 3) world.down = {};
      world.round(first);
    }
    world.down = {4};
    auto config = replace(2, 0, 0);
    config.add = {};
    config.abort = true;
    MembershipChange back(config);
    EXPECT_EQ(world.run(back), State::kDone) << back.error() << back.waits_for();
    if (died_after > 4) {
      EXPECT_TRUE(wire::is_in(world.newest().members, 3)) << wire::to_string(world.newest());
    }
    world.judge();
  }
}

TEST(MembershipChange, ANewcomerThatLostItsMemoryIsNotMadeAgain) {
  World world;
  for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000));
  MembershipChange first(replace(1, 3, 4));
  ASSERT_EQ(world.run_until(first, State::kFilling), State::kFilling);
  world.lose_disk(4);
  MembershipChange second(replace(2, 3, 4));
  EXPECT_EQ(world.run(second), State::kFailed);
  EXPECT_NE(second.error().find("has lost its state"), std::string::npos) << second.error();
  EXPECT_FALSE(world.has(4));
  auto config = replace(3, 0, 0);
  config.add = {};
  config.abort = true;
  MembershipChange back(config);
  EXPECT_EQ(world.run(back), State::kDone);
  MembershipChange other(replace(4, 3, 5));
  EXPECT_EQ(world.run(other), State::kDone) << other.error() << other.waits_for();
  world.judge();
}

TEST(MembershipChange, AMemberThatLostItsDiskCountsForNothing) {
  World world;
  for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000));
  world.lose_disk(2);
  world.down = {3};
  MembershipChange change(replace(1, 3, 4));
  EXPECT_EQ(world.run(change), State::kPreparing) << "1 alone is no majority, and 2 has no memory";
  EXPECT_FALSE(world.has(2));
  world.down = {};
  MembershipChange instead(replace(2, 2, 4));
  EXPECT_EQ(world.run(instead), State::kDone) << instead.waits_for();
  world.judge();
}

TEST(MembershipChange, SaysWhatIsWrongWithAnOrder) {
  World world;
  MembershipChange unknown(replace(1, 7, 4));
  EXPECT_EQ(world.run(unknown), State::kFailed);
  EXPECT_NE(unknown.error().find("is not a member"), std::string::npos);
  MembershipChange twice(replace(1, 3, 2));
  EXPECT_EQ(world.run(twice), State::kFailed);
  EXPECT_NE(twice.error().find("is a member already"), std::string::npos);
  MembershipChange first(replace(1, 3, 4));
  ASSERT_EQ(world.run_until(first, State::kFilling), State::kFilling);
  MembershipChange other(replace(2, 1, 5));
  EXPECT_EQ(world.run(other), State::kFailed);
  EXPECT_NE(other.error().find("is not finished"), std::string::npos);
}

TEST(MembershipChange, AStableMembershipThatAMinorityHasIsMadeAFactBeforeAnythingElse) {
  // 4 alone has heard that the change is complete; who comes next must neither miss nor contradict it.
  World world;
  for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000));
  MembershipChange first(replace(1, 3, 4));
  ASSERT_EQ(world.run_until(first, State::kFilling), State::kFilling);
  for (int i = 0; i < 20 && first.state() != State::kAccepting; ++i) world.round(first);
  ASSERT_EQ(first.state(), State::kAccepting);
  for (const auto& request : first.requests()) {
    bool missing = false, deleted = false;
    if (request.to.id == 4) (void)world.deliver(request, missing, deleted);
  }
  EXPECT_FALSE(world.at(4).state().membership.is_joint());
  EXPECT_TRUE(world.newest().is_joint());

  world.down = {4};
  auto config = replace(2, 0, 0);
  config.add = {};
  config.abort = true;
  MembershipChange back(config);  // does not hear of it, and goes back: both cannot come true
  EXPECT_EQ(world.run(back), State::kDone);
  world.down = {};
  MembershipChange third(replace(3, 1, 5));
  EXPECT_EQ(world.run(third), State::kDone) << third.error() << third.waits_for();
  world.judge();
}

TEST(MembershipChange, TwoHalfAcceptedEndsOfOneJointMembershipCannotBothBecomeFacts) {
  // One changer went forward and was outbid by one that went back; each got one acceptor, and died. Who finds one of the
  // two, and a majority of its members, has to ask the half that it has left as well.
  World world;
  for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000));
  MembershipChange first(replace(1, 3, 4));
  ASSERT_EQ(world.run_until(first, State::kFilling), State::kFilling);
  const auto plant = [&](uint64_t id, const wire::Membership& membership) {
    world.at(id).install(*world.at(id).on_accept({membership, {}}).persist);
  };
  plant(4, {5, list({1, 2, 4}), {}, list({1, 2, 3})});
  plant(3, {6, list({1, 2, 3}), {}, list({1, 2, 4})});

  world.down = {2, 3};
  MembershipChange forward(replace(2, 3, 4));
  EXPECT_EQ(world.run(forward), State::kPreparing) << "1 and 4 are a majority of the new members, but 1 alone none of the old";
  auto config = replace(3, 0, 0);
  config.add = {};
  config.abort = true;
  world.down = {1, 4};
  MembershipChange back(config);
  EXPECT_EQ(world.run(back), State::kPreparing);
  world.down = {};
  EXPECT_TRUE(world.newest().is_joint());
  config.id = ChangerId{{4}};
  MembershipChange last(config);
  EXPECT_EQ(world.run(last), State::kDone) << last.error() << last.waits_for();
  world.judge();
}

// Goal: whatever is lost, late or doubled, and however many changers run and die, the memberships in force form one
//   chain, each sharing a half with the next; and when the faults stop, a change comes to its end.
// Method: up to three changers with orders that collide; each message arrives now, later, twice or never.
TEST(MembershipChange, CompetingChangersFormOneChain) {
  for (uint32_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return random() % n; };
    World world;
    for (const uint64_t id : {1, 2, 3}) world.write(id, 5, Lsn(2000 + 8 * below(4)));
    struct Running {
      uint8_t id = 0;
      std::unique_ptr<MembershipChange> change;
    };
    struct Late {
      uint8_t changer = 0;
      MembershipChange::Request request;
    };
    uint8_t next_id = 1;
    const auto start = [&] {
      auto config = replace(next_id, 1 + below(3), 4 + below(2));
      config.known = list({1, 2, 3, 4, 5});
      config.abort = below(4) == 0;
      return Running{next_id++, std::make_unique<MembershipChange>(config)};
    };
    std::vector<Running> running;
    for (int i = 0; i < 3; ++i) running.push_back(start());
    std::deque<Late> late;
    const auto deliver = [&](const Late& one) {
      bool missing = false, deleted = false;
      const auto reply = world.deliver(one.request, missing, deleted);
      if (below(5) == 0) return;  // the answer is lost
      for (Running& each : running) {
        if (each.id != one.changer) continue;
        if (reply) each.change->on_reply(one.request.to.id, *reply);
        if (missing) each.change->on_missing(one.request.to.id);
        if (deleted) each.change->on_deleted(one.request.to.id);
      }
    };
    for (int step = 0; step < 300; ++step) {
      if (below(40) == 0) world.down = below(2) == 0 ? std::set<uint64_t>{} : std::set<uint64_t>{1 + below(5)};
      Running& one = running[below(static_cast<uint32_t>(running.size()))];
      if (one.change->is_over() || below(60) == 0) one = start();
      for (const auto& request : one.change->requests()) {
        const uint32_t fate = below(10);
        if (fate == 0) continue;
        if (fate <= 3) late.push_back({one.id, request});
        if (fate >= 3) deliver({one.id, request});
      }
      while (late.size() > 8 || (!late.empty() && below(3) == 0)) {
        const size_t at = below(static_cast<uint32_t>(late.size()));
        const Late chosen = late[at];
        late.erase(late.begin() + static_cast<ptrdiff_t>(at));
        deliver(chosen);
      }
      if (below(3) != 0) one.change->advance();
    }
    world.down = {};
    auto config = replace(next_id++, 0, 0);
    config.add = {};
    config.abort = true;
    config.known = list({1, 2, 3, 4, 5});
    MembershipChange back(config);
    EXPECT_EQ(world.run(back), State::kDone) << back.error() << back.waits_for();
    world.judge();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace helium::safekeeper
