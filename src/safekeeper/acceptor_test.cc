#include "safekeeper/acceptor.h"

#include <gtest/gtest.h>

namespace helium::safekeeper {
namespace {

const ProposerId kA{{1}}, kB{{2}};
const Lsn kBase(1000);

std::vector<wire::Member> list(const std::vector<uint64_t>& ids) {
  std::vector<wire::Member> members;
  for (const uint64_t id : ids) members.push_back({id, "host", 5454, 7676});
  return members;
}

AcceptorState fresh() {
  AcceptorState state;
  state.membership = {1, list({1, 2, 3}), {}, {}};
  state.start_lsn = state.commit_lsn = kBase;
  return state;
}

// An acceptor with a history and WAL up to flush.
Acceptor with(uint64_t term, TermHistory history, Lsn flush, Lsn commit = kBase) {
  AcceptorState state = fresh();
  state.term = term;
  state.history = std::move(history);
  state.commit_lsn = commit;
  return Acceptor(1, state, flush);
}

wire::Elected elected(uint64_t term, TermHistory history) {
  return {.generation = 1, .term = term, .proposer = kA, .history = std::move(history)};
}

wire::Append append(uint64_t term, Lsn start, ByteView wal = {}) {
  return {.generation = 1, .term = term, .start_lsn = start, .wal = wal};
}

TEST(AcceptorRule1, TheLogTermIsTheOwnerOfTheFlushedEndNotTheLastAdopted) {
  const Acceptor lagging = with(5, {{4, kBase}, {5, Lsn(2000)}}, Lsn(1600));
  EXPECT_EQ(lagging.log_term(), 4u);
  const auto vote = lagging.on_vote_request({.generation = 1, .term = 6, .proposer = kA});
  ASSERT_TRUE(vote.has_value());
  EXPECT_TRUE(vote->reply.granted);
  EXPECT_EQ(vote->reply.history, (TermHistory{{4, kBase}}));
  EXPECT_EQ(with(5, {{4, kBase}, {5, Lsn(2000)}}, Lsn(2000)).log_term(), 5u) << "an entry that starts there counts";
}

TEST(AcceptorRule4, AFollowerThatDivergedIsCutAtTheForkPoint) {
  const Acceptor acceptor = with(5, {{3, kBase}, {5, Lsn(1200)}}, Lsn(1800));
  const auto decision = acceptor.on_elected(elected(7, {{3, kBase}, {6, Lsn(1400)}, {7, Lsn(1500)}}));
  ASSERT_TRUE(decision.has_value());
  EXPECT_EQ(decision->truncate_to, Lsn(1200)) << "term 5's bytes from 1200 on are term 3's in the new log";
  EXPECT_EQ(decision->persist.history.back(), (TermSwitch{7, Lsn(1500)}));
  EXPECT_EQ(decision->persist.term, 7u);
}

TEST(AcceptorRule4, TwoEntriesWithOneStartAreNormal) {
  const Acceptor acceptor = with(5, {{4, kBase}, {5, Lsn(1500)}}, Lsn(1500));
  const auto decision = acceptor.on_elected(elected(6, {{4, kBase}, {6, Lsn(1500)}}));
  ASSERT_TRUE(decision.has_value());
  EXPECT_EQ(decision->truncate_to, Lsn(1500));
}

TEST(AcceptorRule4, CommittedWalIsNeverCutOff) {
  const Acceptor acceptor = with(5, {{5, kBase}}, Lsn(1800), Lsn(1600));
  const auto decision = acceptor.on_elected(elected(7, {{5, kBase}, {7, Lsn(1500)}}));
  ASSERT_FALSE(decision.has_value());
  EXPECT_EQ(decision.error().code, ErrorCode::kCorrupt);
}

TEST(AcceptorRule5, AVoteIsGivenOnceAndTheSameProposerGetsTheSameAnswer) {
  Acceptor acceptor(1, fresh(), kBase);
  const auto first = acceptor.on_vote_request({.generation = 1, .term = 3, .proposer = kA});
  ASSERT_TRUE(first->reply.granted);
  ASSERT_TRUE(first->persist.has_value());
  acceptor.install(*first->persist);

  const auto again = acceptor.on_vote_request({.generation = 1, .term = 3, .proposer = kA});
  EXPECT_EQ(again->reply, first->reply);
  EXPECT_FALSE(again->persist.has_value());
  const auto rival = acceptor.on_vote_request({.generation = 1, .term = 3, .proposer = kB});
  EXPECT_FALSE(rival->reply.granted);
  const auto lower = acceptor.on_vote_request({.generation = 1, .term = 2, .proposer = kB});
  EXPECT_FALSE(lower->reply.granted);
  EXPECT_EQ(lower->reply.term, 3u);
  // After a crash it is the same.
  const Acceptor reopened(1, acceptor.state(), kBase);
  EXPECT_FALSE(reopened.on_vote_request({.generation = 1, .term = 3, .proposer = kB})->reply.granted);
  EXPECT_TRUE(reopened.on_vote_request({.generation = 1, .term = 3, .proposer = kA})->reply.granted);
}

TEST(AcceptorRule5, AppendsOfAnEarlierTermAreRefusedAfterAVote) {
  Acceptor acceptor = with(3, {{3, kBase}}, Lsn(1100));
  EXPECT_TRUE(acceptor.on_append(append(3, Lsn(1100)), Lsn(1100)).has_value());
  acceptor.install(*acceptor.on_vote_request({.generation = 1, .term = 4, .proposer = kB})->persist);
  EXPECT_EQ(acceptor.on_append(append(3, Lsn(1100)), Lsn(1100)).error().code, ErrorCode::kFenced);
  EXPECT_EQ(acceptor.on_append(append(4, Lsn(1100)), Lsn(1100)).error().code, ErrorCode::kInvalid) << "no history yet";
  EXPECT_EQ(acceptor.on_elected(elected(3, {{3, kBase}})).error().code, ErrorCode::kFenced);
  EXPECT_EQ(acceptor.progress().term, 4u) << "every answer carries the current term";
}

TEST(AcceptorAppend, WhatIsThereAlreadyIsSkippedAndAGapIsRefused) {
  const Acceptor acceptor = with(3, {{3, kBase}}, Lsn(1100));
  const Bytes wal(100);
  EXPECT_EQ(acceptor.on_append(append(3, Lsn(1050), wal), Lsn(1120))->skip, 70u);
  EXPECT_EQ(acceptor.on_append(append(3, Lsn(1000), wal), Lsn(1120))->skip, 100u);
  EXPECT_EQ(acceptor.on_append(append(3, Lsn(1121), wal), Lsn(1120)).error().code, ErrorCode::kInvalid);
}

TEST(AcceptorRule6, CommitCountsOnlyInItsOwnLogTerm) {
  Acceptor lagging = with(5, {{4, kBase}, {5, Lsn(2000)}}, Lsn(1600));
  EXPECT_FALSE(lagging.on_commit(5, Lsn(2100)));
  EXPECT_EQ(lagging.commit_lsn(), kBase);
  EXPECT_TRUE(lagging.on_commit(4, Lsn(1500)));
  lagging.on_written(Lsn(2000));
  lagging.on_flushed(Lsn(2000));
  EXPECT_TRUE(lagging.on_commit(5, Lsn(2100)));
  EXPECT_EQ(lagging.commit_lsn(), Lsn(2000)) << "no further than what is here";
  EXPECT_FALSE(lagging.on_commit(5, Lsn(1900))) << "and it never falls";
}

MemberProgress told(uint64_t id, uint64_t log_term, Lsn flush, Lsn commit = kBase, uint32_t generation = 1) {
  return {.safekeeper_id = id, .generation = generation, .filling = false, .term = log_term, .log_term = log_term,
          .flush_lsn = flush, .commit_lsn = commit};
}
bool hears(Acceptor& acceptor, std::vector<MemberProgress> peers) { return acceptor.on_peers(peers); }

TEST(AcceptorRule7, AMajorityInOneLogTermCommits) {
  Acceptor acceptor = with(5, {{5, kBase}}, Lsn(1600));
  EXPECT_FALSE(hears(acceptor, {told(2, 4, Lsn(1600))})) << "another log term";
  EXPECT_FALSE(hears(acceptor, {told(9, 5, Lsn(1600))})) << "no member";
  EXPECT_TRUE(hears(acceptor, {told(2, 5, Lsn(1400))}));
  EXPECT_EQ(acceptor.commit_lsn(), Lsn(1400));
  AcceptorState five = acceptor.state();
  five.membership = {2, list({1, 2, 3, 4, 5}), {}, {}};
  acceptor.install(five);
  EXPECT_FALSE(hears(acceptor, {told(2, 5, Lsn(1500), kBase, 2)})) << "two of five";
  EXPECT_TRUE(hears(acceptor, {told(2, 5, Lsn(1900), Lsn(1700), 2)})) << "it knows of others";
  EXPECT_EQ(acceptor.commit_lsn(), Lsn(1600));
}

TEST(AcceptorRule9, MembersOfOneGenerationCountForThemselvesByBothHalves) {
  Acceptor acceptor = with(5, {{5, kBase}}, Lsn(1600));
  AcceptorState joint = acceptor.state();
  joint.membership = {2, list({1, 2, 3}), list({1, 4, 5}), {}};
  acceptor.install(joint);
  EXPECT_FALSE(hears(acceptor, {told(2, 5, Lsn(1600), kBase, 2), told(3, 5, Lsn(1600), kBase, 2)})) << "one half";
  EXPECT_FALSE(hears(acceptor, {told(2, 5, Lsn(1600), kBase, 2), told(4, 5, Lsn(1600), kBase, 1)})) << "said before";
  MemberProgress newcomer = told(4, 5, Lsn(1600), kBase, 2);
  newcomer.filling = true;
  EXPECT_FALSE(hears(acceptor, {told(2, 5, Lsn(1600), kBase, 2), newcomer})) << "it does not count yet (rule 8)";
  EXPECT_TRUE(hears(acceptor, {told(2, 5, Lsn(1600), kBase, 2), told(4, 5, Lsn(1500), kBase, 2)}));
  EXPECT_EQ(acceptor.commit_lsn(), Lsn(1500));
}

TEST(AcceptorRule7, CatchUpStaysWithinTheLogTermAndBehindAPromise) {
  const TermHistory history{{4, kBase}, {5, Lsn(2000)}};
  const Acceptor lagging = with(5, {{4, kBase}}, Lsn(1600));
  const auto decision = lagging.on_catch_up(1, 5, history);
  ASSERT_TRUE(decision.has_value());
  EXPECT_EQ(decision->truncate_to, Lsn(1600));
  EXPECT_EQ(decision->persist.history, history);

  EXPECT_EQ(lagging.on_catch_up(1, 3, {{3, kBase}}).error().code, ErrorCode::kInvalid);
  Acceptor promised = lagging;
  promised.install(*promised.on_vote_request({.generation = 1, .term = 6, .proposer = kB})->persist);
  EXPECT_EQ(promised.on_catch_up(1, 5, history).error().code, ErrorCode::kFenced)
      << "term 6 counted on what this member had";
  EXPECT_EQ(lagging.on_catch_up(1, 4, history).error().code, ErrorCode::kFenced) << "term 5 was promised, too";
  // What the peer adopted without WAL of it is left out.
  EXPECT_EQ(with(4, {{4, kBase}}, Lsn(1600)).on_catch_up(1, 4, history)->persist.history, (TermHistory{{4, kBase}}));
}

TEST(AcceptorRule9, OtherGenerationsAreRefused) {
  AcceptorState state = fresh();
  state.membership.generation = 2;
  const Acceptor acceptor(1, state, kBase);
  EXPECT_FALSE(acceptor.on_vote_request({.generation = 1, .term = 1, .proposer = kA}).has_value());
  EXPECT_FALSE(acceptor.on_vote_request({.generation = 3, .term = 1, .proposer = kA}).has_value());
  EXPECT_TRUE(acceptor.on_vote_request({.generation = 2, .term = 1, .proposer = kA}).has_value());
  EXPECT_EQ(acceptor.on_elected(elected(1, {{1, kBase}})).error().code, ErrorCode::kUnavailable);
}

// -- changes of the membership --------------------------------------------------------------------------------------------

const ChangerId kChanger{{1}}, kRival{{2}};
const wire::Membership kJoint{4, list({1, 2, 3}), list({1, 2, 4}), {}};
const wire::Membership kStable{5, list({1, 2, 4}), {}, list({1, 2, 3})};

void apply(Acceptor& acceptor, const Acceptor::MembershipDecision& decision) {
  if (decision.persist) acceptor.install(*decision.persist);
}
bool accepts(Acceptor& acceptor, const wire::Membership& membership, ChangerId changer = kChanger) {
  const auto decision = acceptor.on_accept({membership, changer});
  apply(acceptor, decision);
  return decision.reply.membership == membership;
}
bool promises(Acceptor& acceptor, uint32_t generation, ChangerId changer) {
  const auto decision = acceptor.on_prepare({generation, changer});
  apply(acceptor, decision);
  return decision.reply.promised_generation == generation && decision.reply.changer == changer;
}

TEST(AcceptorMembership, AGenerationIsPromisedOnceAndLowerOnesAreRefused) {
  Acceptor acceptor(1, fresh(), kBase);
  EXPECT_FALSE(promises(acceptor, 1, kChanger)) << "generation 1 is in force";
  EXPECT_TRUE(promises(acceptor, 4, kChanger));
  EXPECT_TRUE(promises(acceptor, 4, kChanger)) << "asked again";
  EXPECT_FALSE(promises(acceptor, 4, kRival));
  EXPECT_FALSE(promises(acceptor, 3, kRival));
  EXPECT_FALSE(accepts(acceptor, {3, list({1, 2, 3}), list({1, 2, 5}), {}}, kRival));
  EXPECT_FALSE(accepts(acceptor, kJoint, kRival)) << "this number is promised to another one";
  EXPECT_TRUE(accepts(acceptor, kJoint));
  EXPECT_TRUE(accepts(acceptor, kJoint)) << "asked again";
  EXPECT_TRUE(promises(acceptor, 6, kRival));
  EXPECT_FALSE(accepts(acceptor, kStable));
  EXPECT_EQ(acceptor.state().membership, kJoint);
}

TEST(AcceptorMembership, WhatAProposerPassesOnCountsLikeTheChangersWord) {
  Acceptor acceptor(1, fresh(), kBase);
  EXPECT_TRUE(accepts(acceptor, kStable, {})) << "it missed the joint one";
  EXPECT_FALSE(accepts(acceptor, kJoint, {})) << "never back";
  EXPECT_FALSE(accepts(acceptor, {9, list({1, 1}), {}, {}}, {})) << "nonsense";
}

TEST(AcceptorMembership, TheReplyTellsWhereItIs) {
  Acceptor acceptor = with(5, {{4, kBase}, {5, Lsn(2000)}}, Lsn(1600), Lsn(1500));
  const wire::MembershipReply reply = acceptor.on_prepare({7, kChanger}).reply;
  EXPECT_EQ(reply.safekeeper_id, 1u);
  EXPECT_EQ(reply.promised_generation, 7u);
  EXPECT_EQ(reply.term, 5u);
  EXPECT_EQ(reply.log_term, 4u);
  EXPECT_EQ(reply.flush_lsn, Lsn(1600));
  EXPECT_EQ(reply.commit_lsn, Lsn(1500));
  EXPECT_EQ(reply.history, (TermHistory{{4, kBase}}));
}

TEST(AcceptorMembership, AVoteDoesNotOutliveItsGeneration) {
  // Why: a winner of term 3 in the old generation may exist that the new one's quorum knows nothing of.
  Acceptor acceptor(1, fresh(), kBase);
  apply(acceptor, {acceptor.on_vote_request({.generation = 1, .term = 3, .proposer = kA})->persist, {}});
  ASSERT_TRUE(accepts(acceptor, kJoint));
  const auto again = acceptor.on_vote_request({.generation = 4, .term = 3, .proposer = kA});
  ASSERT_TRUE(again.has_value());
  EXPECT_FALSE(again->reply.granted);
  EXPECT_TRUE(acceptor.on_vote_request({.generation = 4, .term = 4, .proposer = kA})->reply.granted);
}

TEST(AcceptorRule8, ANewcomerNeitherVotesNorCountsBeforeItHoldsWhatItMust) {
  Acceptor newcomer(4, fresh(), kBase);
  ASSERT_TRUE(accepts(newcomer, kJoint));
  EXPECT_TRUE(newcomer.state().filling);
  const auto vote = newcomer.on_vote_request({.generation = 4, .term = 9, .proposer = kA});
  ASSERT_FALSE(vote.has_value());
  EXPECT_EQ(newcomer.state().term, 0u);
  // It is fed like everybody, and says that it does not count.
  wire::Elected term = elected(5, {{5, kBase}});
  term.generation = 4;
  const auto decision = newcomer.on_elected(term);
  ASSERT_TRUE(decision.has_value());
  newcomer.install(decision->persist, decision->truncate_to);
  newcomer.on_written(Lsn(1400));
  newcomer.on_flushed(Lsn(1400));
  EXPECT_TRUE(newcomer.progress().filling);

  const wire::FillRequest wanted{.generation = 4, .term = 6, .log_term = 5, .flush_lsn = Lsn(1500)};
  EXPECT_FALSE(newcomer.on_fill(wanted).persist.has_value()) << "100 bytes are missing";
  newcomer.on_written(Lsn(1500));
  newcomer.on_flushed(Lsn(1500));
  EXPECT_FALSE(newcomer.on_fill({.generation = 3, .term = 6, .log_term = 5, .flush_lsn = Lsn(1500)}).persist)
      << "of another change";
  apply(newcomer, newcomer.on_fill(wanted));
  EXPECT_FALSE(newcomer.progress().filling);
  EXPECT_EQ(newcomer.state().term, 6u) << "terms up to there were promised by those that it stands for";
  EXPECT_FALSE(newcomer.on_vote_request({.generation = 4, .term = 6, .proposer = kA})->reply.granted);
  EXPECT_TRUE(newcomer.on_vote_request({.generation = 4, .term = 7, .proposer = kA})->reply.granted);
}

TEST(AcceptorRule8, WhoWasAwayForAGenerationIsFilledAgain) {
  Acceptor newcomer(4, fresh(), Lsn(1500));
  ASSERT_TRUE(accepts(newcomer, kJoint));
  apply(newcomer, newcomer.on_fill({.generation = 4, .term = 1, .log_term = 0, .flush_lsn = kBase}));
  ASSERT_FALSE(newcomer.state().filling);
  // The change was undone without its knowledge, and WAL committed by 1, 2 and 3; now the next attempt.
  ASSERT_TRUE(accepts(newcomer, {8, list({1, 2, 3}), list({1, 2, 4}), {}}));
  EXPECT_TRUE(newcomer.state().filling);
}

// Term 6 was adopted, and died before anybody had WAL of it: seed 1889 of the simulation stood still.
TEST(AcceptorRule8, ANewcomerTakesTheLogThatThereIsWhateverTermItAdopted) {
  Acceptor newcomer(4, fresh(), kBase);
  ASSERT_TRUE(accepts(newcomer, kJoint));
  wire::Elected dead = elected(6, {{5, kBase}, {6, Lsn(1500)}});
  dead.generation = 4;
  const auto adopted = newcomer.on_elected(dead);
  ASSERT_TRUE(adopted.has_value());
  newcomer.install(adopted->persist, adopted->truncate_to);

  const auto pulled = newcomer.on_catch_up(4, 5, {{5, kBase}});
  ASSERT_TRUE(pulled.has_value()) << pulled.error().message;
  newcomer.install(pulled->persist, pulled->truncate_to);
  EXPECT_EQ(newcomer.state().term, 6u) << "the promise stays";
  wire::Append wal = append(5, kBase);
  wal.generation = 4;
  EXPECT_TRUE(newcomer.on_append(wal, kBase).has_value());
  newcomer.on_written(Lsn(1700));
  newcomer.on_flushed(Lsn(1700));
  EXPECT_EQ(newcomer.log_term(), 5u);
  EXPECT_EQ(newcomer.on_catch_up(4, 4, {{4, kBase}}).error().code, ErrorCode::kInvalid) << "its log term never falls";
  EXPECT_EQ(newcomer.on_catch_up(3, 5, {{5, kBase}}).error().code, ErrorCode::kUnavailable);
  dead.term = 5;
  EXPECT_EQ(newcomer.on_elected(dead).error().code, ErrorCode::kFenced) << "a proposer of an earlier term is over";

  // From when it counts on, it is an acceptor like any.
  apply(newcomer, newcomer.on_fill({.generation = 4, .term = 5, .log_term = 5, .flush_lsn = Lsn(1600)}));
  ASSERT_FALSE(newcomer.state().filling);
  EXPECT_EQ(newcomer.state().term, 6u);
  EXPECT_EQ(newcomer.on_append(wal, Lsn(1700)).error().code, ErrorCode::kFenced);
  EXPECT_EQ(newcomer.on_catch_up(4, 5, {{5, kBase}}).error().code, ErrorCode::kFenced);
}

// Members 2 and 3 elected term 6 without what member 1 had of term 5; 2 alone adopted it. Then 4 took 3's place, with
// 3's promise, and all that 1 has. Two of 1, 2, 4 hold it, and the next election goes by member 2's log all the same.
TEST(AcceptorRule7, APromiseEndsTheCountingOfEarlierTerms) {
  const auto member = [](uint64_t id, uint64_t term) {
    AcceptorState state = fresh();
    state.membership = kStable;
    state.term = term;
    state.history = {{5, kBase}};
    return Acceptor(id, state, Lsn(1700));
  };
  const auto said = [](uint64_t id, uint64_t term) {
    MemberProgress progress = told(id, 5, Lsn(1700), kBase, kStable.generation);
    progress.term = term;
    return progress;
  };
  Acceptor newcomer = member(4, 6);
  EXPECT_FALSE(hears(newcomer, {said(1, 5)}));
  Acceptor first = member(1, 5);
  EXPECT_FALSE(hears(first, {said(4, 6)}));
  EXPECT_TRUE(hears(first, {said(4, 5)})) << "nobody has promised more";
}

// Member 2 gave term 3 its vote, whose winner went by 1's shorter log of term 2; then 1 and 3 elected term 4, whose log is 3's,
// of term 2 so far, and 1 gets more of that. Term 3 may still reach member 2, and 1 and 2 go by it.
TEST(AcceptorRule7, WalOfAnOlderTermThatALaterWinnerSendsIsNotCounted) {
  Acceptor one = with(3, {{2, kBase}}, Lsn(1400));
  AcceptorState four = one.state();
  four.term = 4;
  four.history = {{2, kBase}, {4, Lsn(1900)}};
  one.install(four);
  one.on_written(Lsn(1600));
  one.on_flushed(Lsn(1600));
  MemberProgress three = told(3, 2, Lsn(1900));
  three.term = 4;
  EXPECT_EQ(one.log_term(), 2u);
  EXPECT_FALSE(hears(one, {three}));
  one.on_written(Lsn(1900));
  one.on_flushed(Lsn(1900));
  three.log_term = 4;
  EXPECT_TRUE(hears(one, {three})) << "the start of term 4";
  EXPECT_EQ(one.commit_lsn(), Lsn(1900));
}

TEST(AcceptorMembership, WhoIsNoMemberDoesNothing) {
  Acceptor left(3, fresh(), kBase);
  ASSERT_TRUE(accepts(left, kStable));
  EXPECT_EQ(left.on_vote_request({.generation = 5, .term = 9, .proposer = kA}).error().code, ErrorCode::kInvalid);
  wire::Elected term = elected(5, {{5, kBase}});
  term.generation = 5;
  EXPECT_EQ(left.on_elected(term).error().code, ErrorCode::kInvalid);
  EXPECT_FALSE(left.on_fill({.generation = 5, .term = 9, .log_term = 0, .flush_lsn = kBase}).persist.has_value());
}

TEST(AcceptorCommit, AnInstallDoesNotTakeBackWhatReadersWereTold) {
  Acceptor acceptor = with(5, {{5, kBase}}, Lsn(1600));
  AcceptorState persisted = acceptor.state();
  ASSERT_TRUE(acceptor.on_commit(5, Lsn(1500)));
  acceptor.install(persisted);
  EXPECT_EQ(acceptor.commit_lsn(), Lsn(1500));
}

}  // namespace
}  // namespace helium::safekeeper
