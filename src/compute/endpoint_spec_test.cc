// Goal: endpoint.json becomes a spec, and what is wrong in it is named.
// Method: one good document, then each field taken out or spoiled.

#include "compute/endpoint_spec.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace helium::compute {
namespace {

using nlohmann::json;

json good() {
  return {{"name", "main"},
          {"tenant_id", "9ef87a5bf0d92544f6fafeeb3239695c"},
          {"timeline_id", "de200bd42b49cc1814412c7e592dd6e9"},
          {"branch_name", "main"},
          {"pg_version", 15},
          {"pg_port", 55432},
          {"http_port", 55433},
          {"host", "127.0.0.1"},
          {"pageserver", "127.0.0.1:64000"},
          {"safekeepers", {{{"id", 1}, {"host", "127.0.0.1"}, {"pg_port", 5454}, {"http_port", 7676}},
                           {{"id", 2}, {"host", "127.0.0.1"}, {"pg_port", 5455}, {"http_port", 7677}}}},
          {"generation", 3},
          {"pg_bin_dir", "/usr/lib/postgresql/15/bin"},
          {"settings", {{"Work_Mem", "64MB"}, {"max_connections", 50}, {"jit", false}}}};
}

TEST(EndpointSpec, EveryFieldIsRead) {
  const Result<EndpointSpec> spec = parse_endpoint_spec(good().dump());
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->name, "main");
  EXPECT_EQ(to_string(spec->timeline), "9ef87a5bf0d92544f6fafeeb3239695c/de200bd42b49cc1814412c7e592dd6e9");
  EXPECT_EQ(spec->pg_version, 15);
  EXPECT_EQ(spec->pg_address, (HostPort{"127.0.0.1", 55432}));
  EXPECT_EQ(spec->http_address, (HostPort{"127.0.0.1", 55433}));
  EXPECT_EQ(spec->pageserver, (HostPort{"127.0.0.1", 64000}));
  ASSERT_EQ(spec->safekeepers.size(), 2u);
  EXPECT_EQ(spec->safekeepers[1], (SafekeeperAddress{2, {"127.0.0.1", 5455}, {"127.0.0.1", 7677}}));
  EXPECT_EQ(spec->generation, 3u);
  EXPECT_EQ(spec->settings, (std::map<std::string, std::string>{{"jit", "off"}, {"max_connections", "50"}, {"work_mem", "64MB"}}));
}

TEST(EndpointSpec, AMissingFieldIsNamed) {
  for (const char* field : {"name", "tenant_id", "timeline_id", "pg_version", "pg_port", "http_port", "pageserver",
                            "safekeepers", "pg_bin_dir"}) {
    json spoiled = good();
    spoiled.erase(field);
    const Result<EndpointSpec> spec = parse_endpoint_spec(spoiled.dump());
    ASSERT_FALSE(spec) << field;
    EXPECT_EQ(spec.error().code, ErrorCode::kInvalid);
    EXPECT_NE(spec.error().message.find(field), std::string::npos) << spec.error().message;
  }
}

TEST(EndpointSpec, ABadValueIsNamed) {
  const std::vector<std::pair<const char*, json>> spoils = {
      {"pg_port", 0},      {"pg_port", 70000},      {"pg_port", "55432"}, {"pg_version", 13},
      {"tenant_id", "xy"}, {"pageserver", "nope"},  {"safekeepers", json::array()},
      {"pg_bin_dir", "bin"}, {"settings", json::array({1})}, {"settings", {{"a", json::object()}}},
      {"generation", -1},
  };
  for (const auto& [field, value] : spoils) {
    json spoiled = good();
    spoiled[field] = value;
    EXPECT_FALSE(parse_endpoint_spec(spoiled.dump())) << field << " = " << value.dump();
  }
}

TEST(EndpointSpec, TheSameSafekeeperTwiceIsRefused) {
  json spoiled = good();
  spoiled["safekeepers"][1]["id"] = 1;
  EXPECT_FALSE(parse_endpoint_spec(spoiled.dump()));
}

TEST(EndpointSpec, EveryTruncationIsRefusedWithoutHarm) {
  const std::string text = good().dump();
  for (size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(parse_endpoint_spec(text.substr(0, size)));
}

}  // namespace
}  // namespace helium::compute
