// Goal: a registration holds all that an agent needs, and comes back as it went out.

#include "cli/endpoints.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace helium::cli {
namespace {

struct Sample {
  ClusterConfig config;
  TimelineConfig timeline;
  Endpoint endpoint;
};

Sample sample() {
  Sample sample;
  sample.config.safekeepers = make_safekeepers(3, 5454, 7676);
  sample.timeline.id = random_id<TimelineId>();
  sample.timeline.branch_name = "dev";
  sample.timeline.members = {1, 3};
  sample.timeline.generation = 4;
  sample.endpoint = {"main", random_id<TenantId>(), sample.timeline.id, "dev", 15, 55432, 55433,
                     {{"work_mem", "64MB"}, {"application_name", "it's \"quoted\" \\"}}};
  return sample;
}

TEST(Endpoint, RoundTrip) {
  const Sample s = sample();
  const Result<Endpoint> decoded = decode_endpoint(encode_endpoint(s.endpoint, s.config, s.timeline, "/usr/lib/pg 15/bin"));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, s.endpoint);
}

TEST(Endpoint, RegistrationNamesStorageAndOnlyTheTimelinesMembers) {
  const Sample s = sample();
  const auto json = nlohmann::json::parse(encode_endpoint(s.endpoint, s.config, s.timeline, "/bin"));
  EXPECT_EQ(json["pageserver"], "127.0.0.1:64000");
  EXPECT_EQ(json["generation"], 4);
  ASSERT_EQ(json["safekeepers"].size(), 2u);
  EXPECT_EQ(json["safekeepers"][1]["id"], 3);
  EXPECT_EQ(json["safekeepers"][1]["pg_port"], 5456);
  EXPECT_EQ(json["safekeepers"][1]["http_port"], 7678);
}

TEST(Endpoint, RegistrationNamesTheAddressesThatOthersReach) {
  Sample s = sample();
  s.config.safekeepers[2].advertised = {"10.0.0.3", 1, 2};
  s.config.advertised_pageserver = {"10.0.0.9", 3};
  const auto json = nlohmann::json::parse(encode_endpoint(s.endpoint, s.config, s.timeline, "/bin"));
  EXPECT_EQ(json["pageserver"], "10.0.0.9:3");
  EXPECT_EQ(json["safekeepers"][0]["host"], "127.0.0.1");
  EXPECT_EQ(json["safekeepers"][1]["host"], "10.0.0.3");
  EXPECT_EQ(json["safekeepers"][1]["pg_port"], 1);
  EXPECT_EQ(json["safekeepers"][1]["http_port"], 2);
}

TEST(Endpoint, DamageIsAnError) {
  const Sample s = sample();
  const std::string text = encode_endpoint(s.endpoint, s.config, s.timeline, "/bin");
  for (size_t size = 0; size + 2 < text.size(); ++size) EXPECT_FALSE(decode_endpoint(std::string_view(text).substr(0, size)));
  EXPECT_FALSE(decode_endpoint(R"({"name": "x"})"));
  EXPECT_FALSE(decode_endpoint(R"({"name": 1, "tenant_id": "zz"})"));
}

}  // namespace
}  // namespace helium::cli
