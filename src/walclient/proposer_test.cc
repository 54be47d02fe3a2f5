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
wire::AppendReply ack(uint64_t term, uint64_t log_term, Lsn flush, uint32_t generation = 1) {
  return {.generation = generation, .term = term, .log_term = log_term, .flush_lsn = flush};
}

std::vector<wire::Member> list(const std::vector<uint64_t>& ids) {
  std::vector<wire::Member> members;
  for (const uint64_t id : ids) members.push_back({id, "host", 5454, 7676});
  return members;
}
const wire::Membership kThree{1, list({1, 2, 3}), {}, {}};
const wire::Membership kJoint{2, list({1, 2, 3}), list({1, 2, 4}), {}};
const wire::Membership kAfter{3, list({1, 2, 4}), {}, list({1, 2, 3})};

void greet(Proposer& proposer, uint64_t id, uint64_t term, const wire::Membership& membership = kThree,
           bool filling = false) {
  proposer.on_greeting(id, {.term = term, .filling = filling, .membership = membership});
}

Proposer asking(uint64_t term) {
  Proposer proposer(kMe);
  greet(proposer, 1, term - 1);
  greet(proposer, 2, 0);
  EXPECT_EQ(proposer.next_term(), term);
  proposer.request_votes(term);
  return proposer;
}

TEST(ProposerElection, ATermAboveAllThatAMajorityTellsOf) {
  Proposer proposer(kMe);
  EXPECT_EQ(proposer.next_term(), std::nullopt);
  greet(proposer, 1, 4);
  greet(proposer, 7, 9);  // no member
  EXPECT_EQ(proposer.next_term(), std::nullopt);
  greet(proposer, 2, 6);
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
  EXPECT_EQ(proposer.next_term(), std::nullopt) << "who lost greets again first";
  greet(proposer, 1, 6);
  greet(proposer, 3, 6);
  EXPECT_EQ(proposer.next_term(), 10u);
  proposer.request_votes(10);
  EXPECT_EQ(proposer.on_vote(3, vote(6, {}, Lsn(10))), Proposer::Election::kWaiting) << "an answer from before";
  proposer.on_vote(1, vote(10, {}, Lsn(10)));
  EXPECT_EQ(proposer.on_vote(2, vote(10, {}, Lsn(10))), Proposer::Election::kWon);
  EXPECT_EQ(proposer.fenced_by(), std::nullopt);
}

TEST(ProposerPreVote, WhoIsNotHeardByAQuorumAsksForNoTerm) {
  Proposer proposer(kMe);
  greet(proposer, 1, 4);
  greet(proposer, 2, 4);
  proposer.on_lost(2);
  EXPECT_EQ(proposer.next_term(), std::nullopt) << "one of three is connected";
  greet(proposer, 2, 4);
  EXPECT_EQ(proposer.next_term(), 5u);
  // A joint membership: a majority of each half.
  Proposer joint(kMe);
  greet(joint, 2, 4, kJoint);
  greet(joint, 3, 4, kJoint);
  EXPECT_EQ(joint.next_term(), std::nullopt);
  greet(joint, 4, 0, kJoint, true);
  EXPECT_EQ(joint.next_term(), std::nullopt) << "a newcomer that is being filled does not vote";
  greet(joint, 4, 4, kJoint);
  EXPECT_EQ(joint.next_term(), 5u);
  // Those who lag behind would refuse.
  Proposer mixed(kMe);
  greet(mixed, 1, 4, kJoint);
  greet(mixed, 2, 4, kThree);
  EXPECT_EQ(mixed.next_term(), std::nullopt);
  EXPECT_TRUE(mixed.lags(2));
  greet(mixed, 3, 4, kThree);
  EXPECT_EQ(mixed.next_term(), 5u) << "what a minority has accepted stops nobody";
  EXPECT_EQ(mixed.request_votes(5).generation, 1u);
  EXPECT_FALSE(mixed.may_vote(1));
}

// Elected in generation 1 by 1 and 2, start committed at 1000.
Proposer leading(uint64_t term) {
  Proposer proposer = asking(term);
  proposer.on_vote(1, vote(term, {}, Lsn(1000)));
  proposer.on_vote(2, vote(term, {}, Lsn(1000)));
  proposer.on_ack(1, ack(term, term, Lsn(1000)));
  EXPECT_TRUE(proposer.on_ack(2, ack(term, term, Lsn(1000))));
  return proposer;
}

