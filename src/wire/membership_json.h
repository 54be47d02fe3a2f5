// The messages of a membership change as JSON texts, as the safekeeper's management API and its clients exchange them.
//
//   membership   {"generation": 2, "members": [{"id", "host", "pg_port", "http_port"}], "new_members": [], "previous": []}
//   prepare      {"generation", "changer": 32 hex digits}
//   accept       {"membership", "changer"}; no changer: passed on by somebody
//   fill         {"generation", "term", "log_term", "flush_lsn": "0/1600000"}
//   reply        {"safekeeper_id", "membership", "promised_generation", "changer", "filling", "term", "log_term",
//                 "flush_lsn", "commit_lsn", "term_history": [{"term", "lsn"}]}; other fields are passed over
//
// Errors of decode: kInvalid, naming what is missing or malformed. Pure. docs/protocols/membership.md.

#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/membership.h"

namespace helium::wire {

std::string encode_json(const Membership& membership);
std::string encode_json(const PrepareRequest& request);
std::string encode_json(const AcceptRequest& request);
std::string encode_json(const FillRequest& request);
std::string encode_json(const MembershipReply& reply);

Result<Membership> decode_membership_json(std::string_view text);
Result<PrepareRequest> decode_prepare_json(std::string_view text);
Result<AcceptRequest> decode_accept_json(std::string_view text);
Result<FillRequest> decode_fill_json(std::string_view text);
Result<MembershipReply> decode_membership_reply_json(std::string_view text);

}  // namespace helium::wire
