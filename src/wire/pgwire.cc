#include "wire/pgwire.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>

namespace helium::wire {
namespace {

constexpr uint32_t kProtocol3 = 196608;
constexpr uint32_t kCancelCode = 80877102;
constexpr uint32_t kSslCode = 80877103;
constexpr uint32_t kGssEncCode = 80877104;

template <typename T>
T swap_if_little(T v) {
  if constexpr (std::endian::native == std::endian::little) return std::byteswap(v);
  return v;
}

template <typename T>
void put_be(Bytes& out, T v) {
  const T swapped = swap_if_little(v);
  const auto* p = reinterpret_cast<const std::byte*>(&swapped);
  out.insert(out.end(), p, p + sizeof(T));
}

// Big-endian reads of untrusted bytes: as ByteReader.
class Reader {
 public:
  explicit Reader(ByteView bytes) : in_(bytes) {}
  uint8_t u8() { return in_.u8(); }
  uint32_t u32() { return swap_if_little(in_.u32()); }
  uint64_t u64() { return swap_if_little(in_.u64()); }
  Lsn lsn() { return Lsn(u64()); }
  ByteView rest() { return in_.raw(in_.remaining()); }
  size_t remaining() const { return in_.remaining(); }
  bool failed() const { return in_.failed(); }
  bool done() const { return in_.done(); }

 private:
  ByteReader in_;
};

// Takes a zero-terminated string off the front; nullopt if there is no zero.
std::optional<std::string_view> take_text(std::string_view& rest) {
  const size_t end = rest.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view text = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return text;
}

std::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::kCorrupt, fmt::format("malformed {}", what));
}

}  // namespace

Result<StartupPacket> parse_startup_packet(ByteView body) {
  if (body.size() < 4 || body.size() > kMaxStartupPacket) return malformed("startup packet: wrong length");
  Reader in(body);
  StartupPacket packet;
  switch (const uint32_t code = in.u32()) {
    case kSslCode: packet.kind = StartupKind::kSslRequest; return packet;
    case kGssEncCode: packet.kind = StartupKind::kGssEncRequest; return packet;
    case kCancelCode: packet.kind = StartupKind::kCancelRequest; return packet;
    default:
      if (code >> 16 != 3) {
        return fail(ErrorCode::kInvalid, fmt::format("protocol {}.{} is not spoken here, 3.0 is", code >> 16,
                                                     code & 0xFFFF));
      }
  }
  std::string_view rest = as_text(in.rest());
  while (true) {
    const auto name = take_text(rest);
    if (!name) return malformed("startup packet: parameters without an end");
    if (name->empty()) break;
    const auto value = take_text(rest);
    if (!value) return malformed("startup packet: a parameter without a value");
    packet.parameters[std::string(*name)] = std::string(*value);
  }
  if (!rest.empty()) return malformed("startup packet: bytes behind its end");
  return packet;
}

Bytes encode_startup_packet(const std::map<std::string, std::string>& parameters) {
  Bytes out;
  put_be(out, uint32_t{0});
  put_be(out, kProtocol3);
  const auto put_text = [&](std::string_view text) {
    out.insert(out.end(), as_bytes(text).begin(), as_bytes(text).end());
    out.push_back(std::byte{0});
  };
  for (const auto& [name, value] : parameters) {
    put_text(name);
    put_text(value);
  }
  out.push_back(std::byte{0});
  store(out.data(), swap_if_little(static_cast<uint32_t>(out.size())));
  return out;
}

std::map<std::string, std::string> parse_options(std::string_view options) {
  std::vector<std::string> words(1);
  for (size_t i = 0; i < options.size(); ++i) {
    if (options[i] == '\\' && i + 1 < options.size()) {
      words.back() += options[++i];
    } else if (options[i] == ' ' || options[i] == '\t' || options[i] == '\n') {
      if (!words.back().empty()) words.emplace_back();
    } else {
      words.back() += options[i];
    }
  }
  std::map<std::string, std::string> settings;
  for (size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (word == "-c" && i + 1 < words.size()) {
      word = words[++i];
    } else if (word.starts_with("-c") || word.starts_with("--")) {
      word.remove_prefix(2);
    } else {
      continue;
    }
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    settings[std::string(word.substr(0, equals))] = std::string(word.substr(equals + 1));
  }
  return settings;
}

