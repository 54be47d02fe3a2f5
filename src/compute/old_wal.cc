#include "compute/old_wal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>

#include "io/durable_file.h"
#include "pg/constants.h"

namespace helium::compute {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{10};  // a safekeeper that gives no WAL for so long is given up

struct Finish {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
struct Clear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, Finish>;

std::unexpected<Error> failed(const Connection& connection) {
  std::string text = PQerrorMessage(connection.get());
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return fail(ErrorCode::kUnavailable, text);
}

Result<Connection> start_replication(const HostPort& safekeeper, const TenantTimelineId& timeline, Lsn start) {
  const std::string port = std::to_string(safekeeper.port);
  const std::string options = fmt::format("-c tenant_id={} -c timeline_id={} -c wal_sender_timeout=0",
                                          to_string(timeline.tenant), to_string(timeline.timeline));
  const char* const names[] = {"host",    "port",        "user",    "replication",     "connect_timeout",
                               "options", "application_name", "sslmode", nullptr};
  const char* const values[] = {safekeeper.host.c_str(), port.c_str(),   "cloud_admin", "true", "10",
                                options.c_str(),         "compute_ctl", "disable",     nullptr};
  Connection connection(PQconnectdbParams(names, values, 0));
  if (PQstatus(connection.get()) != CONNECTION_OK) return failed(connection);
  const std::string command = fmt::format("START_REPLICATION PHYSICAL {}", to_string(start));
  const std::unique_ptr<PGresult, Clear> result(PQexec(connection.get(), command.c_str()));
  if (PQresultStatus(result.get()) != PGRES_COPY_BOTH) return failed(connection);
  return connection;
}

Result<std::string> next_message(const Connection& connection, Clock::time_point deadline) {
  while (true) {
    char* data = nullptr;
    const int size = PQgetCopyData(connection.get(), &data, 1);
    if (size > 0) {
      std::string message(data, static_cast<size_t>(size));
      PQfreemem(data);
      return message;
    }
    if (size == -1) return fail(ErrorCode::kUnavailable, "the safekeeper ended the stream");
    if (size == -2) return failed(connection);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return fail(ErrorCode::kUnavailable, "the safekeeper gives no more");
    pollfd readable{PQsocket(connection.get()), POLLIN, 0};
    ::poll(&readable, 1, static_cast<int>(left.count()));
    if (PQconsumeInput(connection.get()) != 1) return failed(connection);
  }
}

class SegmentWriter {
 public:
  explicit SegmentWriter(const std::filesystem::path& folder) : folder_(folder) {}

  Status write(Lsn at, ByteView bytes) {
    while (!bytes.empty()) {
      if (const uint64_t segno = pg::wal_segment_number(at); segno != segno_ || !file_) {
        HELIUM_ASSIGN(file_, open_file(folder_ / pg::wal_segment_name(1, segno), O_CREAT | O_WRONLY, 0600));
        if (const int error = ::posix_fallocate(file_.get(), 0, pg::kWalSegmentSize); error != 0)
          return fail_errno(fmt::format("reserve space for WAL before {}", to_string(at)), error);
        segno_ = segno;
      }
      const uint32_t offset = pg::wal_segment_offset(at);
      const size_t part = std::min<size_t>(bytes.size(), pg::kWalSegmentSize - offset);
      HELIUM_TRY(pwrite_all(file_, bytes.first(part), offset));
      bytes = bytes.subspan(part);
      at = at + part;
    }
    return {};
  }

 private:
  const std::filesystem::path& folder_;
  Fd file_;
  uint64_t segno_ = 0;
};

// Moves `at` on as far as it gets. Errors of the disk end the attempt for good: `disk_failed`.
Status fetch_from(const HostPort& safekeeper, const TenantTimelineId& timeline, SegmentWriter& writer, Lsn& at, Lsn upto,
                  bool& disk_failed) {
  HELIUM_ASSIGN(const Connection connection, start_replication(safekeeper, timeline, at));
  Clock::time_point deadline = Clock::now() + kPatience;
  while (at < upto) {
    HELIUM_ASSIGN(const std::string message, next_message(connection, deadline));
    constexpr size_t kWalHead = 1 + 8 + 8 + 8;  // 'w', start, end of WAL, time
    if (message[0] != 'w') continue;
    if (message.size() < kWalHead) return fail(ErrorCode::kUnavailable, "a malformed message of WAL");
    const Lsn start(__builtin_bswap64(load<uint64_t>(message.data() + 1)));
    if (start != at)
      return fail(ErrorCode::kUnavailable, fmt::format("WAL at {} came, {} was expected", to_string(start), to_string(at)));
    ByteView wal = as_bytes(message).subspan(kWalHead);
    wal = wal.first(std::min<uint64_t>(wal.size(), upto - at));
    if (Status written = writer.write(at, wal); !written) {
      disk_failed = true;
      return written;
    }
    at = at + wal.size();
    deadline = Clock::now() + kPatience;  // keepalives do not count: it may lag behind `upto`
  }
  return {};
}

}  // namespace

Status fetch_old_wal(const std::vector<walclient::Safekeeper>& safekeepers, const TenantTimelineId& timeline,
                     const std::filesystem::path& pg_wal, Lsn from, Lsn upto) {
  Lsn at = pg::wal_segment_start(pg::wal_segment_number(from));
  SegmentWriter writer(pg_wal);
  Status fetched = fail(ErrorCode::kUnavailable, "no safekeeper is known");
  for (const walclient::Safekeeper& safekeeper : safekeepers) {
    bool disk_failed = false;
    fetched = fetch_from(safekeeper.address, timeline, writer, at, upto, disk_failed);
    if (fetched || disk_failed) break;
  }
  if (!fetched)
    return fail(std::move(fetched).error().context(
        fmt::format("fetch WAL from {} to {} (it ended at {})", to_string(from), to_string(upto), to_string(at))));
  return {};
}

}  // namespace helium::compute
