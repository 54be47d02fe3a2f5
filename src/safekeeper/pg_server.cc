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

constexpr std::string_view kNoSlotNeeded =
    "WAL of a branch is kept without slots, for every reader: leave the slot's name out (primary_slot_name, --slot). "
    "Temporary slots work.";

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
          return send_error("FATAL", "08P01", "the WAL service speaks the simple query protocol only");
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
    if (const auto timeout = settings.find("wal_sender_timeout"); timeout != settings.end()) {
      const auto parsed = parse_duration(timeout->second);
      if (!parsed) {
        return send_error("FATAL", "22023", fmt::format("invalid value for parameter \"wal_sender_timeout\": {}",
                                                        parsed.error().message));
      }
      sender_timeout_ = *parsed;
    }
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
        .parameter_status("server_encoding", "SQL_ASCII")
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
                          : send_error("ERROR", "42601", command.error().message);
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
        {"server_version_num", ""},   {"in_hot_standby", "off"},       {"server_encoding", "SQL_ASCII"},
        {"wal_sender_timeout", ""}};
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
    } else if (show.name == "wal_sender_timeout") {
      value = fmt::format("{}ms", sender_timeout_.count());
    }
    wire::MessageWriter out;
    return socket_->send(out.row_description({{show.name, 25}}).data_row({value}).command_complete("SHOW").view());
  }

  // Timeline 1 has no history file at a stock server either; nobody asks for it.
  Status execute(const wire::TimelineHistoryCommand& command) {
    return send_error("ERROR", "58P01",
                      fmt::format("could not open file \"pg_wal/{:08X}.history\": No such file or directory",
                                  command.pg_timeline),
                      "A Helium branch stays on PostgreSQL's timeline 1 for ever, which has no history.");
  }

  Status execute(const wire::CreateReplicationSlot& command) {
    if (!command.temporary) {
      return send_error("ERROR", "0A000", "the WAL service has no permanent replication slots", kNoSlotNeeded);
    }
    const auto found = timeline();
    if (!found) return send_error("ERROR", found.error());
    const Lsn restart = command.reserve_wal ? (*found)->view().commit_lsn : Lsn();
    if (!slots_.emplace(command.slot, restart).second) {
      return send_error("ERROR", "42710", fmt::format("replication slot \"{}\" already exists", command.slot));
    }
    wire::MessageWriter out;
    out.row_description({{"slot_name", 25}, {"consistent_point", 25}, {"snapshot_name", 25}, {"output_plugin", 25}})
        .data_row({command.slot, "0/0", std::nullopt, std::nullopt})
        .command_complete("CREATE_REPLICATION_SLOT");
    return socket_->send(out.view());
  }

  Status execute(const wire::ReadReplicationSlot& command) {
    wire::MessageWriter out;
    out.row_description({{"slot_type", 25}, {"restart_lsn", 25}, {"restart_tli", 20}});
    const auto slot = slots_.find(command.slot);
    if (slot == slots_.end()) {
      out.data_row({std::nullopt, std::nullopt, std::nullopt});  // how PostgreSQL says that there is none
    } else if (!slot->second.is_valid()) {
      out.data_row({"physical", std::nullopt, std::nullopt});
    } else {
      out.data_row({"physical", to_string(slot->second), "1"});
    }
    return socket_->send(out.command_complete("READ_REPLICATION_SLOT").view());
  }

  Status execute(const wire::DropReplicationSlot& command) {
    if (slots_.erase(command.slot) == 0) return send_no_such_slot(command.slot);
    wire::MessageWriter out;
    return socket_->send(out.command_complete("DROP_REPLICATION_SLOT").view());
  }

  Status execute(const wire::BaseBackup&) {
    return send_error("ERROR", "0A000", "the WAL service has WAL, and no data files to back up",
                      "Run pg_basebackup against an endpoint of the branch; what it makes can follow this server.");
  }

  Status execute(const wire::NoCommand& command) {
    return send_error("ERROR", "0A000", fmt::format("cannot execute SQL commands in the WAL service: \"{}\"", command.text),
                      "It knows IDENTIFY_SYSTEM, SHOW, TIMELINE_HISTORY, START_REPLICATION, CREATE_REPLICATION_SLOT, "
                      "READ_REPLICATION_SLOT, DROP_REPLICATION_SLOT, START_WAL_PUSH, START_WAL_FEED and READ_WAL.");
  }

  Status execute(const wire::StartReplication& command) {
    if (command.pg_timeline != 1) {
      return send_error("ERROR", "XX000",
                        fmt::format("requested timeline {} is not in this server's history", command.pg_timeline),
                        "A Helium branch stays on PostgreSQL's timeline 1 for ever: a server that was promoted cannot "
                        "follow it any more.");
    }
    if (!command.slot.empty() && !slots_.contains(command.slot)) return send_no_such_slot(command.slot);
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
    return run_feed(*socket_, **found,
                    {.start = start, .kind = kind, .reader_name = name_, .sender_timeout = sender_timeout_});
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

  Status send_no_such_slot(const std::string& slot) {
    return send_error("ERROR", "42704", fmt::format("replication slot \"{}\" does not exist", slot), kNoSlotNeeded);
  }

  Status send_error(std::string_view severity, const Error& error) {
    return send_error(severity, sqlstate(error.code), error.message);
  }
  // FATAL ends the connection, ERROR only the command.
  Status send_error(std::string_view severity, std::string_view sqlstate, const std::string& message,
                    std::string_view hint = {}) {
    wire::MessageWriter out;
    HELIUM_TRY(socket_->send(out.error_response(severity, sqlstate, message, hint).view()));
    if (severity != "FATAL") {
      slots_.clear();  // an error ends temporary slots at a stock server too
      return {};
    }
    socket_->close_gently();
    return fail(ErrorCode::kClosed, message);
  }

  Safekeeper& safekeeper_;
  const std::shared_ptr<walclient::PgSocket> socket_;
  std::string name_ = "unnamed";
  std::optional<TenantTimelineId> id_;
  ReplyTimer::Milliseconds sender_timeout_ = ReplyTimer::kDefault;
  std::map<std::string, Lsn> slots_;  // temporary ones, of this connection; where they were made, if reserved
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
