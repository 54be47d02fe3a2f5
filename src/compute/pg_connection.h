// PgConnection: a client connection of compute_ctl to its own PostgreSQL.
// Owns the connection. Errors: kUnavailable: no connection; kInternal: the statement failed, with PostgreSQL's text.
// Threads: one at a time.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/net.h"

struct pg_conn;

namespace helium::compute {

class PgConnection {
 public:
  static Result<PgConnection> connect(const HostPort& address, const std::string& database);
  // Rows of text; NULL is "".
  Result<std::vector<std::vector<std::string>>> query(const std::string& sql);

 private:
  struct Close {
    void operator()(pg_conn* connection) const;
  };
  explicit PgConnection(pg_conn* connection) : connection_(connection) {}
  std::unique_ptr<pg_conn, Close> connection_;
};

}  // namespace helium::compute
