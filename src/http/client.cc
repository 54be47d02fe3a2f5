#include "http/client.h"

#include <fmt/format.h>
#include <httplib.h>

#include <nlohmann/json.hpp>

namespace helium::http {

Result<Response> request(const HostPort& server, std::string_view method, const std::string& path,
                         const std::string& json_body, Timeout timeout) {
  httplib::Client client(server.host, server.port);
  client.set_connection_timeout(std::min<Timeout>(timeout, std::chrono::seconds(5)));
  client.set_read_timeout(timeout);
  client.set_write_timeout(timeout);
  client.set_tcp_nodelay(true);
  httplib::Request outgoing;
  outgoing.method = method;
  outgoing.path = path;
  if (!json_body.empty()) {
    outgoing.body = json_body;
    outgoing.set_header("Content-Type", "application/json");
  }
  const httplib::Result result = client.send(outgoing);
  if (!result) {
    const auto code =
        result.error() == httplib::Error::Read ? ErrorCode::kTimeout : ErrorCode::kUnavailable;
    return fail(code, fmt::format("{} http://{}{}: {}", method, to_string(server), path,
                                  httplib::to_string(result.error())));
  }
  return Response{result->status, result->body, result->get_header_value("Content-Type")};
}

Result<std::string> expect_ok(Result<Response> response) {
  if (!response) return fail(std::move(response).error());
  if (response->status >= 200 && response->status < 300) return std::move(response->body);
  ErrorCode code = ErrorCode::kInternal;
  switch (response->status) {
    case 404: code = ErrorCode::kNotFound; break;
    case 409: code = ErrorCode::kExists; break;
    case 400: code = ErrorCode::kInvalid; break;
    case 406: code = ErrorCode::kLsnTooOld; break;
    case 503: code = ErrorCode::kUnavailable; break;
    default: break;
  }
  const nlohmann::json body = nlohmann::json::parse(response->body, nullptr, false);
  if (body.is_object() && body.contains("msg") && body["msg"].is_string()) {
    return fail(code, body["msg"].get<std::string>());
  }
  return fail(code, fmt::format("HTTP status {}: {}", response->status, response->body.substr(0, 200)));
}

}  // namespace helium::http
