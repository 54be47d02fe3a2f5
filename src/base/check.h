// CHECK: what cannot happen. On in every build; prints file, line and condition, then aborts.
// Bytes from disk, network or users are validated before any CHECK sees them.

#pragma once

namespace helium {
[[noreturn]] void check_failed(const char* file, int line, const char* condition);
}

#define CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::helium::check_failed(__FILE__, __LINE__, #condition))