TEST(ProposerRule9, AJointMembershipCommitsByBothHalvesAndTheTermStays) {
  Proposer proposer = leading(6);
  EXPECT_TRUE(proposer.on_membership(1, 6, kJoint));
  EXPECT_FALSE(proposer.on_membership(2, 6, kJoint)) << "known";
  EXPECT_EQ(proposer.generation_of(3), 0u);
  EXPECT_EQ(proposer.elected_message(1).generation, 2u);
  EXPECT_EQ(proposer.elected_message(1).term, 6u);
  EXPECT_FALSE(proposer.on_ack(3, ack(6, 6, Lsn(2000), 1)));
  EXPECT_FALSE(proposer.on_ack(2, ack(6, 6, Lsn(2000), 2)));
  EXPECT_FALSE(proposer.on_ack(4, ack(6, 6, Lsn(2000), 2))) << "2 and 4: the new half only";
  EXPECT_EQ(proposer.commit_lsn(), Lsn(1000)) << "what 3 said in the old generation does not complete the old half";
  EXPECT_TRUE(proposer.on_ack(3, ack(6, 6, Lsn(1900), 2)));
  EXPECT_EQ(proposer.commit_lsn(), Lsn(1900));
  EXPECT_EQ(proposer.oldest_generation(), 2u);
  // And on to the next: 1 has left nothing behind that counts, 3 is out.
  EXPECT_TRUE(proposer.on_membership(4, 6, kAfter));
  EXPECT_FALSE(proposer.on_ack(3, ack(6, 6, Lsn(3000), 3))) << "no member";
  EXPECT_FALSE(proposer.on_ack(4, ack(6, 6, Lsn(3000), 3)));
  EXPECT_TRUE(proposer.on_ack(1, ack(6, 6, Lsn(2500), 3)));
  EXPECT_EQ(proposer.commit_lsn(), Lsn(2500));
  EXPECT_FALSE(proposer.is_known(3));
}

TEST(ProposerRule9, AHalfMadeChangeStopsNothing) {
  Proposer proposer = leading(6);
  proposer.on_membership(1, 6, kJoint);  // 1 alone has it, and the changer is dead
  EXPECT_FALSE(proposer.on_ack(1, ack(6, 6, Lsn(2000), 2)));
  EXPECT_FALSE(proposer.on_ack(2, ack(6, 6, Lsn(2000), 1)));
  EXPECT_TRUE(proposer.on_ack(3, ack(6, 6, Lsn(2000), 1))) << "2 and 3 still are a majority of generation 1";
}

TEST(ProposerRule9, AcknowledgementsOfAnUnknownGenerationWaitForNews) {
  Proposer proposer = leading(6);
  proposer.on_ack(1, ack(6, 6, Lsn(2000), 2));
  EXPECT_FALSE(proposer.on_ack(2, ack(6, 6, Lsn(2000), 2)));
  EXPECT_EQ(proposer.commit_lsn(), Lsn(1000));
  proposer.on_membership(1, 6, kJoint);
  proposer.on_ack(1, ack(6, 6, Lsn(2000), 2));
  EXPECT_TRUE(proposer.on_ack(2, ack(6, 6, Lsn(2000), 2)));
}

TEST(ProposerRule8, ANewcomerThatIsBeingFilledDoesNotCount) {
  Proposer proposer = leading(6);
  proposer.on_membership(1, 6, kJoint);
  wire::AppendReply filling = ack(6, 6, Lsn(2000), 2);
  filling.filling = true;
  proposer.on_ack(2, ack(6, 6, Lsn(2000), 2));
  proposer.on_ack(3, ack(6, 6, Lsn(2000), 2));
  EXPECT_FALSE(proposer.on_ack(4, filling));
  filling.filling = false;
  EXPECT_TRUE(proposer.on_ack(4, filling));
}

TEST(ProposerRule9, ATermWhoseStartIsNotCommittedDiesWithItsGeneration) {
  // Members to come may hold more of an older term, and count that for themselves: they were never asked.
  Proposer proposer = asking(6);
  proposer.on_vote(1, vote(6, {}, Lsn(1000)));
  proposer.on_vote(2, vote(6, {}, Lsn(1000)));
  ASSERT_EQ(proposer.election(), Proposer::Election::kWon);
  proposer.on_membership(1, 6, kAfter);
  EXPECT_EQ(proposer.election(), Proposer::Election::kWon) << "2 and 3 can still commit it";
  EXPECT_FALSE(proposer.on_ack(1, ack(6, 6, Lsn(1000), 3)));
  proposer.on_membership(2, 6, kAfter);
  EXPECT_EQ(proposer.election(), Proposer::Election::kLost);
  EXPECT_FALSE(proposer.on_ack(2, ack(6, 6, Lsn(1000), 3)));
  EXPECT_EQ(proposer.next_term(), std::nullopt);
  greet(proposer, 1, 6, kAfter);
  greet(proposer, 4, 2, kAfter);
  EXPECT_EQ(proposer.next_term(), 7u);
  EXPECT_EQ(proposer.request_votes(7).generation, 3u);
}

TEST(ProposerRule9, VotesOfOneGenerationOnly) {
  Proposer proposer = asking(6);
  proposer.on_vote(1, vote(6, {}, Lsn(1000)));
  wire::VoteReply other = vote(6, {}, Lsn(1000));
  other.generation = 2;
  EXPECT_EQ(proposer.on_vote(2, other), Proposer::Election::kWaiting);
  EXPECT_EQ(proposer.on_vote(3, vote(6, {}, Lsn(1000))), Proposer::Election::kWon);
  // Refusals by going on: too few are left in the generation.
  Proposer left = asking(6);
  left.on_membership(1, 6, kJoint);
  EXPECT_EQ(left.election(), Proposer::Election::kWaiting);
  left.on_membership(2, 6, kJoint);
  EXPECT_EQ(left.election(), Proposer::Election::kLost);
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
