// PostgreSQL's frontend/backend protocol 3.0, as far as a WAL service speaks it: startup, simple queries, copy.
//
// Integers are big-endian, strings end with a zero byte. Parsers take untrusted bytes; pure, safe from any thread.
// Errors: kCorrupt: bytes that the protocol does not allow; kInvalid: a command or option that makes no sense.
// Source: PostgreSQL 15 documentation, chapters "Frontend/Backend Protocol" and "Streaming Replication Protocol".
//
//   startup packet     i32 length (itself included), i32 code, then for code 3.0: name\0 value\0 … \0
//   any other message  u8 type, i32 length (itself included, type not), payload

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "wire/term_history.h"

namespace helium::wire {

inline constexpr uint32_t kMaxStartupPacket = 10000;  // PostgreSQL's own bound
inline constexpr size_t kMessageHeaderSize = 5;

// -- startup ------------------------------------------------------------------------------------------------------
enum class StartupKind { kStartup, kSslRequest, kGssEncRequest, kCancelRequest };
struct StartupPacket {
  StartupKind kind = StartupKind::kStartup;
  std::map<std::string, std::string> parameters;  // user, database, options, replication, …
};
// `body`: the packet behind its length word.
Result<StartupPacket> parse_startup_packet(ByteView body);
Bytes encode_startup_packet(const std::map<std::string, std::string>& parameters);

// Settings in an `options` parameter: "-c name=value", "-cname=value", "--name=value"; a backslash escapes a space.
// Other words are left out. A later setting of one name wins.
std::map<std::string, std::string> parse_options(std::string_view options);

// -- messages -----------------------------------------------------------------------------------------------------
struct MessageHeader {
  char type = 0;
  uint32_t payload_size = 0;
};
// Errors: kCorrupt: a length below 4 or a payload above `payload_max`.
Result<MessageHeader> parse_message_header(ByteView header, uint32_t payload_max);
std::array<std::byte, kMessageHeaderSize> encode_message_header(char type, size_t payload_size);

// Builds a sequence of messages in one buffer.
class MessageWriter {
 public:
  MessageWriter& begin(char type);
  MessageWriter& u8(uint8_t v);
  MessageWriter& u16(uint16_t v);
  MessageWriter& u32(uint32_t v);
  MessageWriter& u64(uint64_t v);
  MessageWriter& text(std::string_view v);  // with the zero byte
  MessageWriter& raw(ByteView bytes);
  MessageWriter& end();

  // Whole messages.
  MessageWriter& authentication_ok();
  MessageWriter& parameter_status(std::string_view name, std::string_view value);
  MessageWriter& ready_for_query();
  MessageWriter& command_complete(std::string_view tag);
  // sqlstate: five characters; severity ERROR or FATAL; hint: what to do, empty if there is nothing to say.
  MessageWriter& error_response(std::string_view severity, std::string_view sqlstate, std::string_view message,
                                std::string_view hint = {});
  struct Column {
    std::string_view name;
    uint32_t type_oid;  // 25 text, 23 int4, 20 int8
  };
  MessageWriter& row_description(std::initializer_list<Column> columns);
  MessageWriter& data_row(std::initializer_list<std::optional<std::string>> values);
  MessageWriter& copy_both_response();  // binary, no columns
  MessageWriter& copy_out_response();

  ByteView view() const { return buffer_; }
  Bytes take() { return std::move(buffer_); }

 private:
  Bytes buffer_;
  size_t message_start_ = 0;
};

// "message (SQLSTATE 08P01)" of an ErrorResponse's payload, for people.
struct ErrorFields {
  std::string severity, sqlstate, message;
};
Result<ErrorFields> parse_error_response(ByteView payload);

// -- commands of the WAL service ----------------------------------------------------------------------------------
struct IdentifySystem {};
struct Show {
  std::string name;
};
struct TimelineHistoryCommand {
  uint32_t pg_timeline = 0;
};
struct StartReplication {
  std::string slot;  // empty if none
  Lsn start;
  uint32_t pg_timeline = 1;
};
struct CreateReplicationSlot {
  std::string slot;
  bool temporary = false;
  bool reserve_wal = false;
};
struct ReadReplicationSlot {
  std::string slot;
};
struct DropReplicationSlot {
  std::string slot;
};
struct BaseBackup {};
// What is no command of a replication connection: SQL, most likely.
struct NoCommand {
  std::string text;
};
struct StartWalPush {};
struct StartWalFeed {
  Lsn start;
};
struct ReadWal {
  uint64_t term = 0;
  Lsn start, end;
};
using WalCommand = std::variant<IdentifySystem, Show, TimelineHistoryCommand, StartReplication, CreateReplicationSlot,
                                ReadReplicationSlot, DropReplicationSlot, BaseBackup, NoCommand, StartWalPush,
                                StartWalFeed, ReadWal>;
// Keywords in any case; a trailing semicolon is fine. Errors: kInvalid: a syntax error, with a text that names what is
// wrong.
Result<WalCommand> parse_wal_command(std::string_view text);

// -- inside CopyData of a replication stream (all big-endian) -----------------------------------------------------
//   'w' XLogData       u64 start, u64 wal_end (here: commit_lsn), i64 time, WAL bytes
//   'k' keepalive      u64 wal_end (commit_lsn), i64 time, u8 reply_requested
//   'h' term history   u32 n, n x {u64 term, u64 lsn}      START_WAL_FEED only
//   'r' status update  u64 written, u64 flushed, u64 applied, i64 time, u8 reply_requested     from the client
// Times: microseconds since 2000-01-01.
inline constexpr size_t kWalDataHeaderSize = 1 + 8 + 8 + 8;
struct WalData {
  Lsn start;
  Lsn wal_end;
  ByteView bytes;
};
struct Keepalive {
  Lsn wal_end;
  bool reply_requested = false;
};
using FeedMessage = std::variant<WalData, Keepalive, TermHistory>;

std::array<std::byte, kWalDataHeaderSize> encode_wal_data_header(Lsn start, Lsn wal_end, int64_t pg_time);
Bytes encode_keepalive(const Keepalive& keepalive, int64_t pg_time);
Bytes encode_feed_history(const TermHistory& history);
Result<FeedMessage> parse_feed_message(ByteView payload);

struct StandbyStatus {
  Lsn written, flushed, applied;
  bool reply_requested = false;
  friend bool operator==(const StandbyStatus&, const StandbyStatus&) = default;
};
Bytes encode_standby_status(const StandbyStatus& status, int64_t pg_time);
// nullopt: a message of the client that carries nothing for us (hot standby feedback).
Result<std::optional<StandbyStatus>> parse_standby_message(ByteView payload);

// Microseconds since 2000-01-01, from the system's clock.
int64_t pg_time_now();

}  // namespace helium::wire