Result<MessageHeader> parse_message_header(ByteView header, uint32_t payload_max) {
  if (header.size() < kMessageHeaderSize) return malformed("message header");
  const uint32_t length = swap_if_little(load<uint32_t>(header.data() + 1));
  if (length < 4 || length - 4 > payload_max) {
    return malformed(fmt::format("message: type 0x{:02x}, length {}", static_cast<uint8_t>(header[0]), length));
  }
  return MessageHeader{.type = static_cast<char>(header[0]), .payload_size = length - 4};
}

std::array<std::byte, kMessageHeaderSize> encode_message_header(char type, size_t payload_size) {
  std::array<std::byte, kMessageHeaderSize> header;
  header[0] = static_cast<std::byte>(type);
  store(header.data() + 1, swap_if_little(static_cast<uint32_t>(payload_size + 4)));
  return header;
}

MessageWriter& MessageWriter::begin(char type) {
  message_start_ = buffer_.size();
  buffer_.push_back(static_cast<std::byte>(type));
  return u32(0);
}
MessageWriter& MessageWriter::u8(uint8_t v) {
  buffer_.push_back(static_cast<std::byte>(v));
  return *this;
}
MessageWriter& MessageWriter::u16(uint16_t v) {
  put_be(buffer_, v);
  return *this;
}
MessageWriter& MessageWriter::u32(uint32_t v) {
  put_be(buffer_, v);
  return *this;
}
MessageWriter& MessageWriter::u64(uint64_t v) {
  put_be(buffer_, v);
  return *this;
}
MessageWriter& MessageWriter::text(std::string_view v) {
  raw(as_bytes(v));
  return u8(0);
}
MessageWriter& MessageWriter::raw(ByteView bytes) {
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return *this;
}
MessageWriter& MessageWriter::end() {
  store(buffer_.data() + message_start_ + 1, swap_if_little(static_cast<uint32_t>(buffer_.size() - message_start_ - 1)));
  return *this;
}

MessageWriter& MessageWriter::authentication_ok() { return begin('R').u32(0).end(); }
MessageWriter& MessageWriter::parameter_status(std::string_view name, std::string_view value) {
  return begin('S').text(name).text(value).end();
}
MessageWriter& MessageWriter::ready_for_query() { return begin('Z').u8('I').end(); }
MessageWriter& MessageWriter::command_complete(std::string_view tag) { return begin('C').text(tag).end(); }
MessageWriter& MessageWriter::error_response(std::string_view severity, std::string_view sqlstate,
                                             std::string_view message, std::string_view hint) {
  begin('E');
  u8('S').text(severity);
  u8('V').text(severity);
  u8('C').text(sqlstate);
  u8('M').text(message);
  if (!hint.empty()) u8('H').text(hint);
  return u8(0).end();
}
MessageWriter& MessageWriter::row_description(std::initializer_list<Column> columns) {
  begin('T').u16(static_cast<uint16_t>(columns.size()));
  for (const Column& column : columns) {
    const uint16_t type_size = column.type_oid == 23 ? 4 : column.type_oid == 20 ? 8 : 0xFFFF;
    text(column.name).u32(0).u16(0).u32(column.type_oid).u16(type_size).u32(0xFFFFFFFF).u16(0);
  }
  return end();
}
MessageWriter& MessageWriter::data_row(std::initializer_list<std::optional<std::string>> values) {
  begin('D').u16(static_cast<uint16_t>(values.size()));
  for (const auto& value : values) {
    if (value) {
      u32(static_cast<uint32_t>(value->size())).raw(as_bytes(*value));
    } else {
      u32(0xFFFFFFFF);
    }
  }
  return end();
}
MessageWriter& MessageWriter::copy_both_response() { return begin('W').u8(0).u16(0).end(); }
MessageWriter& MessageWriter::copy_out_response() { return begin('H').u8(0).u16(0).end(); }

