// Structured log lines on stderr, one JSON object each:
//   {"ts":"2026-11-22T10:37:21.123456Z","level":"INFO","msg":"wal feed connected","timeline":"de20…","lsn":"0/16B5A50"}
//
// Who handles an error logs it, once. WARN means that somebody should look. Safe from any thread.

#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/ids.h"
#include "base/lsn.h"

namespace helium::log {

enum class Level { kDebug, kInfo, kWarn, kError };

// A field: its name and its value as text; numbers stay bare in the line.
struct Field {
  Field(std::string_view name, std::string_view value) : name(name), text(value), quoted(true) {}
  Field(std::string_view name, const std::string& value) : name(name), text(value), quoted(true) {}
  Field(std::string_view name, const char* value) : name(name), text(value), quoted(true) {}
  Field(std::string_view name, bool value) : name(name), text(value ? "true" : "false"), quoted(false) {}
  Field(std::string_view name, Lsn value) : name(name), text(to_string(value)), quoted(true) {}
  Field(std::string_view name, const Error& value) : name(name), text(value.message), quoted(true) {}
  template <typename Tag>
  Field(std::string_view name, const Id<Tag>& value) : name(name), text(to_string(value)), quoted(true) {}
  template <typename T>
    requires std::is_arithmetic_v<T>
  Field(std::string_view name, T value) : name(name), text(std::to_string(value)), quoted(false) {}

  std::string_view name;
  std::string text;
  bool quoted;
};

void set_level(Level least);  // default kInfo; HELIUM_LOG=debug|info|warn|error sets it at start
void write(Level level, std::string_view message, std::initializer_list<Field> fields = {});

inline void debug(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kDebug, message, fields);
}
inline void info(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kInfo, message, fields);
}
inline void warn(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kWarn, message, fields);
}
inline void error(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kError, message, fields);
}

}  // namespace helium::log
