#include "compute/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>

namespace helium::compute {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

// PostgreSQL's spelling of booleans: on, off, true, false, yes, no, 1, 0 and unique prefixes.
std::optional<bool> parse_bool(std::string_view value) {
  const std::string v = lower(trim(value));
  if (v.empty()) return {};
  if (v == "1" || v == "on" || std::string_view("true").starts_with(v) || std::string_view("yes").starts_with(v)) {
    return true;
  }
  if (v == "0" || v == "of" || v == "off" || std::string_view("false").starts_with(v) ||
      std::string_view("no").starts_with(v)) {
    return false;
  }
  return {};
}

std::optional<int64_t> parse_number(std::string_view value) {
  const std::string_view text = trim(value);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return number;
}

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() > 200) return false;
  const auto letter = [](unsigned char c) { return std::isalpha(c) || c == '_' || c >= 0x80; };
  if (!letter(name.front()) || name.back() == '.') return false;
  return std::ranges::all_of(name, [&](unsigned char c) { return letter(c) || std::isdigit(c) || c == '$' || c == '.'; });
}

enum class Rule : uint8_t {
  kManaged,   // never the user's
  kMustBeOn,  // boolean
  kMustBeOff,
  kMustEqual,  // `wanted`
  kMustNotBe,  // `wanted`
};

struct Guard {
  std::string_view name;
  Rule rule;
  std::string_view wanted;
  std::string_view why;
};

// Settings that could break the file layer or that belong to compute_ctl.
constexpr Guard kGuards[] = {
    {"port", Rule::kManaged, "", "the endpoint's port is chosen at 'endpoint create'"},
    {"listen_addresses", Rule::kManaged, "", "the endpoint's address is chosen by Helium"},
    {"unix_socket_directories", Rule::kManaged, "", "endpoints are reached over TCP"},
    {"data_directory", Rule::kManaged, "", "the data directory is Helium's cache"},
    {"config_file", Rule::kManaged, "", "the configuration is written by Helium at each start"},
    {"hba_file", Rule::kManaged, "", "the configuration is written by Helium at each start"},
    {"ident_file", Rule::kManaged, "", "the configuration is written by Helium at each start"},
    {"external_pid_file", Rule::kManaged, "", "compute_ctl supervises PostgreSQL"},
    {"logging_collector", Rule::kManaged, "", "the log goes to the endpoint's postgres.log"},
    {"restart_after_crash", Rule::kMustBeOff, "", "after a crash Helium starts the compute anew from the WAL service"},
    {"fsync", Rule::kMustBeOn, "", "it is how a commit reaches the safekeepers"},
    {"wal_sync_method", Rule::kMustEqual, "fdatasync", "it is how a commit reaches the safekeepers"},
    {"wal_level", Rule::kMustNotBe, "minimal", "storage needs all WAL"},
    {"archive_mode", Rule::kMustBeOff, "", "safekeepers keep the WAL"},
    {"archive_command", Rule::kMustEqual, "", "safekeepers keep the WAL"},
    {"archive_library", Rule::kMustEqual, "", "safekeepers keep the WAL"},
    {"summarize_wal", Rule::kMustBeOff, "", "WAL from before the start is not local"},
    {"debug_io_direct", Rule::kMustEqual, "", "direct I/O goes around the file layer"},
    {"io_method", Rule::kMustNotBe, "io_uring", "io_uring goes around the file layer"},
    {"file_copy_method", Rule::kMustNotBe, "clone", "cloning files goes around the file layer"},
    {"restore_command", Rule::kMustEqual, "", "a compute starts from the WAL service, never from an archive"},
    {"primary_conninfo", Rule::kMustEqual, "", "a compute starts from the WAL service"},
    {"primary_slot_name", Rule::kMustEqual, "", "a compute starts from the WAL service"},
    {"recovery_target", Rule::kMustEqual, "", "make a branch at the wanted LSN instead"},
    {"recovery_target_lsn", Rule::kMustEqual, "", "make a branch at the wanted LSN instead"},
    {"recovery_target_name", Rule::kMustEqual, "", "make a branch at the wanted LSN instead"},
    {"recovery_target_time", Rule::kMustEqual, "", "make a branch at the wanted LSN instead"},
    {"recovery_target_xid", Rule::kMustEqual, "", "make a branch at the wanted LSN instead"},
};

