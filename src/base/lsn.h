// Lsn: a byte position in one timeline's WAL.
//
// Unit: bytes from the start of the WAL. Printed as PostgreSQL prints pg_lsn: two hex halves, "0/16B3740".
// Zero is "no position" (InvalidXLogRecPtr). Plain value, safe to read from any thread.
// Source: PostgreSQL 15 src/include/access/xlogdefs.h.

#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/result.h"

namespace helium {

class Lsn {
 public:
  constexpr Lsn() = default;
  constexpr explicit Lsn(uint64_t bytes) : bytes_(bytes) {}
  static constexpr Lsn max() { return Lsn(UINT64_MAX); }

  constexpr uint64_t bytes() const { return bytes_; }
  constexpr bool is_valid() const { return bytes_ != 0; }

  friend constexpr auto operator<=>(Lsn, Lsn) = default;
  friend constexpr Lsn operator+(Lsn lsn, uint64_t bytes) { return Lsn(lsn.bytes_ + bytes); }
  // The distance from b up to a, in bytes; a must not lie before b.
  friend constexpr uint64_t operator-(Lsn a, Lsn b) {
    CHECK(b.bytes_ <= a.bytes_);
    return a.bytes_ - b.bytes_;
  }

 private:
  uint64_t bytes_ = 0;
};

// "0/16B3740", upper case, no leading zeros.
std::string to_string(Lsn lsn);
inline std::string format_as(Lsn lsn) { return to_string(lsn); }

// Errors: kInvalid unless the whole text is HEX/HEX, each half of 1 to 8 digits.
Result<Lsn> parse_lsn(std::string_view text);

// A half-open range [start, end). Empty ranges are bugs, so they cannot be built.
class LsnRange {
 public:
  constexpr LsnRange(Lsn start, Lsn end) : start_(start), end_(end) { CHECK(start < end); }
  constexpr Lsn start() const { return start_; }
  constexpr Lsn end() const { return end_; }
  constexpr bool contains(Lsn lsn) const { return start_ <= lsn && lsn < end_; }
  friend constexpr bool operator==(const LsnRange&, const LsnRange&) = default;

 private:
  Lsn start_;
  Lsn end_;
};

}  // namespace helium
