// Goal: a user's settings reach PostgreSQL, what the file layer depends on cannot be changed, and refusals say why.
// Method: make_settings and check_user_setting on single settings.

#include "compute/settings.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace helium::compute {
namespace {

SettingsInput with(std::map<std::string, std::string> user) {
  SettingsInput input;
  input.user = std::move(user);
  input.pg_address = {"127.0.0.1", 55432};
  return input;
}

bool forced(const PgSettings& settings, const std::string& text) {
  return std::ranges::find(settings.command_line, text) != settings.command_line.end();
}

TEST(Settings, TheFileLayersNeedsAreOnTheCommandLine) {
  const Result<PgSettings> settings = make_settings(with({}));
  ASSERT_TRUE(settings);
  for (const char* text : {"fsync=on", "wal_sync_method=fdatasync", "restart_after_crash=off", "port=55432",
                           "listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_init_zero=off",
                           "archive_mode=off"}) {
    EXPECT_TRUE(forced(*settings, text)) << text;
  }
  EXPECT_FALSE(settings->full_page_writes);
  EXPECT_FALSE(forced(*settings, "summarize_wal=off")) << "15 does not know it";
}

TEST(Settings, UserSettingsComeBehindTheDefaultsAndAreQuoted) {
  const Result<PgSettings> settings = make_settings(with({{"search_path", "a'b\\c\nd"}, {"shared_buffers", "1GB"}}));
  ASSERT_TRUE(settings);
  EXPECT_NE(settings->postgresql_conf.find("search_path = 'a''b\\\\c\\nd'\n"), std::string::npos);
  EXPECT_LT(settings->postgresql_conf.find("shared_buffers = '128MB'"), settings->postgresql_conf.find("shared_buffers = '1GB'"));
}

TEST(Settings, WhatWouldBreakTheFileLayerIsRefusedWithTheReason) {
  const std::vector<std::pair<const char*, const char*>> bad = {
      {"fsync", "off"},           {"fsync", "0"},         {"wal_sync_method", "open_sync"}, {"wal_level", "minimal"},
      {"archive_mode", "always"}, {"summarize_wal", "1"}, {"restart_after_crash", "true"},  {"data_directory", "/x"},
      {"port", "1"},              {"debug_io_direct", "wal"}, {"io_method", "io_uring"},    {"restore_command", "cp"},
  };
  for (const auto& [name, value] : bad) {
    const Status status = check_user_setting(name, value);
    ASSERT_FALSE(status) << name;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalid);
    EXPECT_NE(status.error().message.find(name), std::string::npos);
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
    EXPECT_FALSE(make_settings(with({{name, value}})));
  }
}

TEST(Settings, TheSameSettingsInTheirAllowedValuesPass) {
  const std::vector<std::pair<const char*, const char*>> good = {
      {"fsync", "on"},         {"fsync", "yes"},        {"wal_sync_method", "FDATASYNC"}, {"wal_level", "logical"},
      {"archive_mode", "off"}, {"full_page_writes", "on"}, {"my.setting", "x"},           {"restore_command", ""},
  };
  for (const auto& [name, value] : good) EXPECT_TRUE(check_user_setting(name, value)) << name;
}

TEST(Settings, NamesThatCouldInjectALineAreRefused) {
  for (const char* name : {"", "a b", "a=b", "a\nfsync", "'a'", "1a", "a.", "a#"}) EXPECT_FALSE(check_user_setting(name, "1")) << name;
}

TEST(Settings, FullPageWritesReachTheCheckpoint) {
  EXPECT_TRUE(make_settings(with({{"full_page_writes", "on"}}))->full_page_writes);
  EXPECT_FALSE(make_settings(with({{"full_page_writes", "off"}}))->full_page_writes);
  EXPECT_FALSE(make_settings(with({{"full_page_writes", "maybe"}})));
}

TEST(Settings, WalLevelReachesTheCheckpoint) {
  EXPECT_EQ(make_settings(with({}))->wal_level, 1);
  EXPECT_EQ(make_settings(with({{"wal_level", "replica"}}))->wal_level, 1);
  EXPECT_EQ(make_settings(with({{"wal_level", "Logical"}}))->wal_level, 2);
}

TEST(Settings, EachVersionGetsWhatItKnows) {
  SettingsInput input = with({});
  for (const int version : {14, 15, 16, 17, 18}) {
    input.pg_version = version;
    const Result<PgSettings> settings = make_settings(input);
    ASSERT_TRUE(settings);
    EXPECT_EQ(forced(*settings, "summarize_wal=off"), version >= 17) << version;
    EXPECT_EQ(forced(*settings, "io_method=worker"), version >= 18) << version;
  }
  input.user = {{"io_method", "sync"}};
  EXPECT_TRUE(forced(*make_settings(input), "io_method=sync"));
  input.user = {{"io_method", "io_uring"}};
  EXPECT_FALSE(make_settings(input));
}

