// The commands of the WAL service, as text of a simple query.

#include <fmt/format.h>

#include <charconv>

#include "wire/pgwire.h"

namespace helium::wire {
namespace {

class Words {
 public:
  explicit Words(std::string_view text) : rest_(text) {}

  // The next word; empty at the end. Quotes (single or double) around a word are taken off; the parentheses and commas
  // of an option list only separate.
  std::string_view next() {
    const size_t start = rest_.find_first_not_of(kSeparators);
    if (start == std::string_view::npos) return rest_ = {};
    rest_.remove_prefix(start);
    if (rest_[0] == '"' || rest_[0] == '\'') {
      const size_t end = rest_.find(rest_[0], 1);
      const std::string_view word = rest_.substr(1, end == std::string_view::npos ? end : end - 1);
      rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
      return word;
    }
    const std::string_view word = rest_.substr(0, rest_.find_first_of(kSeparators));
    rest_.remove_prefix(word.size());
    return word;
  }

 private:
  static constexpr std::string_view kSeparators = " \t\r\n;(),";
  std::string_view rest_;
};

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return result;
}

template <typename T>
Result<T> parse_number(std::string_view what, std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::kInvalid, fmt::format("'{}' is no {}", text, what));
  }
  return value;
}

Result<WalCommand> parse_start_replication(Words& words) {
  StartReplication command;
  std::string_view word = words.next();
  if (upper(word) == "SLOT") {
    command.slot = words.next();
    word = words.next();
  }
  if (upper(word) == "LOGICAL") {
    return fail(ErrorCode::kInvalid, "logical replication is served by the compute, not by the WAL service");
  }
  if (upper(word) == "PHYSICAL") word = words.next();
  HELIUM_ASSIGN(command.start, parse_lsn(word));
  word = words.next();
  if (upper(word) == "TIMELINE") {
    HELIUM_ASSIGN(command.pg_timeline, parse_number<uint32_t>("timeline number", words.next()));
    if (command.pg_timeline == 0) return fail(ErrorCode::kInvalid, "invalid timeline 0");
    word = words.next();
  }
  if (!word.empty()) return fail(ErrorCode::kInvalid, fmt::format("START_REPLICATION: unexpected '{}'", word));
  return command;
}

Result<std::string> parse_slot_name(Words& words) {
  const std::string_view name = words.next();
  if (name.empty()) return fail(ErrorCode::kInvalid, "the name of the replication slot is missing");
  return std::string(name);
}

// CREATE_REPLICATION_SLOT slot [TEMPORARY] PHYSICAL [RESERVE_WAL], or the option list of PostgreSQL 15.
Result<WalCommand> parse_create_slot(Words& words) {
  CreateReplicationSlot command;
  HELIUM_ASSIGN(command.slot, parse_slot_name(words));
  std::string word = upper(words.next());
  if (word == "TEMPORARY") {
    command.temporary = true;
    word = upper(words.next());
  }
  if (word == "LOGICAL") {
    return fail(ErrorCode::kInvalid, "logical slots are made at the compute, not at the WAL service");
  }
  if (word != "PHYSICAL") return fail(ErrorCode::kInvalid, "CREATE_REPLICATION_SLOT: PHYSICAL is missing");
  for (word = upper(words.next()); !word.empty(); word = upper(words.next())) {
    if (word == "RESERVE_WAL" || word == "TRUE" || word == "ON") {
      command.reserve_wal = true;
    } else if (word == "FALSE" || word == "OFF") {
      command.reserve_wal = false;
    } else {
      return fail(ErrorCode::kInvalid, fmt::format("CREATE_REPLICATION_SLOT: unrecognized option '{}'", word));
    }
  }
  return command;
}

Result<WalCommand> parse_timeline_history(Words& words) {
  HELIUM_ASSIGN(const uint32_t number, parse_number<uint32_t>("timeline number", words.next()));
  if (number == 0) return fail(ErrorCode::kInvalid, "invalid timeline 0");
  return TimelineHistoryCommand{number};
}

}  // namespace

Result<WalCommand> parse_wal_command(std::string_view text) {
  Words words(text);
  const std::string verb = upper(words.next());
  Result<WalCommand> command = fail(ErrorCode::kInvalid, "");
  if (verb == "IDENTIFY_SYSTEM") {
    command = IdentifySystem{};
  } else if (verb == "SHOW") {
    command = Show{std::string(words.next())};
  } else if (verb == "TIMELINE_HISTORY") {
    command = parse_timeline_history(words);
  } else if (verb == "START_REPLICATION") {
    command = parse_start_replication(words);
  } else if (verb == "CREATE_REPLICATION_SLOT") {
    command = parse_create_slot(words);
  } else if (verb == "READ_REPLICATION_SLOT") {
    HELIUM_ASSIGN(std::string slot, parse_slot_name(words));
    command = ReadReplicationSlot{std::move(slot)};
  } else if (verb == "DROP_REPLICATION_SLOT") {
    HELIUM_ASSIGN(std::string slot, parse_slot_name(words));
    command = DropReplicationSlot{std::move(slot)};
    if (Words rest = words; upper(rest.next()) == "WAIT") words = rest;
  } else if (verb == "BASE_BACKUP") {
    return BaseBackup{};
  } else if (verb == "START_WAL_PUSH") {
    command = StartWalPush{};
  } else if (verb == "START_WAL_FEED") {
    HELIUM_ASSIGN(const Lsn start, parse_lsn(words.next()));
    command = StartWalFeed{start};
  } else if (verb == "READ_WAL") {
    ReadWal read;
    HELIUM_ASSIGN(read.term, parse_number<uint64_t>("term", words.next()));
    HELIUM_ASSIGN(read.start, parse_lsn(words.next()));
    HELIUM_ASSIGN(read.end, parse_lsn(words.next()));
    command = read;
  } else {
    return NoCommand{std::string(text.substr(0, 80))};
  }
  if (!command) return command;
  if (const std::string_view extra = words.next(); !extra.empty()) {
    return fail(ErrorCode::kInvalid, fmt::format("{}: unexpected '{}'", verb, extra));
  }
  return command;
}

}  // namespace helium::wire
