#include "safekeeper/acceptor.h"

#include <gtest/gtest.h>

namespace helium::safekeeper {
namespace {

const ProposerId kA{{1}}, kB{{2}};
const Lsn kBase(1000);

AcceptorState fresh() { return {.membership = {.generation = 1}, .start_lsn = kBase, .commit_lsn = kBase}; }

// An acceptor with a history and WAL up to flush.
Acceptor with(uint64_t term, TermHistory history, Lsn flush, Lsn commit = kBase) {
  AcceptorState state = fresh();
  state.term = term;
  state.history = std::move(history);
  state.commit_lsn = commit;
  return Acceptor(state, flush);
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
  Acceptor acceptor(fresh(), kBase);
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
  const Acceptor reopened(acceptor.state(), kBase);
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

TEST(AcceptorRule7, AMajorityInOneLogTermCommits) {
  Acceptor acceptor = with(5, {{5, kBase}}, Lsn(1600));
  EXPECT_FALSE(acceptor.on_peers(std::vector<MemberProgress>{{2, 4, Lsn(1600), kBase}}, 3)) << "another log term";
  EXPECT_TRUE(acceptor.on_peers(std::vector<MemberProgress>{{2, 5, Lsn(1400), kBase}}, 3));
  EXPECT_EQ(acceptor.commit_lsn(), Lsn(1400));
  EXPECT_FALSE(acceptor.on_peers(std::vector<MemberProgress>{{2, 5, Lsn(1500), kBase}}, 5)) << "two of five";
  EXPECT_TRUE(acceptor.on_peers(std::vector<MemberProgress>{{2, 5, Lsn(1900), Lsn(1700)}}, 5)) << "it knows of others";
  EXPECT_EQ(acceptor.commit_lsn(), Lsn(1600));
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
  const Acceptor acceptor(state, kBase);
  EXPECT_FALSE(acceptor.on_vote_request({.generation = 1, .term = 1, .proposer = kA}).has_value());
  EXPECT_FALSE(acceptor.on_vote_request({.generation = 3, .term = 1, .proposer = kA}).has_value());
  EXPECT_TRUE(acceptor.on_vote_request({.generation = 2, .term = 1, .proposer = kA}).has_value());
  EXPECT_FALSE(acceptor.on_elected(elected(1, {{1, kBase}})).has_value());
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
