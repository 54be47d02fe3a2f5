// Result<T>: what happens (bad bytes, lost peers, full disks) is returned; what cannot happen is CHECK.
//
// A code exists when a caller acts on it; the rest is text, "verb object: cause", with context added on
// the way up. Plain values; safe from any thread.

#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace helium {

// Numbers travel in the page service protocol: give new codes new numbers.
enum class ErrorCode : uint16_t {
  kInternal = 1,      // a bug or an unknown cause
  kInvalid = 2,       // the request or input is malformed
  kNotFound = 3,      // tenant, timeline, relation or file does not exist
  kExists = 4,        // it exists already
  kCorrupt = 5,       // checksum, magic or structure is wrong
  kTruncated = 6,     // fewer bytes than promised
  kTooNew = 7,        // a format version above ours
  kIo = 8,            // the operating system refused
  kNoSpace = 9,       // the disk is full
  kTimeout = 10,      // it did not happen in time; trying again may help
  kUnavailable = 11,  // the peer cannot be reached; trying again may help
  kFenced = 12,       // a later term exists: the asker must end
  kLsnTooOld = 13,    // below what is kept
  kLsnInFuture = 14,  // beyond what exists, and waiting did not help
  kRedo = 15,         // a record does not fit its page; confined to that page
  kClosed = 16,       // the peer closed the connection
  kCanceled = 17,     // we are shutting down
};

std::string_view to_string(ErrorCode code);

struct [[nodiscard]] Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;

  // "what: message", the code stays.
  Error context(std::string_view what) && {
    return Error{code, std::string(what) + ": " + std::move(message)};
  }
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}
inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }

// An error from errno: kNoSpace for ENOSPC, kNotFound for ENOENT, kExists for EEXIST, else kIo.
std::unexpected<Error> fail_errno(std::string_view what, int errno_value);

}  // namespace helium

// Return the error of `expr` (a Result or Status), if it has one.
#define HELIUM_TRY(expr)                                                       \
  do {                                                                         \
    if (auto helium_try_ = (expr); !helium_try_)                               \
      return std::unexpected(std::move(helium_try_).error());                  \
  } while (0)

#define HELIUM_CONCAT_(a, b) a##b
#define HELIUM_CONCAT(a, b) HELIUM_CONCAT_(a, b)
// HELIUM_ASSIGN(auto x, f()): x becomes the value, or the error is returned.
#define HELIUM_ASSIGN(decl, expr) HELIUM_ASSIGN_(HELIUM_CONCAT(helium_res_, __LINE__), decl, expr)
#define HELIUM_ASSIGN_(tmp, decl, expr)                        \
  auto tmp = (expr);                                           \
  if (!tmp) return std::unexpected(std::move(tmp).error());    \
  decl = std::move(*tmp)
