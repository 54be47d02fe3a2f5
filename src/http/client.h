// One HTTP request, blocking. Errors: kUnavailable when nobody answers, kTimeout. A response of any status is
// a value; expect_ok() turns a bad one into an error with the server's "msg".

#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "http/server.h"
#include "io/net.h"

namespace helium::http {

Result<Response> request(const HostPort& server, std::string_view method, const std::string& path,
                         const std::string& json_body = "", Timeout timeout = std::chrono::seconds(30));

// The body of a 2xx response; otherwise an error: 404 kNotFound, 409 kExists, 400 kInvalid, 503 kUnavailable.
Result<std::string> expect_ok(Result<Response> response);

}  // namespace helium::http
