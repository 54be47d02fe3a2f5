// Goal: "now" includes everything that any client saw acknowledged, and never a byte that could still be lost.
// Method: directed answers, then every small cluster by enumeration against a judge who sees all members.

#include "cli/now.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace helium::cli {
namespace {

using Kind = NowDecision::Kind;

MemberPosition at(uint64_t id, uint64_t log_term, uint64_t flush, uint64_t commit = 0) {
  return {id, log_term, Lsn(flush), Lsn(commit), 1, false, log_term};
}
NowDecision decide(size_t members, std::vector<MemberPosition> answers, std::optional<NowTarget> aim = {}) {
  wire::Membership membership;
  for (uint64_t id = 1; id <= members; ++id) membership.members.push_back({id, "host", 1, 1});
  return decide_now(membership, answers, aim);
}

TEST(DecideNow, OneOfThreeIsNoMajority) {
  EXPECT_EQ(decide(3, {at(1, 5, 100, 100)}).kind, Kind::kNoMajority);
  EXPECT_EQ(decide(3, {}).kind, Kind::kNoMajority);
  EXPECT_EQ(decide(4, {at(1, 5, 100), at(2, 5, 100)}).kind, Kind::kNoMajority);
}

TEST(DecideNow, AMajorityThatHoldsThePositionAnswersIt) {
  const NowDecision decision = decide(3, {at(1, 5, 100), at(2, 5, 100), at(3, 5, 60)});
  EXPECT_EQ(decision.kind, Kind::kResolved);
  EXPECT_EQ(decision.target, (NowTarget{5, Lsn(100)}));
}

TEST(DecideNow, ALeaderAheadMakesTheOthersCatchUp) {
  const NowDecision decision = decide(3, {at(1, 5, 100), at(2, 5, 60), at(3, 5, 60)});
  EXPECT_EQ(decision.kind, Kind::kWait);
  EXPECT_EQ(decision.target.lsn, Lsn(100));
  EXPECT_EQ(decision.donor_id, 1u);
  EXPECT_EQ(decision.laggards, (std::vector<uint64_t>{2, 3}));
}

TEST(DecideNow, TwoAnswersThatDifferMayHideAThirdThatHoldsMore) {
  // Member 3 is silent: members 1 and 3 may have acknowledged up to 100 together.
  const NowDecision decision = decide(3, {at(1, 5, 100), at(2, 5, 60)});
  EXPECT_EQ(decision.kind, Kind::kWait);
  EXPECT_EQ(decision.target.lsn, Lsn(100));
}

TEST(DecideNow, WhatAMemberKnowsAsCommittedNeedsNoWait) {
  const NowDecision decision = decide(3, {at(1, 5, 100, 100), at(2, 5, 60, 60)});
  EXPECT_EQ(decision.kind, Kind::kResolved);
  EXPECT_EQ(decision.target.lsn, Lsn(100));
}

TEST(DecideNow, TheHighestLogTermCountsNotTheLongestLog) {
  const NowDecision decision = decide(3, {at(1, 4, 900), at(2, 5, 100), at(3, 5, 100)});
  EXPECT_EQ(decision.kind, Kind::kResolved);
  EXPECT_EQ(decision.target, (NowTarget{5, Lsn(100)}));
}

TEST(DecideNow, ALongerLogOfAnOlderTermHoldsNothing) {
  const NowDecision decision = decide(3, {at(1, 4, 900), at(2, 5, 100)});
  EXPECT_EQ(decision.kind, Kind::kWait);
  EXPECT_EQ(decision.laggards, (std::vector<uint64_t>{1}));
}

TEST(DecideNow, TheAimDoesNotRunAheadWithABusyTimeline) {
  const NowTarget aim{5, Lsn(100)};
  const NowDecision decision = decide(3, {at(1, 5, 180), at(2, 5, 120), at(3, 5, 90)}, aim);
  EXPECT_EQ(decision.kind, Kind::kResolved);
  EXPECT_EQ(decision.target, aim);
}

TEST(DecideNow, AnElectionInBetweenSetsANewAim) {
  const NowDecision decision = decide(3, {at(1, 6, 80), at(2, 6, 80), at(3, 5, 100)}, NowTarget{5, Lsn(100)});
  EXPECT_EQ(decision.kind, Kind::kResolved);
  EXPECT_EQ(decision.target, (NowTarget{6, Lsn(80)}));
}

TEST(DecideNow, AnAimThatNobodyHoldsAnyMoreIsGivenUp) {
  const NowDecision decision = decide(3, {at(2, 5, 60), at(3, 5, 60)}, NowTarget{5, Lsn(100)});
  EXPECT_EQ(decision.kind, Kind::kResolved);
  EXPECT_EQ(decision.target.lsn, Lsn(60));
}

TEST(DecideNow, InAJointMembershipBothHalvesCount) {
  wire::Membership joint{2, {{1, "", 0, 0}, {2, "", 0, 0}, {3, "", 0, 0}}, {{1, "", 0, 0}, {4, "", 0, 0}, {5, "", 0, 0}}, {}};
  std::vector<MemberPosition> answers{at(1, 5, 100), at(2, 5, 100), at(3, 5, 100)};
  for (MemberPosition& answer : answers) answer.generation = 2;
  EXPECT_EQ(decide_now(joint, answers, {}).kind, Kind::kNoMajority);
  answers.push_back(at(4, 5, 100));
  EXPECT_EQ(decide_now(joint, answers, {}).kind, Kind::kNoMajority) << "said in another generation";
  answers.back().generation = 2;
  answers.back().filling = true;
  EXPECT_EQ(decide_now(joint, answers, {}).kind, Kind::kNoMajority) << "a newcomer that is being filled";
  answers.back().filling = false;
  EXPECT_EQ(decide_now(joint, answers, {}).kind, Kind::kResolved);
  answers.back().flush_lsn = Lsn(60);
  EXPECT_EQ(decide_now(joint, answers, {}).kind, Kind::kWait) << "the new half does not hold it";
}

// As AcceptorRule7.APromiseEndsTheCountingOfEarlierTerms: member 2, silent, may have adopted term 6 without what 1 and 4 hold
// of term 5, and the next election goes by that.
TEST(DecideNow, ALaterPromiseHoldsNothing) {
  wire::Membership stable{3, {{1, "", 0, 0}, {2, "", 0, 0}, {4, "", 0, 0}}, {}, {{1, "", 0, 0}, {2, "", 0, 0}, {3, "", 0, 0}}};
  std::vector<MemberPosition> answers{at(1, 5, 100), at(4, 5, 100)};
  for (MemberPosition& answer : answers) answer.generation = 3;
  EXPECT_EQ(decide_now(stable, answers, {}).kind, Kind::kResolved);
  answers.back().term = 6;
  EXPECT_EQ(decide_now(stable, answers, {}).kind, Kind::kWait);
  answers.front().commit_lsn = Lsn(100);
  EXPECT_EQ(decide_now(stable, answers, {}).kind, Kind::kResolved) << "it is known to be committed";
}

// Every state of three members with positions 1 to 3 in log terms 1 or 2, and every majority that may answer.
// The judge: a position is acknowledged when two members hold it in one log term. An answer must cover every
// acknowledged position of the highest term that acknowledged any, and must be held by a majority itself.
TEST(DecideNow, IsRightForEverySmallCluster) {
  std::vector<MemberPosition> states;
  for (uint64_t term = 1; term <= 2; ++term) {
    for (uint64_t lsn = 1; lsn <= 3; ++lsn) states.push_back(at(0, term, lsn));
  }
  int resolved = 0;
  for (const MemberPosition& a : states) {
    for (const MemberPosition& b : states) {
      for (const MemberPosition& c : states) {
        std::vector<MemberPosition> all{a, b, c};
        for (size_t i = 0; i < all.size(); ++i) all[i].safekeeper_id = i + 1;
        for (size_t silent = 0; silent <= 3; ++silent) {
          std::vector<MemberPosition> answers;
          for (const MemberPosition& member : all) {
            if (member.safekeeper_id != silent) answers.push_back(member);
          }
          const NowDecision decision = decide(3, answers);
          ASSERT_NE(decision.kind, Kind::kNoMajority);
          const auto holders_of = [&](uint64_t term, Lsn lsn) {
            return std::ranges::count_if(all, [&](const auto& m) { return m.log_term == term && m.flush_lsn >= lsn; });
          };
          for (uint64_t lsn = 1; lsn <= 3; ++lsn) {
            if (holders_of(decision.target.log_term, Lsn(lsn)) >= 2) {
              EXPECT_GE(decision.target.lsn, Lsn(lsn));
            }
          }
          if (decision.kind == Kind::kResolved) {
            ++resolved;
            EXPECT_GE(holders_of(decision.target.log_term, decision.target.lsn), 2);
          }
        }
      }
    }
  }
  EXPECT_GT(resolved, 100);
}

}  // namespace
}  // namespace helium::cli
