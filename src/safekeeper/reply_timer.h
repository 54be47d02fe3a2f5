// ReplyTimer: when a sender of WAL asks its silent client for a sign of life, and when it gives the client up.
//
// As PostgreSQL's wal_sender_timeout: asked after half of it, given up after all of it, counted from the last message
// of the client; zero never gives up. Pure: the caller brings the time. Source: PostgreSQL 15 walsender.c.

#pragma once

#include <chrono>
#include <string_view>

#include "base/result.h"

namespace helium::safekeeper {

class ReplyTimer {
 public:
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::milliseconds;
  static constexpr Milliseconds kDefault = std::chrono::minutes(1);

  ReplyTimer(Milliseconds timeout, Clock::time_point now) : timeout_(timeout), last_reply_(now) {}

  void on_reply(Clock::time_point now) {
    last_reply_ = now;
    asked_ = false;
  }

  enum class Due { kNothing, kAsk, kGiveUp };
  // kAsk once in a silence: the caller sends the question.
  Due check(Clock::time_point now) {
    if (timeout_ == Milliseconds::zero()) return Due::kNothing;
    if (now >= last_reply_ + timeout_) return Due::kGiveUp;
    if (asked_ || now < last_reply_ + timeout_ / 2) return Due::kNothing;
    asked_ = true;
    return Due::kAsk;
  }

  // When check() has something to say next, if the client stays silent.
  Clock::time_point next() const {
    if (timeout_ == Milliseconds::zero()) return Clock::time_point::max();
    return last_reply_ + (asked_ ? timeout_ : timeout_ / 2);
  }

 private:
  const Milliseconds timeout_;
  Clock::time_point last_reply_;
  bool asked_ = false;
};

// A setting's value as PostgreSQL reads it: "5000" (milliseconds), "500ms", "60s", "1min", "1h", "1d". kInvalid.
Result<ReplyTimer::Milliseconds> parse_duration(std::string_view text);

}  // namespace helium::safekeeper
