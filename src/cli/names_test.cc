// Goal: what people type is either taken or refused with the reason.

#include "cli/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace helium::cli {
namespace {

using testing::HasSubstr;

TEST(Names, TakesWhatCanBeAFolder) {
  for (const char* name : {"main", "migration_check", "a", "9lives", "_x", "v1.2-rc3", "MiXeD"}) {
    EXPECT_TRUE(check_name("endpoint", name)) << name;
  }
  EXPECT_TRUE(check_name("endpoint", std::string(kNameLengthMax, 'n')));
}

TEST(Names, RefusesWhatCannotAndSaysWhy) {
  const auto refusal = [](std::string_view name) { return check_name("endpoint", name).error().message; };
  EXPECT_THAT(refusal(""), HasSubstr("empty"));
  EXPECT_THAT(refusal("a/b"), HasSubstr("'/'"));
  EXPECT_THAT(refusal("a b"), HasSubstr("' '"));
  EXPECT_THAT(refusal("naïve"), HasSubstr("byte 0xc3"));
  EXPECT_THAT(refusal(".."), HasSubstr("begin with"));
  EXPECT_THAT(refusal("-m"), HasSubstr("begin with"));
  EXPECT_THAT(refusal(std::string_view("a\0b", 3)), HasSubstr("byte 0x00"));
  EXPECT_THAT(refusal(std::string(kNameLengthMax + 1, 'n')), HasSubstr("at most 63"));
}

TEST(Names, ASettingIsANameAndAValue) {
  EXPECT_EQ(*parse_setting("work_mem=64MB"), std::pair(std::string("work_mem"), std::string("64MB")));
  EXPECT_EQ(*parse_setting(" a.b = x=y "), std::pair(std::string("a.b"), std::string("x=y")));
  EXPECT_EQ(parse_setting("search_path=")->second, "");
  EXPECT_FALSE(parse_setting("work_mem"));
  EXPECT_FALSE(parse_setting("=64MB"));
  EXPECT_FALSE(parse_setting("shared buffers=1GB"));
  EXPECT_FALSE(parse_setting("a\nb=1"));
}

TEST(Names, AreJoinedAsInASentence) {
  EXPECT_EQ(join_names({}), "none yet");
  EXPECT_EQ(join_names({"a"}), "a");
  EXPECT_EQ(join_names({"a", "b"}), "a and b");
  EXPECT_EQ(join_names({"a", "b", "c"}), "a, b and c");
}

}  // namespace
}  // namespace helium::cli
