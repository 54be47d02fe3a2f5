#include "base/log.h"

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/time.h>

#include <cstdlib>
#include <ctime>

namespace helium::log {
namespace {

Level level_from_environment() {
  const char* text = std::getenv("HELIUM_LOG");
  const std::string_view name = text ? text : "info";
  if (name == "debug") return Level::kDebug;
  if (name == "warn") return Level::kWarn;
  if (name == "error") return Level::kError;
  return Level::kInfo;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarn: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
  }
  return spdlog::level::off;  // above all of them: silence, for tests
}

// Our line is spdlog's whole message. The sink writes it in one piece, so lines of several threads and processes do not
// mix. Never destroyed: threads may log while the process ends.
spdlog::logger& logger() {
  static spdlog::logger* const made = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    sink->set_formatter(std::make_unique<spdlog::pattern_formatter>("%v", spdlog::pattern_time_type::utc, "\n"));
    auto* created = new spdlog::logger("helium", std::move(sink));
    created->set_level(to_spdlog(level_from_environment()));
    return created;
  }();
  return *made;
}

void append_quoted(std::string& line, std::string_view text) {
  line.push_back('"');
  for (const char c : text) {
    switch (c) {
      case '"': line += "\\\""; break;
      case '\\': line += "\\\\"; break;
      case '\n': line += "\\n"; break;
      case '\t': line += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          line += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          line.push_back(c);
        }
    }
  }
  line.push_back('"');
}

constexpr std::string_view kNames[] = {"DEBUG", "INFO", "WARN", "ERROR"};

}  // namespace

void set_level(Level least) { logger().set_level(to_spdlog(least)); }

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (!logger().should_log(to_spdlog(level))) return;
  timeval now;
  gettimeofday(&now, nullptr);
  tm parts;
  gmtime_r(&now.tv_sec, &parts);
  std::string line = fmt::format("{{\"ts\":\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z\",\"level\":\"{}\",\"msg\":",
                                 parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
                                 parts.tm_sec, now.tv_usec, kNames[static_cast<int>(level)]);
  append_quoted(line, message);
  for (const Field& field : fields) {
    line.push_back(',');
    append_quoted(line, field.name);
    line.push_back(':');
    if (field.quoted) {
      append_quoted(line, field.text);
    } else {
      line += field.text;
    }
  }
  line.push_back('}');
  logger().log(to_spdlog(level), spdlog::string_view_t(line));
}

}  // namespace helium::log
