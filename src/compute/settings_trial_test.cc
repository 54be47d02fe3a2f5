// Goal: what PostgreSQL refuses is told in its words before anything starts; what it takes passes. Method: stock
// PostgreSQL, in a folder of its own.

#include "compute/settings_trial.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace helium::compute {
namespace {

constexpr const char* kPostgres = "/usr/lib/postgresql/15/bin/postgres";

SettingsInput with(std::map<std::string, std::string> user) {
  SettingsInput input;
  input.user = std::move(user);
  input.pg_address = {"127.0.0.1", 55432};
  return input;
}

class SettingsTrial : public testing::Test {
 protected:
  void SetUp() override {
    if (::access(kPostgres, X_OK) != 0) GTEST_SKIP() << "PostgreSQL 15 is not installed";
    before_ = std::filesystem::current_path();
    char folder[] = "/tmp/helium-settings-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    std::filesystem::current_path(folder_);
  }
  void TearDown() override {
    if (folder_.empty()) return;
    EXPECT_TRUE(std::filesystem::is_empty(folder_));
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(folder_);
  }
  std::filesystem::path before_, folder_;
};

TEST_F(SettingsTrial, WhatPostgresTakesPasses) {
  const Status tried = try_settings(kPostgres, with({{"work_mem", "7MB"}, {"application_name", "it's \\ here"}, {"my.own", "x"}}));
  EXPECT_TRUE(tried) << tried.error().message;
  EXPECT_TRUE(try_settings(kPostgres, with({})));
}

TEST_F(SettingsTrial, WhatPostgresRefusesIsToldInItsWords) {
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"shared_buffers", "lots"}, {"no_such_setting", "1"}, {"max_connections", "-5"}, {"log_min_messages", "loud"}}) {
    const Status tried = try_settings(kPostgres, with({{name, value}}));
    ASSERT_FALSE(tried) << name;
    EXPECT_EQ(tried.error().code, ErrorCode::kInvalid);
    EXPECT_NE(tried.error().message.find(name), std::string::npos) << tried.error().message;
    EXPECT_EQ(tried.error().message.find('\n'), std::string::npos) << tried.error().message;
    EXPECT_EQ(tried.error().message.find("settings_trial"), std::string::npos) << tried.error().message;
  }
}

TEST_F(SettingsTrial, AProgramThatIsNotThereIsAnError) {
  EXPECT_FALSE(try_settings("/nowhere/postgres", with({})));
}

}  // namespace
}  // namespace helium::compute
