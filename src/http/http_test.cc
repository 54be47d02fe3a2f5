// The server and the client together.

#include <gtest/gtest.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include "http/client.h"
#include "http/server.h"

namespace helium::http {
namespace {

using namespace std::chrono_literals;

class Http : public ::testing::Test {
 protected:
  void SetUp() override {
    registry_ = std::make_shared<prometheus::Registry>();
    server_ = std::make_unique<Server>(registry_);
    server_->route("GET", "/v1/tenant/:tenant_id/timeline/:timeline_id", [](const Request& request) {
      return Response{200, request.params.at("tenant_id") + "|" + request.params.at("timeline_id") + "|" +
                               (request.query.contains("at") ? request.query.at("at") : "-")};
    });
    server_->route("POST", "/v1/echo", [](const Request& request) { return Response{201, request.body}; });
    server_->route("PUT", "/v1/missing",
                   [](const Request&) { return error_response(Error{ErrorCode::kNotFound, "timeline \"x\" is not here"}); });
    const auto started = server_->start({"127.0.0.1", 0});
    ASSERT_TRUE(started) << started.error().message;
    address_ = {"127.0.0.1", server_->port()};
  }
  std::shared_ptr<prometheus::Registry> registry_;
  std::unique_ptr<Server> server_;
  HostPort address_;
};

TEST_F(Http, ParametersQueriesAndBodiesArrive) {
  EXPECT_EQ(expect_ok(request(address_, "GET", "/v1/tenant/ab/timeline/cd?at=0/1")), "ab|cd|0/1");
  EXPECT_EQ(expect_ok(request(address_, "GET", "/v1/tenant/ab/timeline/cd")), "ab|cd|-");
  const auto echoed = request(address_, "POST", "/v1/echo", "{\"a\":1}");
  ASSERT_TRUE(echoed);
  EXPECT_EQ(echoed->status, 201);
  EXPECT_EQ(echoed->body, "{\"a\":1}");
}

TEST_F(Http, ErrorsKeepTheirCodeAndText) {
  const auto missing = expect_ok(request(address_, "PUT", "/v1/missing", "{}"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(missing.error().message, "timeline \"x\" is not here");
  const auto nowhere = expect_ok(request(address_, "GET", "/v1/nowhere"));
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::kNotFound);
  for (const auto& [code, status] : std::initializer_list<std::pair<ErrorCode, int>>{
           {ErrorCode::kInvalid, 400}, {ErrorCode::kExists, 409}, {ErrorCode::kUnavailable, 503},
           {ErrorCode::kTimeout, 503}, {ErrorCode::kInternal, 500}}) {
    EXPECT_EQ(error_response(Error{code, "x"}).status, status);
  }
}

TEST_F(Http, StatusAndMetricsAreAlwaysThere) {
  EXPECT_EQ(expect_ok(request(address_, "GET", "/v1/status")), "{}");
  server_->set_status([] { return std::string("{\"status\":\"running\"}"); });
  EXPECT_EQ(expect_ok(request(address_, "GET", "/v1/status")), "{\"status\":\"running\"}");
  prometheus::BuildCounter().Name("helium_test_total").Help("x").Register(*registry_).Add({}).Increment(3);
  const auto metrics = expect_ok(request(address_, "GET", "/metrics"));
  ASSERT_TRUE(metrics);
  EXPECT_NE(metrics->find("helium_test_total 3"), std::string::npos) << *metrics;
}

TEST_F(Http, ATakenPortIsRefusedAndAGoneServerIsUnavailable) {
  Server second(registry_);
  const auto started = second.start(address_);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("in use"), std::string::npos);
  server_->stop();
  const auto gone = request(address_, "GET", "/v1/status", "", 1s);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace helium::http
