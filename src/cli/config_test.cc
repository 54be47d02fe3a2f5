// Goal: what was remembered is remembered; damage is told, not crashed on.

#include "cli/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace helium::cli {
namespace {

using testing::HasSubstr;

ClusterConfig sample() {
  ClusterConfig config;
  config.safekeepers = make_safekeepers(3, 5454, 7676);
  config.pg_distrib_dir = "/opt/pg with blank";
  config.check_redo = true;
  config.object_store = "/mnt/wal store";
  config.keep_wal_mb = 0;
  config.evict_idle_after = 60;
  config.safekeepers[1].advertised = {"storage.example", 15455, 17677};
  config.advertised_broker = {"10.0.0.7", 1};
  config.advertised_pageserver = {"10.0.0.8", 2};
  TenantConfig tenant{random_id<TenantId>(), {}};
  TimelineConfig main{random_id<TimelineId>(), "main", std::nullopt, Lsn(0x16B5A50), 15, "7300000000000000001", 1, {1, 2, 3}, {1, 3}};
  TimelineConfig branch = main;
  branch.id = random_id<TimelineId>();
  branch.branch_name = "dev";
  branch.ancestor_id = main.id;
  branch.members.clear();
  branch.confirmed_by.clear();
  tenant.timelines = {main, branch};
  config.default_tenant = tenant.id;
  config.tenants = {tenant};
  return config;
}

TEST(Config, RoundTrip) {
  const ClusterConfig config = sample();
  const Result<ClusterConfig> decoded = decode_config(encode_config(config));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, config);
  EXPECT_TRUE(decoded->tenants[0].timelines[0].has_wal());
  EXPECT_FALSE(decoded->tenants[0].timelines[1].has_wal());
}

TEST(Config, EveryTruncationIsAnError) {
  const std::string text = encode_config(sample());
  for (size_t size = 0; size + 2 < text.size(); ++size) {
    EXPECT_FALSE(decode_config(std::string_view(text).substr(0, size))) << size;
  }
}

TEST(Config, ANewerFormatIsNamed) {
  const Result<ClusterConfig> decoded = decode_config(R"({"format_version": 99})");
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, ErrorCode::kTooNew);
}

TEST(Config, WrongTypesAreErrors) {
  EXPECT_FALSE(decode_config(R"({"format_version": "one"})"));
  EXPECT_FALSE(decode_config(R"({"format_version": 1, "host": 5})"));
  EXPECT_FALSE(decode_config("[]"));
}

TEST(Config, TwoPartsOnOnePortAreRefusedByName) {
  ClusterConfig config = sample();
  EXPECT_TRUE(check_ports_differ(config));
  config.pageserver_http_port = 7677;
  const Status status = check_ports_differ(config);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("port 7677"));
  EXPECT_THAT(status.error().message, HasSubstr("safekeeper 2's HTTP"));
}

}  // namespace
}  // namespace helium::cli
