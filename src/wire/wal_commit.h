// The WAL commit protocol's messages: proposer (compute) and acceptor (safekeeper), inside START_WAL_PUSH's CopyBoth.
//
// One message per CopyData, integers little-endian; the first byte is the tag. Every message carries the membership
// generation, every answer the acceptor's current term, so that a late one is void. Sizes and the worked hex dump:
// docs/protocols/wal_commit.md. Plain values, pure functions.
//
//   tag  message        from      payload behind the tag
//   'g'  Greeting       proposer  u32 version, u32 generation, proposer 16, tenant 16, timeline 16, u32 pg_version,
//                                 u64 system_id
//   'G'  GreetingReply  acceptor  u32 version, u32 generation, u64 safekeeper_id, u64 term, u32 pg_version,
//                                 u64 system_id, u64 timeline_start_lsn, u8 filling, membership
//   'v'  VoteRequest    proposer  u32 generation, u64 term, proposer 16
//   'V'  VoteReply      acceptor  u32 generation, u64 term, u8 granted, u64 flush_lsn, u64 commit_lsn,
//                                 u32 n, n x {u64 term, u64 lsn}
//   'e'  Elected        proposer  u32 generation, u64 term, proposer 16, u32 n, n x {u64 term, u64 lsn}
//   'a'  Append         proposer  u32 generation, u64 term, u8 wants_reply, u64 start_lsn, u64 commit_lsn, WAL bytes
//   'A'  AppendReply    acceptor  u32 generation, u64 term, u64 log_term, u64 flush_lsn, u64 commit_lsn, u8 filling
//   'R'  Refusal        acceptor  u32 generation, u64 term, u16 code (ErrorCode), u32 size, text, membership
//   'm'  TellMembership proposer  membership
//   'M'  MembershipTold acceptor  u64 term, u8 filling, membership
//
// A membership: wire/membership.h. An acceptor says which one it has when greeted, told and when it refuses.
//
// Errors of decode: kCorrupt for anything that encode would not have written (kTooNew: a greeting of a later version;
// kInvalid: of an earlier one).

#pragma once

#include <string>
#include <variant>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "wire/membership.h"
#include "wire/term_history.h"

namespace helium::wire {

inline constexpr uint32_t kWalCommitVersion = 2;
inline constexpr size_t kAppendHeaderSize = 1 + 4 + 8 + 1 + 8 + 8;
static_assert(kAppendHeaderSize == 30, "on the wire since protocol version 1");
inline constexpr size_t kMaxAppendBytes = 1024 * 1024;   // WAL bytes in one Append
inline constexpr size_t kMaxHistoryEntries = 1'000'000;

struct Greeting {
  uint32_t version = kWalCommitVersion;
  uint32_t generation = 0;  // the newest that the proposer knows; 0: none
  ProposerId proposer;
  TenantTimelineId timeline;
  uint32_t pg_version = 0;
  uint64_t system_id = 0;
  friend bool operator==(const Greeting&, const Greeting&) = default;
};

struct GreetingReply {
  uint32_t version = kWalCommitVersion;
  uint32_t generation = 0;
  uint64_t safekeeper_id = 0;
  uint64_t term = 0;
  uint32_t pg_version = 0;
  uint64_t system_id = 0;
  Lsn timeline_start_lsn;
  bool filling = false;
  Membership membership;  // in force at the acceptor
  friend bool operator==(const GreetingReply&, const GreetingReply&) = default;
};

struct VoteRequest {
  uint32_t generation = 0;
  uint64_t term = 0;
  ProposerId proposer;
  friend bool operator==(const VoteRequest&, const VoteRequest&) = default;
};

// history is cut at flush_lsn (rule 1).
struct VoteReply {
  uint32_t generation = 0;
  uint64_t term = 0;  // the acceptor's term after the request
  bool granted = false;
  Lsn flush_lsn;
  Lsn commit_lsn;
  TermHistory history;
  friend bool operator==(const VoteReply&, const VoteReply&) = default;
};

// The proposer of `term` has won; history ends with (term, X).
struct Elected {
  uint32_t generation = 0;
  uint64_t term = 0;
  ProposerId proposer;
  TermHistory history;
  friend bool operator==(const Elected&, const Elected&) = default;
};

// WAL bytes at start_lsn; none: a heartbeat, or news of commit_lsn. commit_lsn was computed in `term`.
struct Append {
  uint32_t generation = 0;
  uint64_t term = 0;
  bool wants_reply = true;
  Lsn start_lsn;
  Lsn commit_lsn;
  ByteView wal;  // points into the decoded buffer
};

struct AppendReply {
  uint32_t generation = 0;
  uint64_t term = 0;      // the acceptor's current term; higher than the proposer's: it is fenced
  uint64_t log_term = 0;  // the term that owns flush_lsn
  Lsn flush_lsn;
  Lsn commit_lsn;
  bool filling = false;  // a newcomer that does not count yet
  friend bool operator==(const AppendReply&, const AppendReply&) = default;
};

// The acceptor does not do what was asked, says why, and closes the connection.
struct Refusal {
  uint32_t generation = 0;
  uint64_t term = 0;
  ErrorCode code = ErrorCode::kInternal;
  std::string text;
  Membership membership;  // in force at the acceptor
  friend bool operator==(const Refusal&, const Refusal&) = default;
};

// The acceptor lags: a membership of a higher generation than its own.
struct TellMembership {
  Membership membership;
  friend bool operator==(const TellMembership&, const TellMembership&) = default;
};

// What the acceptor has now: that one, or its own, if a later change has been promised.
struct MembershipTold {
  uint64_t term = 0;
  bool filling = false;
  Membership membership;
  friend bool operator==(const MembershipTold&, const MembershipTold&) = default;
};

using ProposerMessage = std::variant<Greeting, VoteRequest, Elected, Append, TellMembership>;
using AcceptorMessage = std::variant<GreetingReply, VoteReply, AppendReply, Refusal, MembershipTold>;

Bytes encode(const ProposerMessage& message);
Bytes encode(const AcceptorMessage& message);
// The fixed part of an Append, to be sent in front of its WAL without copying that.
std::array<std::byte, kAppendHeaderSize> encode_append_header(const Append& append);

Result<ProposerMessage> decode_proposer_message(ByteView bytes);
Result<AcceptorMessage> decode_acceptor_message(ByteView bytes);

}  // namespace helium::wire