// Storage replays all built-in resource managers: their records need no images.
TEST(Settings, ConsistencyCheckingIsTheUsersAlone) {
  const Result<PgSettings> settings = make_settings(with({}));
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->postgresql_conf.find("wal_consistency_checking"), std::string::npos);
  for (const std::string& argument : settings->command_line) EXPECT_FALSE(argument.starts_with("wal_consistency_checking"));
  EXPECT_NE(make_settings(with({{"wal_consistency_checking", "all"}}))->postgresql_conf.find("wal_consistency_checking = 'all'\n"),
            std::string::npos);
}

TEST(Settings, PreparedTransactionsRaiseTheirLimit) {
  SettingsInput input = with({{"max_prepared_transactions", "2"}});
  input.floors.prepared_transactions = 5;
  const Result<PgSettings> raised = make_settings(input);
  ASSERT_TRUE(raised);
  EXPECT_NE(raised->postgresql_conf.find("max_prepared_transactions = 5\n"), std::string::npos);
  input.user["max_prepared_transactions"] = "7";
  EXPECT_EQ(make_settings(input)->postgresql_conf.find("max_prepared_transactions = 5\n"), std::string::npos);
  EXPECT_FALSE(make_settings(with({{"max_prepared_transactions", "many"}})));
}

TEST(Settings, ABranchRunsNoSubscriptionsUnlessToldTo) {
  SettingsInput input = with({});
  EXPECT_EQ(make_settings(input)->postgresql_conf.find("max_logical_replication_workers"), std::string::npos);
  input.is_branch = true;
  EXPECT_NE(make_settings(input)->postgresql_conf.find("\nmax_logical_replication_workers = 0\n"), std::string::npos);
  input.user["max_logical_replication_workers"] = "4";
  const std::string conf = make_settings(input)->postgresql_conf;
  EXPECT_GT(conf.find("max_logical_replication_workers = '4'"), conf.find("max_logical_replication_workers = 0")) << "the last one counts";
}

TEST(Settings, ReplicationOriginsRaiseTheirLimit) {
  SettingsInput input = with({});
  input.floors.replication_origins = 10;
  EXPECT_EQ(make_settings(input)->postgresql_conf.find("max_replication_slots"), std::string::npos) << "PostgreSQL's own is 10";
  input.floors.replication_origins = 11;
  EXPECT_NE(make_settings(input)->postgresql_conf.find("\nmax_replication_slots = 11\n"), std::string::npos);
  input.user["max_replication_slots"] = "3";
  const std::string conf = make_settings(input)->postgresql_conf;
  EXPECT_GT(conf.find("\nmax_replication_slots = 11\n"), conf.find("max_replication_slots = '3'")) << "the last one counts";
  input.pg_version = 18;
  EXPECT_NE(make_settings(input)->postgresql_conf.find("\nmax_active_replication_origins = 11\n"), std::string::npos);
}

TEST(Settings, ReplicationSlotsRaiseTheirLimitAndTheWalLevel) {
  SettingsInput input = with({{"wal_level", "replica"}, {"max_replication_slots", "3"}});
  input.floors.replication_slots = 4;
  std::string conf = make_settings(input)->postgresql_conf;
  EXPECT_GT(conf.find("\nmax_replication_slots = 4\n"), conf.find("max_replication_slots = '3'")) << "the last one counts";
  EXPECT_EQ(conf.find("wal_level = 'logical'"), std::string::npos) << "physical ones do not need it";
  EXPECT_EQ(make_settings(input)->wal_level, 1);
  input.floors.logical_decoding = true;
  conf = make_settings(input)->postgresql_conf;
  EXPECT_GT(conf.find("\nwal_level = 'logical'\n"), conf.rfind("wal_level = 'replica'"));
  EXPECT_NE(conf.find("\nwal_level = 'logical'\n"), std::string::npos);
  EXPECT_EQ(make_settings(input)->wal_level, 2);
  // Up to 17, origins have as many places as slots.
  input.floors.replication_origins = 5;
  EXPECT_NE(make_settings(input)->postgresql_conf.find("\nmax_replication_slots = 5\n"), std::string::npos);
  input.pg_version = 18;
  EXPECT_NE(make_settings(input)->postgresql_conf.find("\nmax_replication_slots = 4\n"), std::string::npos);
  EXPECT_EQ(make_settings(input)->postgresql_conf.find("max_active_replication_origins"), std::string::npos);
}

}  // namespace
}  // namespace helium::compute
