#include "wire/term_history.h"

#include <gtest/gtest.h>

#include "wire/quorum.h"

namespace helium {
namespace {

TEST(TermHistory, TheOwnerOfAnEndIsTheLastEntryAtOrBeforeIt) {
  const TermHistory history{{1, Lsn(100)}, {3, Lsn(200)}, {4, Lsn(200)}, {6, Lsn(300)}};
  EXPECT_EQ(log_term_at(history, Lsn(99)), 0u);
  EXPECT_EQ(log_term_at(history, Lsn(100)), 1u);
  EXPECT_EQ(log_term_at(history, Lsn(200)), 4u);
  EXPECT_EQ(log_term_at(history, Lsn(299)), 4u);
  EXPECT_EQ(log_term_at(history, Lsn(5000)), 6u);
  EXPECT_EQ(cut_history(history, Lsn(200)).size(), 3u);
}

TEST(TermHistory, OnlyRisingTermsAtPositionsThatDoNotFallAreValid) {
  EXPECT_TRUE(is_valid_history(TermHistory{}));
  EXPECT_TRUE(is_valid_history(TermHistory{{1, Lsn(8)}, {2, Lsn(8)}}));
  EXPECT_FALSE(is_valid_history(TermHistory{{0, Lsn(8)}}));
  EXPECT_FALSE(is_valid_history(TermHistory{{1, Lsn(0)}}));
  EXPECT_FALSE(is_valid_history(TermHistory{{2, Lsn(8)}, {2, Lsn(16)}}));
  EXPECT_FALSE(is_valid_history(TermHistory{{1, Lsn(8)}, {2, Lsn(7)}}));
}

TEST(TermHistory, LogsForkWhereTheirTermsPart) {
  const TermHistory base{{1, Lsn(100)}};
  EXPECT_EQ(fork_point(base, Lsn(500), base), Lsn(500));
  EXPECT_EQ(fork_point({}, Lsn(50), base), Lsn(50));
  EXPECT_EQ(fork_point(base, Lsn(500), TermHistory{{1, Lsn(100)}, {2, Lsn(400)}}), Lsn(400));
  EXPECT_EQ(fork_point(TermHistory{{1, Lsn(100)}, {2, Lsn(300)}}, Lsn(500), TermHistory{{1, Lsn(100)}, {3, Lsn(400)}}),
            Lsn(300));
  EXPECT_EQ(fork_point(TermHistory{{1, Lsn(100)}, {2, Lsn(500)}}, Lsn(500), TermHistory{{1, Lsn(100)}, {3, Lsn(500)}}),
            Lsn(500));
}

TEST(TermHistory, AReaderAgreesIfEveryByteItHasIsOfTheSameTerm) {
  const TermHistory mine{{1, Lsn(100)}, {2, Lsn(300)}};
  EXPECT_TRUE(histories_agree(mine, TermHistory{{1, Lsn(100)}, {3, Lsn(300)}}, Lsn(300)));
  EXPECT_FALSE(histories_agree(mine, TermHistory{{1, Lsn(100)}, {3, Lsn(300)}}, Lsn(301)));
  EXPECT_TRUE(histories_agree(mine, TermHistory{{1, Lsn(100)}}, Lsn(300)));
  EXPECT_FALSE(histories_agree(mine, TermHistory{{1, Lsn(100)}}, Lsn(400)));
  EXPECT_TRUE(histories_agree({}, mine, Lsn(100)));
}

// Ours: terms 1, 2 and 4; term 3 died at 300.
TEST(TermHistory, WhoHasNotHeardOfATermLagsAndALaterTermDisagrees) {
  const TermHistory ours{{1, Lsn(100)}, {2, Lsn(200)}, {4, Lsn(300)}};
  EXPECT_EQ(fit_history(ours, Lsn(400), ours), HistoryFit::kAgrees);
  EXPECT_EQ(fit_history(ours, Lsn(400), TermHistory{{1, Lsn(100)}, {2, Lsn(200)}, {4, Lsn(300)}, {7, Lsn(400)}}),
            HistoryFit::kAgrees);
  EXPECT_EQ(fit_history(ours, Lsn(300), TermHistory{{1, Lsn(100)}, {2, Lsn(200)}}), HistoryFit::kAgrees);
  EXPECT_EQ(fit_history(ours, Lsn(301), TermHistory{{1, Lsn(100)}, {2, Lsn(200)}}), HistoryFit::kLags);
  EXPECT_EQ(fit_history(ours, Lsn(400), TermHistory{{1, Lsn(100)}}), HistoryFit::kLags);
  EXPECT_EQ(fit_history(ours, Lsn(400), TermHistory{{1, Lsn(100)}, {2, Lsn(200)}, {3, Lsn(300)}}), HistoryFit::kLags);
  EXPECT_EQ(fit_history(ours, Lsn(400), TermHistory{{1, Lsn(100)}, {2, Lsn(200)}, {5, Lsn(300)}}), HistoryFit::kDisagrees);
  EXPECT_EQ(fit_history(ours, Lsn(400), TermHistory{{1, Lsn(100)}, {2, Lsn(200)}, {4, Lsn(300)}, {5, Lsn(350)}}),
            HistoryFit::kDisagrees);
  EXPECT_EQ(fit_history({}, Lsn(50), ours), HistoryFit::kAgrees);
}

TEST(Quorum, TheHighestPositionThatSoManyHaveReached) {
  EXPECT_EQ(majority(1), 1u);
  EXPECT_EQ(majority(2), 2u);
  EXPECT_EQ(majority(3), 2u);
  EXPECT_EQ(majority(4), 3u);
  EXPECT_EQ(quorum_lsn({Lsn(5), Lsn(9), Lsn(7)}, 2), Lsn(7));
  EXPECT_EQ(quorum_lsn({Lsn(5)}, 2), Lsn());
}

}  // namespace
}  // namespace helium
