#include "safekeeper/pg_server.h"

#include <fmt/format.h>

#include "base/log.h"
#include "pg/constants.h"
#include "safekeeper/sessions.h"
#include "wire/pgwire.h"

namespace helium::safekeeper {
namespace {

constexpr size_t kConnectionsMax = 5000;
constexpr Timeout kStartupTimeout = std::chrono::seconds(10);
constexpr Timeout kSendTimeout = std::chrono::seconds(60);  // a client that takes nothing for so long is given up

// One connection before and between its streams.
class Connection {
 public:
  Connection(Safekeeper& safekeeper, std::shared_ptr<walclient::PgSocket> socket)
      : safekeeper_(safekeeper), socket_(std::move(socket)) {}

  Status run() {
    HELIUM_TRY(start_up());
    while (true) {
      HELIUM_ASSIGN(const auto message, socket_->receive(std::nullopt));
      switch (message->type) {
        case 'Q': HELIUM_TRY(on_query(message->payload)); break;
        case 'X': return {};
        case 'd':  // the rest of a copy that has ended
        case 'c': break;
        default:
          return send_error("FATAL", {ErrorCode::kInvalid, "the WAL service speaks the simple query protocol only"});
      }
    }
  }

 private:
  Status start_up() {
    while (true) {
      HELIUM_ASSIGN(const ByteView body, socket_->receive_startup(kStartupTimeout));
      const auto packet = wire::parse_startup_packet(body);
      if (!packet) return send_error("FATAL", packet.error());
      switch (packet->kind) {
        case wire::StartupKind::kSslRequest:
        case wire::StartupKind::kGssEncRequest: HELIUM_TRY(socket_->send(as_bytes("N"))); continue;
        case wire::StartupKind::kCancelRequest: return fail(ErrorCode::kClosed, "nothing to cancel");
        case wire::StartupKind::kStartup: break;
      }
      HELIUM_TRY(read_parameters(packet->parameters));
      return greet();
    }
  }

  Status read_parameters(const std::map<std::string, std::string>& parameters) {
    if (const auto name = parameters.find("application_name"); name != parameters.end()) name_ = name->second;
    const auto options = parameters.find("options");
    if (options == parameters.end()) return {};
    const auto settings = wire::parse_options(options->second);
    const auto tenant = settings.find("tenant_id");
    const auto timeline = settings.find("timeline_id");
    if (tenant == settings.end() || timeline == settings.end()) return {};
    const auto tenant_id = parse_tenant_id(tenant->second);
    if (!tenant_id) return send_error("FATAL", tenant_id.error());
    const auto timeline_id = parse_timeline_id(timeline->second);
    if (!timeline_id) return send_error("FATAL", timeline_id.error());
    id_ = TenantTimelineId{*tenant_id, *timeline_id};
    return {};
  }

  Status greet() {
    const auto found = timeline();
    const uint32_t version = found ? (*found)->constants().pg_version : 15;
    wire::MessageWriter out;
    out.authentication_ok()
        .parameter_status("server_version", fmt::format("{}.0 (Helium)", version))
        .parameter_status("server_encoding", "UTF8")
        .parameter_status("client_encoding", "UTF8")
        .parameter_status("DateStyle", "ISO, MDY")
        .parameter_status("TimeZone", "UTC")
        .parameter_status("integer_datetimes", "on")
        .parameter_status("standard_conforming_strings", "on")
        .ready_for_query();
    return socket_->send(out.view());
  }

  Result<std::shared_ptr<Timeline>> timeline() const {
    if (!id_) {
      return fail(ErrorCode::kInvalid,
                  "the connection names no timeline; add options='-c tenant_id=HEX -c timeline_id=HEX' to the "
                  "connection string");
    }
    return safekeeper_.timeline(*id_);
  }

  Status on_query(ByteView payload) {
    std::string_view text = as_text(payload);
    text = text.substr(0, text.find('\0'));
    Result<wire::WalCommand> command = wire::parse_wal_command(text);
    Status done = command ? std::visit([this](const auto& c) { return execute(c); }, *command)
                          : send_error("ERROR", command.error());
    HELIUM_TRY(std::move(done));
    wire::MessageWriter out;
    return socket_->send(out.ready_for_query().view());
  }

  Status execute(const wire::IdentifySystem&) {
    const auto found = timeline();
    if (!found) return send_error("ERROR", found.error());
    wire::MessageWriter out;
    out.row_description({{"systemid", 25}, {"timeline", 23}, {"xlogpos", 25}, {"dbname", 25}})
        .data_row({std::to_string((*found)->constants().system_id), "1", to_string((*found)->view().commit_lsn),
                   std::nullopt})
        .command_complete("IDENTIFY_SYSTEM");
    return socket_->send(out.view());
  }

  Status execute(const wire::Show& show) {
    static const std::map<std::string, std::string, std::less<>> kSettings{
        {"wal_segment_size", "16MB"}, {"data_directory_mode", "0700"}, {"wal_block_size", "8192"},
        {"block_size", "8192"},       {"max_wal_senders", "5000"},     {"wal_level", "replica"},
        {"server_version_num", ""},   {"in_hot_standby", "off"}};
    const auto setting = kSettings.find(show.name);
    if (setting == kSettings.end()) {
      return send_error("ERROR", {ErrorCode::kNotFound, fmt::format("unrecognized configuration parameter \"{}\"",
                                                                    show.name)});
    }
    std::string value = setting->second;
    if (show.name == "server_version_num") {
      const auto found = timeline();
      if (!found) return send_error("ERROR", found.error());
      value = std::to_string((*found)->constants().pg_version * 10000);
    }
    wire::MessageWriter out;
    return socket_->send(out.row_description({{show.name, 25}}).data_row({value}).command_complete("SHOW").view());
  }

