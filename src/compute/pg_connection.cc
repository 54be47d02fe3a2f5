#include "compute/pg_connection.h"

#include <fmt/format.h>
#include <libpq-fe.h>

namespace helium::compute {
namespace {

constexpr const char* kUser = "cloud_admin";
constexpr const char* kConnectSeconds = "10";

std::string trimmed(const char* message) {
  std::string text(message);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

void PgConnection::Close::operator()(pg_conn* connection) const { PQfinish(connection); }

Result<PgConnection> PgConnection::connect(const HostPort& address, const std::string& database) {
  const std::string port = std::to_string(address.port);
  const char* const names[] = {"host", "port", "user", "dbname", "connect_timeout", "application_name", "sslmode", nullptr};
  const char* const values[] = {address.host.c_str(), port.c_str(), kUser,     database.c_str(),
                                kConnectSeconds,      "compute_ctl", "disable", nullptr};
  PgConnection connection(PQconnectdbParams(names, values, 0));
  if (PQstatus(connection.connection_.get()) != CONNECTION_OK) {
    return fail(ErrorCode::kUnavailable, fmt::format("connect to database {}: {}", database,
                                                     trimmed(PQerrorMessage(connection.connection_.get()))));
  }
  return connection;
}

Result<std::vector<std::vector<std::string>>> PgConnection::query(const std::string& sql) {
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(connection_.get(), sql.c_str()), &PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
    return fail(ErrorCode::kInternal, fmt::format("{}: {}", sql.substr(0, 60), trimmed(PQerrorMessage(connection_.get()))));
  }
  std::vector<std::vector<std::string>> rows;
  for (int row = 0; row < PQntuples(result.get()); ++row) {
    std::vector<std::string>& fields = rows.emplace_back();
    for (int field = 0; field < PQnfields(result.get()); ++field) fields.emplace_back(PQgetvalue(result.get(), row, field));
  }
  return rows;
}

}  // namespace helium::compute