std::unexpected<Error> refuse(const Guard& guard, const std::string& value, std::string_view allowed) {
  return fail(ErrorCode::kInvalid, fmt::format("setting {} = '{}' is refused: {}; {}", guard.name, value, guard.why,
                                               allowed));
}

Status check_guard(const Guard& guard, const std::string& value) {
  switch (guard.rule) {
    case Rule::kManaged:
      return fail(ErrorCode::kInvalid, fmt::format("setting {} is refused: {}; leave it out", guard.name, guard.why));
    case Rule::kMustBeOn:
      if (parse_bool(value) != true) return refuse(guard, value, "leave it out or set it to on");
      return {};
    case Rule::kMustBeOff:
      if (parse_bool(value) != false) return refuse(guard, value, "leave it out or set it to off");
      return {};
    case Rule::kMustEqual:
      if (lower(trim(value)) != guard.wanted) {
        return refuse(guard, value,
                      guard.wanted.empty() ? "leave it out" : fmt::format("leave it out or set it to {}", guard.wanted));
      }
      return {};
    case Rule::kMustNotBe:
      if (lower(trim(value)) == guard.wanted) return refuse(guard, value, "choose another value");
      return {};
  }
  return {};
}

constexpr int32_t kWalLevelReplica = 1;  // WalLevel
constexpr int32_t kWalLevelLogical = 2;

// In postgresql.conf before the user's: what initdb writes for this cluster, and what suits a compute.
constexpr std::pair<std::string_view, std::string_view> kDefaults[] = {
    {"max_connections", "100"},
    {"shared_buffers", "128MB"},
    {"dynamic_shared_memory_type", "posix"},
    {"max_wal_size", "1GB"},
    {"min_wal_size", "80MB"},
    {"datestyle", "iso, mdy"},
    {"timezone", "Etc/UTC"},
    {"log_timezone", "Etc/UTC"},
    {"lc_messages", "C.UTF-8"},
    {"lc_monetary", "C.UTF-8"},
    {"lc_numeric", "C.UTF-8"},
    {"lc_time", "C.UTF-8"},
    {"default_text_search_config", "pg_catalog.english"},
    {"log_line_prefix", "%m [%p] "},
    {"wal_level", "replica"},
    {"full_page_writes", "off"},
};

}  // namespace

std::string quote_setting(const std::string& value) {
  std::string quoted = "'";
  for (const char c : value) {
    switch (c) {
      case '\'': quoted += "''"; break;
      case '\\': quoted += "\\\\"; break;
      case '\n': quoted += "\\n"; break;
      case '\r': quoted += "\\r"; break;
      case '\t': quoted += "\\t"; break;
      default: quoted += c;
    }
  }
  return quoted + "'";
}

Status check_user_setting(const std::string& name, const std::string& value) {
  if (!valid_name(name)) {
    return fail(ErrorCode::kInvalid, fmt::format("'{}' is not the name of a PostgreSQL setting", name));
  }
  if (value.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalid, fmt::format("setting {} has a zero byte in its value", name));
  }
  const std::string wanted = lower(name);
  for (const Guard& guard : kGuards) {
    if (guard.name == wanted) return check_guard(guard, value);
  }
  return {};
}