Result<ErrorFields> parse_error_response(ByteView payload) {
  std::string_view rest = as_text(payload);
  ErrorFields fields;
  while (!rest.empty() && rest[0] != '\0') {
    const char code = rest[0];
    rest.remove_prefix(1);
    const auto value = take_text(rest);
    if (!value) return malformed("error response");
    if (code == 'S') fields.severity = *value;
    if (code == 'C') fields.sqlstate = *value;
    if (code == 'M') fields.message = *value;
  }
  return fields;
}

std::array<std::byte, kWalDataHeaderSize> encode_wal_data_header(Lsn start, Lsn wal_end, int64_t pg_time) {
  std::array<std::byte, kWalDataHeaderSize> header;
  header[0] = std::byte{'w'};
  store(header.data() + 1, swap_if_little(start.bytes()));
  store(header.data() + 9, swap_if_little(wal_end.bytes()));
  store(header.data() + 17, swap_if_little(static_cast<uint64_t>(pg_time)));
  return header;
}

Bytes encode_keepalive(const Keepalive& keepalive, int64_t pg_time) {
  Bytes out{std::byte{'k'}};
  put_be(out, keepalive.wal_end.bytes());
  put_be(out, static_cast<uint64_t>(pg_time));
  out.push_back(std::byte{keepalive.reply_requested});
  return out;
}

Bytes encode_feed_history(const TermHistory& history) {
  Bytes out{std::byte{'h'}};
  put_be(out, static_cast<uint32_t>(history.size()));
  for (const TermSwitch& entry : history) {
    put_be(out, entry.term);
    put_be(out, entry.lsn.bytes());
  }
  return out;
}

Result<FeedMessage> parse_feed_message(ByteView payload) {
  Reader in(payload);
  switch (in.u8()) {
    case 'w': {
      WalData data;
      data.start = in.lsn();
      data.wal_end = in.lsn();
      in.u64();
      if (in.failed()) return malformed("WAL data message");
      data.bytes = in.rest();
      if (data.start.bytes() > UINT64_MAX - data.bytes.size()) return malformed("WAL data message");
      return data;
    }
    case 'k': {
      Keepalive keepalive;
      keepalive.wal_end = in.lsn();
      in.u64();
      keepalive.reply_requested = in.u8() != 0;
      if (!in.done()) return malformed("keepalive");
      return keepalive;
    }
    case 'h': {
      const uint32_t count = in.u32();
      if (in.failed() || in.remaining() != size_t{count} * 16) return malformed("term history");
      TermHistory history;
      for (uint32_t i = 0; i < count; ++i) {
        const uint64_t term = in.u64();
        history.push_back({term, in.lsn()});
      }
      if (!is_valid_history(history)) return malformed("term history");
      return history;
    }
    default: return malformed("replication message: unknown type");
  }
}

Bytes encode_standby_status(const StandbyStatus& status, int64_t pg_time) {
  Bytes out{std::byte{'r'}};
  put_be(out, status.written.bytes());
  put_be(out, status.flushed.bytes());
  put_be(out, status.applied.bytes());
  put_be(out, static_cast<uint64_t>(pg_time));
  out.push_back(std::byte{status.reply_requested});
  return out;
}

Result<std::optional<StandbyStatus>> parse_standby_message(ByteView payload) {
  Reader in(payload);
  const uint8_t type = in.u8();
  if (type == 'h') return std::optional<StandbyStatus>();
  if (type != 'r') return malformed("standby message: unknown type");
  StandbyStatus status;
  status.written = in.lsn();
  status.flushed = in.lsn();
  status.applied = in.lsn();
  in.u64();
  status.reply_requested = in.u8() != 0;
  if (!in.done()) return malformed("standby status update");
  return std::optional(status);
}

int64_t pg_time_now() {
  constexpr int64_t kUnixToPostgresSeconds = 946684800;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count() - kUnixToPostgresSeconds * 1000000;
}

}  // namespace helium::wire
