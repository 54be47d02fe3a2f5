// Settings: the configuration that a compute's PostgreSQL runs with, from three sources.
//
//   defaults  what initdb would have written (postgresql.conf, first)
//   user      the endpoint's settings (postgresql.conf, behind the defaults, so that they win)
//   forced    what the file layer depends on (the command line, so that neither the file, nor ALTER SYSTEM, nor a
//             reload can change it)
//
// A user's setting that would break the file layer is refused with the reason; one that is merely too low for the
// timeline is raised (rules.md 27). Names that PostgreSQL does not know are refused by PostgreSQL itself (settings_trial.h).
// Ownership: plain values. Errors: kInvalid: text for the user, which says what to do. Threads: pure.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/net.h"

namespace helium::compute {

// What the timeline demands.
struct SettingFloors {
  int32_t replication_origins = 0;    // with progress at the start; they must all find a place
  int32_t replication_slots = 0;
  bool logical_decoding = false;      // one of them is logical
  int32_t prepared_transactions = 0;  // two-phase files at the start: they must all be recovered
};

struct SettingsInput {
  std::map<std::string, std::string> user;  // names in lower case
  int pg_version = 15;
  HostPort pg_address;
  SettingFloors floors;
  bool is_branch = false;  // the subscriptions in its catalogs may be its parent's
};

struct PgSettings {
  std::string postgresql_conf;            // the file's text
  std::vector<std::string> command_line;  // "-c", "name=value", …
  bool full_page_writes = false;          // these two go into the synthetic checkpoint
  int32_t wal_level = 1;                  // 1 replica, 2 logical
};

// Refuses a setting by name or value; the message is one line that says what to do.
Status check_user_setting(const std::string& name, const std::string& value);

Result<PgSettings> make_settings(const SettingsInput& input);

// Trust for connections from this machine, nothing else.
std::string make_pg_hba();

// 'value' as a quoted string of postgresql.conf.
std::string quote_setting(const std::string& value);

}  // namespace helium::compute
