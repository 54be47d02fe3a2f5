#include "http/server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/log.h"

namespace helium::http {

Response error_response(const Error& error) {
  int status = 500;
  switch (error.code) {
    case ErrorCode::kNotFound: status = 404; break;
    case ErrorCode::kExists: status = 409; break;
    case ErrorCode::kInvalid: status = 400; break;
    case ErrorCode::kLsnTooOld:
    case ErrorCode::kLsnInFuture: status = 406; break;
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout: status = 503; break;
    default: break;
  }
  return {status, nlohmann::json{{"msg", error.message}}.dump(), "application/json"};
}

struct Server::Impl {
  httplib::Server server;
  std::shared_ptr<prometheus::Registry> registry;
  std::function<std::string()> status = [] { return std::string("{}"); };
  std::thread thread;
  uint16_t port = 0;
};

Server::Server(std::shared_ptr<prometheus::Registry> registry) : impl_(std::make_unique<Impl>()) {
  impl_->registry = std::move(registry);
  impl_->server.new_task_queue = [] { return new httplib::ThreadPool(4); };
  // SO_REUSEADDR only: with SO_REUSEPORT (cpp-httplib's default) two daemons would share a port silently.
  impl_->server.set_socket_options([](socket_t socket) {
    const int one = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  });
  impl_->server.set_tcp_nodelay(true);
  impl_->server.set_keep_alive_timeout(1);
  impl_->server.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(prometheus::TextSerializer().Serialize(impl_->registry->Collect()),
                         "text/plain; version=0.0.4");
  });
  impl_->server.Get("/v1/status", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(impl_->status(), "application/json");
  });
  impl_->server.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
    if (response.body.empty() && response.status == 404) {
      response.set_content(nlohmann::json{{"msg", "no such path: " + request.path}}.dump(), "application/json");
    }
  });
}

Server::~Server() { stop(); }

void Server::route(std::string_view method, std::string pattern, Handler handler) {
  // "/v1/tenant/:tenant_id" becomes a regular expression with the names kept aside.
  std::vector<std::string> names;
  std::string expression;
  std::stringstream parts(pattern);
  for (std::string part; std::getline(parts, part, '/');) {
    if (part.empty()) continue;
    expression += '/';
    if (part[0] == ':') {
      names.push_back(part.substr(1));
      expression += "([^/]+)";
    } else {
      expression += part;
    }
  }
  auto adapter = [names, handler = std::move(handler)](const httplib::Request& from, httplib::Response& to) {
    Request request;
    for (size_t i = 0; i < names.size(); ++i) request.params[names[i]] = from.matches[i + 1].str();
    for (const auto& [name, value] : from.params) request.query[name] = value;
    request.body = from.body;
    const Response response = handler(request);
    to.status = response.status;
    to.set_content(response.body, response.content_type);
  };
  if (method == "GET") {
    impl_->server.Get(expression, adapter);
  } else if (method == "PUT") {
    impl_->server.Put(expression, adapter);
  } else if (method == "POST") {
    impl_->server.Post(expression, adapter);
  } else {
    CHECK(method == "DELETE");
    impl_->server.Delete(expression, adapter);
  }
}

void Server::set_status(std::function<std::string()> status) { impl_->status = std::move(status); }

Status Server::start(const HostPort& address) {
  if (address.port == 0) {
    const int port = impl_->server.bind_to_any_port(address.host);
    if (port < 0) return fail(ErrorCode::kIo, fmt::format("serve HTTP on {}: cannot bind", to_string(address)));
    impl_->port = static_cast<uint16_t>(port);
  } else {
    if (!impl_->server.bind_to_port(address.host, address.port)) {
      return fail(ErrorCode::kIo, fmt::format("serve HTTP on {}: address already in use or not ours; choose another "
                                              "port",
                                              to_string(address)));
    }
    impl_->port = address.port;
  }
  impl_->thread = std::thread([this] { impl_->server.listen_after_bind(); });
  return {};
}

uint16_t Server::port() const { return impl_->port; }

void Server::stop() {
  if (!impl_->thread.joinable()) return;
  // listen_after_bind may not have begun yet; stop() before that would be lost.
  while (!impl_->server.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  impl_->server.stop();
  impl_->thread.join();
}

}  // namespace helium::http