namespace {

// A number that the timeline needs to be at least so high.
struct Floor {
  std::string name;
  int64_t present = 0;  // the user's value, else PostgreSQL's own
  int64_t least = 0;
  const char* what = "";
};

std::vector<Floor> floors_of(const SettingsInput& input) {
  std::vector<Floor> floors = {
      {"max_prepared_transactions", 0, input.floors.prepared_transactions, "prepared transactions"},
      {"max_replication_slots", 10, input.floors.replication_slots, "replication slots"},
  };
  if (input.pg_version >= 18)
    floors.push_back({"max_active_replication_origins", 10, input.floors.replication_origins, "replication origins"});
  else if (input.floors.replication_origins > input.floors.replication_slots)
    floors.back() = {"max_replication_slots", 10, input.floors.replication_origins, "replication origins"};
  return floors;
}

}  // namespace

Result<PgSettings> make_settings(const SettingsInput& input) {
  PgSettings result;
  std::string& conf = result.postgresql_conf;
  conf = "# Written by compute_ctl at each start. Settings of the endpoint: helium endpoint create -c name=value\n\n";
  for (const auto& [name, value] : kDefaults) conf += fmt::format("{} = {}\n", name, quote_setting(std::string(value)));

  if (input.is_branch) {
    conf += "\n# Subscriptions of the branch's parent would go on here, with the parent's slots at the publishers\n"
            "max_logical_replication_workers = 0\n";
  }
  conf += "\n# The endpoint's own\n";
  std::string io_method = "worker";
  std::vector<Floor> floors = floors_of(input);
  for (const auto& [name, value] : input.user) {
    HELIUM_TRY(check_user_setting(name, value));
    const std::string key = lower(name);
    if (const auto floor = std::ranges::find(floors, key, &Floor::name); floor != floors.end()) {
      const std::optional<int64_t> number = parse_number(value);
      if (!number || *number < 0) {
        return fail(ErrorCode::kInvalid, fmt::format("setting {} = '{}' is not a number", name, value));
      }
      floor->present = *number;
    } else if (key == "full_page_writes") {
      const std::optional<bool> on = parse_bool(value);
      if (!on) return fail(ErrorCode::kInvalid, fmt::format("setting {} = '{}' is neither on nor off", name, value));
      result.full_page_writes = *on;
    } else if (key == "wal_level") {
      result.wal_level = lower(trim(value)) == "logical" ? kWalLevelLogical : kWalLevelReplica;
    } else if (key == "io_method") {
      io_method = value;  // PostgreSQL says whether it knows it
    }
    conf += fmt::format("{} = {}\n", key, quote_setting(value));
  }
  for (const Floor& floor : floors) {
    if (floor.present >= floor.least) continue;
    conf += fmt::format("\n# The timeline has {} {}\n{} = {}\n", floor.least, floor.what, floor.name, floor.least);
  }

  if (input.floors.logical_decoding && result.wal_level < kWalLevelLogical) {
    conf += "\n# The timeline has logical replication slots\nwal_level = 'logical'\n";
    result.wal_level = kWalLevelLogical;
  }

  const auto force = [&](std::string_view name, std::string_view value) {
    result.command_line.push_back("-c");
    result.command_line.push_back(fmt::format("{}={}", name, value));
  };
  force("port", std::to_string(input.pg_address.port));
  force("listen_addresses", input.pg_address.host);
  force("unix_socket_directories", "");
  force("fsync", "on");
  force("wal_sync_method", "fdatasync");
  force("restart_after_crash", "off");
  force("wal_init_zero", "off");
  force("wal_recycle", "off");
  force("logging_collector", "off");
  force("archive_mode", "off");
  if (input.pg_version >= 17) force("summarize_wal", "off");
  if (input.pg_version >= 18) force("io_method", io_method);
  return result;
}

std::string make_pg_hba() {
  return "# Written by compute_ctl at each start.\n"
         "host all all 127.0.0.1/32 trust\n"
         "host all all ::1/128 trust\n"
         "host replication all 127.0.0.1/32 trust\n"
         "host replication all ::1/128 trust\n";
}

}  // namespace helium::compute