  Status execute(const wire::TimelineHistoryCommand& command) {
    return send_error("ERROR", {ErrorCode::kLsnTooOld,
                                fmt::format("there is no history file of PostgreSQL timeline {}: a Helium branch stays "
                                            "on timeline 1 for ever",
                                            command.pg_timeline)});
  }

  Status execute(const wire::StartReplication& command) {
    if (command.pg_timeline != 1) {
      return send_error("ERROR", {ErrorCode::kInvalid, fmt::format("PostgreSQL timeline {} does not exist: a Helium "
                                                                   "branch stays on timeline 1 for ever",
                                                                   command.pg_timeline)});
    }
    return feed(command.start, FeedKind::kReplication);
  }
  Status execute(const wire::StartWalFeed& command) { return feed(command.start, FeedKind::kFeed); }

  Status feed(Lsn start, FeedKind kind) {
    const auto found = timeline();
    if (!found) return send_error("ERROR", found.error());
    // Tools begin at the start of the timeline's first segment: what it has before the first LSN are headers and zeros.
    const Lsn first = (*found)->view().start_lsn;
    const Lsn lowest = kind == FeedKind::kFeed ? first : pg::wal_segment_start(pg::wal_segment_number(first));
    if (start < lowest) {
      return send_error("ERROR", {ErrorCode::kLsnTooOld, fmt::format("requested WAL at {} is not here: timeline {} "
                                                                     "starts at {}",
                                                                     to_string(start), to_string(*id_),
                                                                     to_string(first))});
    }
    return run_feed(*socket_, **found, start, kind, name_);
  }

  Status execute(const wire::StartWalPush&) {
    const auto found = timeline();
    if (!found) return send_error("ERROR", found.error());
    return run_push(socket_, **found);
  }

  Status execute(const wire::ReadWal& command) {
    const auto found = timeline();
    if (!found) return send_error("ERROR", found.error());
    if (command.start < (*found)->view().start_lsn || command.start > command.end) {
      return send_error("ERROR", {ErrorCode::kLsnTooOld, fmt::format("there is no WAL from {} to {}",
                                                                     to_string(command.start),
                                                                     to_string(command.end))});
    }
    if (const Status allowed = (*found)->check_uncommitted_read(command.term, command.end); !allowed) {
      return send_error("ERROR", allowed.error());
    }
    return run_read(*socket_, **found, command);
  }

  // FATAL ends the connection, ERROR only the command.
  Status send_error(std::string_view severity, const Error& error) {
    wire::MessageWriter out;
    HELIUM_TRY(socket_->send(out.error_response(severity, sqlstate(error.code), error.message).view()));
    if (severity != "FATAL") return {};
    socket_->close_gently();
    return fail(ErrorCode::kClosed, error.message);
  }

  Safekeeper& safekeeper_;
  const std::shared_ptr<walclient::PgSocket> socket_;
  std::string name_ = "unnamed";
  std::optional<TenantTimelineId> id_;
};

}  // namespace

const char* sqlstate(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound: return "42704";     // undefined_object
    case ErrorCode::kLsnTooOld: return "58P01";    // undefined_file
    case ErrorCode::kNoSpace: return "53100";      // disk_full
    case ErrorCode::kCorrupt: return "XX001";      // data_corrupted
    case ErrorCode::kClosed:
    case ErrorCode::kCanceled: return "57P01";     // admin_shutdown
    case ErrorCode::kFenced:
    case ErrorCode::kLsnInFuture: return "55000";  // object_not_in_prerequisite_state
    default: return "08P01";                       // protocol_violation
  }
}

PgServer::~PgServer() { stop(); }

Status PgServer::start(const HostPort& address) {
  HELIUM_ASSIGN(listener_, tcp_listen(address));
  port_ = local_port(listener_);
  acceptor_ = std::thread([this] { accept_loop(); });
  return {};
}

void PgServer::accept_loop() {
  while (true) {
    Result<Fd> accepted = tcp_accept(listener_);
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (!accepted) {
      log::warn("cannot accept a connection", {{"error", accepted.error()}});
      std::this_thread::sleep_for(std::chrono::milliseconds(100));  // out of descriptors, most likely
      continue;
    }
    set_send_timeout(*accepted, kSendTimeout);
    if (connections_.size() >= kConnectionsMax) {
      log::warn("connection refused", {{"connections", connections_.size()}});
      continue;
    }
    const uint64_t number = next_number_++;
    auto socket = std::make_shared<walclient::PgSocket>(std::move(*accepted), wire::kMaxAppendBytes + 17 * 1024 * 1024);
    connections_[number] = socket;
    std::thread([this, number, socket = std::move(socket)]() mutable { serve(number, std::move(socket)); }).detach();
  }
}

void PgServer::serve(uint64_t number, std::shared_ptr<walclient::PgSocket> socket) {
  safekeeper_.metrics().add_connection(1);
  const Status ended = Connection(safekeeper_, std::move(socket)).run();
  if (!ended && ended.error().code != ErrorCode::kClosed) {
    log::info("connection ended", {{"error", ended.error()}});
  }
  safekeeper_.metrics().add_connection(-1);
  const std::lock_guard lock(mutex_);
  connections_.erase(number);
  ended_.notify_all();
}

void PgServer::stop() {
  std::unique_lock lock(mutex_);
  if (stopping_) return;
  stopping_ = true;
  if (listener_) shutdown_socket(listener_);
  for (const auto& [number, socket] : connections_) socket->shutdown();
  ended_.wait(lock, [this] { return connections_.empty(); });
  lock.unlock();
  if (acceptor_.joinable()) acceptor_.join();
}

}  // namespace helium::safekeeper
