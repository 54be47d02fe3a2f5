// Membership: which safekeepers form a timeline's quorum, by generation.
//
// A generation is a ballot of the change protocol (docs/protocols/membership.md) and names one membership for ever: a
// higher one replaces a lower one at every acceptor that hears of it. Three shapes:
//   stable  members                   a majority of them decides
//   joint   members and new_members   a majority of each decides: on the way from the first to the second
//   stable  members and previous      as stable; `previous` is the other half of the joint membership before it. Who
//                                     changes it again asks them too, unless he finds it at a majority of its members
//
// Stored in control files and sent in messages, little-endian: u32 generation, then three lists (members, new_members,
// previous): u32 count, then each: u64 id, u32 size + host, u16 pg_port, u16 http_port.
// The messages of a change travel as JSON over the safekeeper's management API.
// Plain values, pure functions. Errors of get_membership: the reader has failed, or `valid` is cleared.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "wire/term_history.h"

namespace helium::wire {

inline constexpr size_t kMaxMembers = 100;       // in one list
inline constexpr size_t kMaxMemberHostSize = 255;

struct Member {
  uint64_t id = 0;  // the safekeeper's number; never used by another one
  std::string host;
  uint16_t pg_port = 0;
  uint16_t http_port = 0;
  friend bool operator==(const Member&, const Member&) = default;
};

struct Membership {
  uint32_t generation = 1;
  std::vector<Member> members;
  std::vector<Member> new_members;
  std::vector<Member> previous;

  bool is_joint() const { return !new_members.empty(); }
  friend bool operator==(const Membership&, const Membership&) = default;
};

// From 1 on; members that are there, each once in a list; not joint with a previous half.
bool is_valid_membership(const Membership& membership);

// Null if there is none.
const Member* find_member(const std::vector<Member>& list, uint64_t id);
inline bool is_in(const std::vector<Member>& list, uint64_t id) { return find_member(list, id) != nullptr; }
// In members or new_members: its WAL counts (unless it is still being filled).
inline bool is_member(const Membership& membership, uint64_t id) {
  return is_in(membership.members, id) || is_in(membership.new_members, id);
}
// Members and new members, each once.
std::vector<Member> all_members(const Membership& membership);

void put_membership(ByteWriter& out, const Membership& membership);
Membership get_membership(ByteReader& in, bool& valid);

// "generation 3: 1,2,3 to 1,2,4"
std::string to_string(const Membership& membership);

// -- messages between a changer and an acceptor ------------------------------------------------------------------------

// Refuse changes of lower generations from now on.
struct PrepareRequest {
  uint32_t generation = 0;
  ChangerId changer;
};

// This membership is in force from now on.
struct AcceptRequest {
  Membership membership;
  ChangerId changer;  // unset: passed on by a proposer
};

// To an acceptor that shall count: it holds at least this term and this log (or says that it does not, yet).
struct FillRequest {
  uint32_t generation = 0;
  uint64_t term = 0;
  uint64_t log_term = 0;
  Lsn flush_lsn;
};

// What an acceptor answers to each of them: how it is afterwards, durably. The changer reads off whether it was done.
struct MembershipReply {
  uint64_t safekeeper_id = 0;
  Membership membership;
  uint32_t promised_generation = 0;
  ChangerId changer;
  bool filling = false;
  uint64_t term = 0;
  uint64_t log_term = 0;
  Lsn flush_lsn;
  Lsn commit_lsn;
  TermHistory history;  // cut at flush_lsn
};

}  // namespace helium::wire
