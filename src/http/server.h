// A small HTTP/1.1 server for management APIs and metrics, on cpp-httplib (Debian: libcpp-httplib-dev).
//
// Routes are added before start(); handlers run on the server's own threads, several at a time. Errors are
// JSON: {"msg":"what is wrong and what to do"}. /v1/status and /metrics are always there.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/net.h"

namespace prometheus {
class Registry;
}

namespace helium::http {

struct Request {
  std::map<std::string, std::string> params;  // ":tenant_id" in the route becomes params["tenant_id"]
  std::map<std::string, std::string> query;
  std::string body;
};

struct Response {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
};

// The response for an error: 404 kNotFound, 409 kExists, 400 kInvalid, 503 kUnavailable and kTimeout, else 500.
Response error_response(const Error& error);

class Server {
 public:
  using Handler = std::function<Response(const Request&)>;

  // `registry` is served at /metrics in the Prometheus text format; it must outlive the server.
  explicit Server(std::shared_ptr<prometheus::Registry> registry);
  ~Server();  // stops

  // method: "GET", "PUT", "POST" or "DELETE"; pattern: "/v1/tenant/:tenant_id/timeline".
  void route(std::string_view method, std::string pattern, Handler handler);
  // What /v1/status answers, a JSON object; "{}" by default.
  void set_status(std::function<std::string()> status);

  // Errors: kIo when the address is taken. Returns when the server accepts connections.
  Status start(const HostPort& address);
  uint16_t port() const;
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helium::http
