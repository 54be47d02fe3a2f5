// Goal: lists look as the documentation shows them, byte for byte.

#include "cli/text.h"

#include <gtest/gtest.h>

namespace helium::cli {
namespace {

TimelineId id_of(uint8_t last) {
  TimelineId id;
  id.bytes[15] = last;
  return id;
}
std::string zeros_and(const char* last) { return std::string(30, '0') + last; }

TEST(Table, ColumnsAreAsWideAsTheirWidestCell) {
  EXPECT_EQ(format_table({"ENDPOINT", "LSN", "STATUS"}, {{"main", "0/16B5BA8", "running"}, {"migration_check", "-", ""}}),
            " ENDPOINT         LSN        STATUS\n"
            " main             0/16B5BA8  running\n"
            " migration_check  -\n");
}

TEST(Table, WithoutRowsIsItsHeader) { EXPECT_EQ(format_table({"A", "B"}, {}), " A  B\n"); }

TEST(Table, CountsCharactersNotBytes) {
  EXPECT_EQ(format_table({"N", "X"}, {{"żółw", "1"}, {"abcd", "2"}}), " N     X\n żółw  1\n abcd  2\n");
}

TEST(TimelineTree, ShowsOneBranchAsTheTourDoes) {
  EXPECT_EQ(format_timeline_tree({{"main", id_of(1), std::nullopt, Lsn()},
                                  {"migration_check", id_of(2), id_of(1), Lsn(0x16F9A00)}}),
            "(L) main [" + zeros_and("01") + "]\n" +
                "(L) ┗━ @0/16F9A00: migration_check [" + zeros_and("02") + "]\n");
}

TEST(TimelineTree, DrawsLinesPastSubtrees) {
  const std::string tree = format_timeline_tree({{"main", id_of(1), std::nullopt, Lsn()},
                                                 {"dev", id_of(2), id_of(1), Lsn(0x10)},
                                                 {"fix", id_of(3), id_of(1), Lsn(0x20)},
                                                 {"trial", id_of(4), id_of(2), Lsn(0x30)},
                                                 {"deep", id_of(5), id_of(4), Lsn(0x40)},
                                                 {"last", id_of(6), id_of(3), Lsn(0x50)}});
  EXPECT_EQ(tree, "(L) main [" + zeros_and("01") + "]\n" +                  //
                      "(L) ┣━ @0/10: dev [" + zeros_and("02") + "]\n" +     //
                      "(L) ┃  ┗━ @0/30: trial [" + zeros_and("04") + "]\n" +  //
                      "(L) ┃     ┗━ @0/40: deep [" + zeros_and("05") + "]\n" +  //
                      "(L) ┗━ @0/20: fix [" + zeros_and("03") + "]\n" +     //
                      "(L)    ┗━ @0/50: last [" + zeros_and("06") + "]\n");
}

TEST(TimelineTree, AnEntryWithoutItsAncestorStandsAsARoot) {
  EXPECT_EQ(format_timeline_tree({{"orphan", id_of(2), id_of(9), Lsn(0x10)}}), "(L) orphan [" + zeros_and("02") + "]\n");
}

}  // namespace
}  // namespace helium::cli
