#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace helium {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInternal: return "internal";
    case ErrorCode::kInvalid: return "invalid";
    case ErrorCode::kNotFound: return "not found";
    case ErrorCode::kExists: return "exists";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kTruncated: return "truncated";
    case ErrorCode::kTooNew: return "too new";
    case ErrorCode::kIo: return "io";
    case ErrorCode::kNoSpace: return "no space";
    case ErrorCode::kTimeout: return "timeout";
    case ErrorCode::kUnavailable: return "unavailable";
    case ErrorCode::kFenced: return "fenced";
    case ErrorCode::kLsnTooOld: return "lsn too old";
    case ErrorCode::kLsnInFuture: return "lsn in future";
    case ErrorCode::kRedo: return "redo";
    case ErrorCode::kClosed: return "closed";
    case ErrorCode::kCanceled: return "canceled";
  }
  return "unknown";
}

std::unexpected<Error> fail_errno(std::string_view what, int errno_value) {
  ErrorCode code = ErrorCode::kIo;
  if (errno_value == ENOSPC || errno_value == EDQUOT) code = ErrorCode::kNoSpace;
  if (errno_value == ENOENT) code = ErrorCode::kNotFound;
  if (errno_value == EEXIST) code = ErrorCode::kExists;
  return fail(code, std::string(what) + ": " + std::strerror(errno_value));
}

}  // namespace helium
