#include "base/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "base/check_handler.h"

namespace helium {
namespace {

std::atomic<bool> throws = false;

}  // namespace

void throw_on_failed_check() { throws = true; }

void check_failed(const char* file, int line, const char* condition) {
  if (throws) throw CheckFailed{std::string(condition) + " at " + file + ":" + std::to_string(line)};
  std::fprintf(stderr, "CHECK failed: %s at %s:%d\n", condition, file, line);
  std::fflush(stderr);
  std::abort();
}

}  // namespace helium
