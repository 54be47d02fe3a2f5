#include "walclient/proposer.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "walclient/wal_buffer.h"

namespace helium::walclient {
namespace {

const ProposerId kMe{{9}};

wire::VoteReply vote(uint64_t term, TermHistory history, Lsn flush, bool granted = true) {
  return {.generation = 1, .term = term, .granted = granted, .flush_lsn = flush, .history = std::move(history)};
}
wire::AppendReply ack(uint64_t term, uint64_t log_term, Lsn flush) {
  return {.generation = 1, .term = term, .log_term = log_term, .flush_lsn = flush};
}

Proposer asking(uint64_t term) {
  Proposer proposer({.id = kMe, .generation = 1, .members = {1, 2, 3}});
  proposer.on_term_seen(1, term - 1);
  proposer.on_term_seen(2, 0);
  EXPECT_EQ(proposer.next_term(), term);
  proposer.request_votes(term);
  return proposer;
}

TEST(ProposerElection, ATermAboveAllThatAMajorityTellsOf) {
  Proposer proposer({.id = kMe, .generation = 1, .members = {1, 2, 3}});
  EXPECT_EQ(proposer.next_term(), std::nullopt);
  proposer.on_term_seen(1, 4);
  proposer.on_term_seen(7, 9);  // no member
  EXPECT_EQ(proposer.next_term(), std::nullopt);
  proposer.on_term_seen(2, 6);
  EXPECT_EQ(proposer.next_term(), 7u);
}

TEST(ProposerRule1, TheLogTermDecidesBeforeTheLength) {
  Proposer proposer = asking(6);
  // The lagging acceptor's history, cut at its flush_lsn, does not have term 5.
  EXPECT_EQ(proposer.on_vote(1, vote(6, {{3, Lsn(100)}}, Lsn(600))), Proposer::Election::kWaiting);
  EXPECT_EQ(proposer.on_vote(2, vote(6, {{3, Lsn(100)}, {4, Lsn(500)}}, Lsn(550))), Proposer::Election::kWon);
  EXPECT_EQ(proposer.start_lsn(), Lsn(550));
  EXPECT_EQ(proposer.donor(), 2u);
  EXPECT_EQ(proposer.history(), (TermHistory{{3, Lsn(100)}, {4, Lsn(500)}, {6, Lsn(550)}}));
}

TEST(ProposerRule1, InOneLogTermTheLongerOneWins) {
  Proposer proposer = asking(6);
  proposer.on_vote(1, vote(6, {{4, Lsn(100)}}, Lsn(1000)));
  EXPECT_EQ(proposer.on_vote(3, vote(6, {{4, Lsn(100)}}, Lsn(600))), Proposer::Election::kWon);
  EXPECT_EQ(proposer.start_lsn(), Lsn(1000));
  EXPECT_EQ(proposer.donor(), 1u);
  EXPECT_EQ(proposer.members_with(Lsn(1000)), std::vector<uint64_t>{1}) << "it has WAL up to X before it has adopted the history";
  EXPECT_TRUE(proposer.members_with(Lsn(1001)).empty());
  proposer.on_ack(2, ack(6, 6, Lsn(1001)));
  EXPECT_EQ(proposer.members_with(Lsn(1001)), std::vector<uint64_t>{2});
}

TEST(ProposerRule2, TheStartIsCommittedOnceAMajorityHasAdoptedIt) {
  Proposer proposer = asking(6);
  proposer.on_vote(1, vote(6, {{4, Lsn(100)}}, Lsn(1000)));
  proposer.on_vote(2, vote(6, {{4, Lsn(100)}}, Lsn(600)));
  EXPECT_FALSE(proposer.commit_lsn().is_valid()) << "votes commit nothing";
  EXPECT_FALSE(proposer.on_ack(1, ack(6, 6, Lsn(1000))));
  EXPECT_FALSE(proposer.on_ack(2, ack(6, 4, Lsn(600)))) << "adopted, but its log does not reach the start";
  EXPECT_TRUE(proposer.on_ack(2, ack(6, 6, Lsn(1000))));
  EXPECT_EQ(proposer.commit_lsn(), Lsn(1000));
}

TEST(ProposerRule5, AcknowledgementsOfOtherTermsAreVoid) {
  Proposer proposer = asking(6);
  proposer.on_vote(1, vote(6, {}, Lsn(1000)));
  proposer.on_vote(2, vote(6, {}, Lsn(1000)));
  proposer.on_ack(1, ack(6, 6, Lsn(2000)));
  EXPECT_FALSE(proposer.on_ack(2, ack(5, 5, Lsn(2000))));
  EXPECT_FALSE(proposer.on_ack(2, ack(7, 6, Lsn(2000))));
  EXPECT_EQ(proposer.fenced_by(), 7u);
  EXPECT_FALSE(proposer.on_ack(8, ack(6, 6, Lsn(2000)))) << "no member";
}

TEST(ProposerElection, RefusalsOfAMajorityLoseTheTermAndALaterOneCanBeTried) {
  Proposer proposer = asking(6);
  EXPECT_EQ(proposer.on_vote(1, vote(6, {}, Lsn(10), false)), Proposer::Election::kWaiting);
  EXPECT_EQ(proposer.on_vote(1, vote(6, {}, Lsn(10), false)), Proposer::Election::kWaiting) << "doubled";
  EXPECT_EQ(proposer.on_vote(2, vote(9, {}, Lsn(10), false)), Proposer::Election::kLost);
  EXPECT_EQ(proposer.next_term(), 10u);
  proposer.request_votes(10);
  EXPECT_EQ(proposer.on_vote(3, vote(6, {}, Lsn(10))), Proposer::Election::kWaiting) << "an answer from before";
  proposer.on_vote(1, vote(10, {}, Lsn(10)));
  EXPECT_EQ(proposer.on_vote(2, vote(10, {}, Lsn(10))), Proposer::Election::kWon);
  EXPECT_EQ(proposer.fenced_by(), std::nullopt);
}

TEST(WalBuffer, KeepsTheNewestBytesAndMakesRoomOnlyBehindWhatIsNeeded) {
  WalBuffer buffer(100);
  buffer.reset(Lsn(950));
  Bytes bytes(80);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  buffer.append(bytes);
  EXPECT_EQ(buffer.room(Lsn(950)), 20u);
  EXPECT_EQ(buffer.room(Lsn(1000)), 70u);
  EXPECT_EQ(buffer.room(Lsn(5000)), 100u);
  buffer.append(ByteView(bytes).first(60));
  EXPECT_EQ(buffer.start(), Lsn(990));
  EXPECT_EQ(buffer.end(), Lsn(1090));
  Bytes out;
  buffer.read(Lsn(1020), 1000, out);
  ASSERT_EQ(out.size(), 70u);
  EXPECT_EQ(out[9], std::byte{79});
  EXPECT_EQ(out[10], std::byte{0});
  EXPECT_EQ(out[69], std::byte{59});
}

}  // namespace
}  // namespace helium::walclient
