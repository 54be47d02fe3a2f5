#include "wire/wal_commit.h"

#include <fmt/format.h>

namespace helium::wire {
namespace {

// Stored on the wire.
enum class Tag : uint8_t {
  kGreeting = 'g',
  kGreetingReply = 'G',
  kVoteRequest = 'v',
  kVoteReply = 'V',
  kElected = 'e',
  kAppend = 'a',
  kAppendReply = 'A',
  kRefusal = 'R',
  kTellMembership = 'm',
  kMembershipTold = 'M',
};

void put_tag(ByteWriter& out, Tag tag) { out.u8(static_cast<uint8_t>(tag)); }

void put_history(ByteWriter& out, const TermHistory& history) {
  out.u32(static_cast<uint32_t>(history.size()));
  for (const TermSwitch& entry : history) {
    out.u64(entry.term);
    out.lsn(entry.lsn);
  }
}

// Empty and `in` failed, if the bytes are no history.
TermHistory get_history(ByteReader& in, bool& valid) {
  const uint32_t count = in.u32();
  TermHistory history;
  if (count > kMaxHistoryEntries || in.remaining() / 16 < count) {
    valid = false;
    return history;
  }
  history.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t term = in.u64();
    history.push_back({term, in.lsn()});
  }
  if (!is_valid_history(history)) valid = false;
  return history;
}

bool get_flag(ByteReader& in, bool& valid) {
  const uint8_t flag = in.u8();
  if (flag > 1) valid = false;
  return flag == 1;
}

struct Encoder {
  ByteWriter& out;

  void operator()(const Greeting& m) {
    put_tag(out, Tag::kGreeting);
    out.u32(m.version);
    out.u32(m.generation);
    out.raw(m.proposer.bytes.data(), 16);
    out.raw(m.timeline.tenant.bytes.data(), 16);
    out.raw(m.timeline.timeline.bytes.data(), 16);
    out.u32(m.pg_version);
    out.u64(m.system_id);
  }
  void operator()(const GreetingReply& m) {
    put_tag(out, Tag::kGreetingReply);
    out.u32(m.version);
    out.u32(m.generation);
    out.u64(m.safekeeper_id);
    out.u64(m.term);
    out.u32(m.pg_version);
    out.u64(m.system_id);
    out.lsn(m.timeline_start_lsn);
    out.u8(m.filling ? 1 : 0);
    put_membership(out, m.membership);
  }
  void operator()(const VoteRequest& m) {
    put_tag(out, Tag::kVoteRequest);
    out.u32(m.generation);
    out.u64(m.term);
    out.raw(m.proposer.bytes.data(), 16);
  }
  void operator()(const VoteReply& m) {
    put_tag(out, Tag::kVoteReply);
    out.u32(m.generation);
    out.u64(m.term);
    out.u8(m.granted ? 1 : 0);
    out.lsn(m.flush_lsn);
    out.lsn(m.commit_lsn);
    put_history(out, m.history);
  }
  void operator()(const Elected& m) {
    put_tag(out, Tag::kElected);
    out.u32(m.generation);
    out.u64(m.term);
    out.raw(m.proposer.bytes.data(), 16);
    put_history(out, m.history);
  }
  void operator()(const Append& m) {
    const auto header = encode_append_header(m);
    out.raw(header);
    out.raw(m.wal);
  }
  void operator()(const AppendReply& m) {
    put_tag(out, Tag::kAppendReply);
    out.u32(m.generation);
    out.u64(m.term);
    out.u64(m.log_term);
    out.lsn(m.flush_lsn);
    out.lsn(m.commit_lsn);
    out.u8(m.filling ? 1 : 0);
  }
  void operator()(const Refusal& m) {
    put_tag(out, Tag::kRefusal);
    out.u32(m.generation);
    out.u64(m.term);
    out.u16(static_cast<uint16_t>(m.code));
    out.text(m.text);
    put_membership(out, m.membership);
  }
  void operator()(const TellMembership& m) {
    put_tag(out, Tag::kTellMembership);
    put_membership(out, m.membership);
  }
  void operator()(const MembershipTold& m) {
    put_tag(out, Tag::kMembershipTold);
    out.u64(m.term);
    out.u8(m.filling ? 1 : 0);
    put_membership(out, m.membership);
  }
};

Result<Greeting> decode_greeting(ByteReader& in) {
  Greeting m;
  m.version = in.u32();
  if (!in.failed() && m.version > kWalCommitVersion) {
    return fail(ErrorCode::kTooNew, fmt::format("protocol version {}, we speak {}", m.version, kWalCommitVersion));
  }
  if (!in.failed() && m.version < kWalCommitVersion) {
    return fail(ErrorCode::kInvalid, fmt::format("protocol version {}, we speak {}: the compute is older than the "
                                                 "safekeeper, start it with the same release",
                                                 m.version, kWalCommitVersion));
  }
  m.generation = in.u32();
  m.proposer.bytes = in.array<16>();
  m.timeline.tenant.bytes = in.array<16>();
  m.timeline.timeline.bytes = in.array<16>();
  m.pg_version = in.u32();
  m.system_id = in.u64();
  return m;
}

GreetingReply decode_greeting_reply(ByteReader& in, bool& valid) {
  GreetingReply m;
  m.version = in.u32();
  m.generation = in.u32();
  m.safekeeper_id = in.u64();
  m.term = in.u64();
  m.pg_version = in.u32();
  m.system_id = in.u64();
  m.timeline_start_lsn = in.lsn();
  m.filling = get_flag(in, valid);
  m.membership = get_membership(in, valid);
  return m;
}

VoteRequest decode_vote_request(ByteReader& in) {
  VoteRequest m;
  m.generation = in.u32();
  m.term = in.u64();
  m.proposer.bytes = in.array<16>();
  return m;
}

VoteReply decode_vote_reply(ByteReader& in, bool& valid) {
  VoteReply m;
  m.generation = in.u32();
  m.term = in.u64();
  m.granted = get_flag(in, valid);
  m.flush_lsn = in.lsn();
  m.commit_lsn = in.lsn();
  m.history = get_history(in, valid);
  if (!m.history.empty() && m.history.back().lsn > m.flush_lsn) valid = false;
  return m;
}

Elected decode_elected(ByteReader& in, bool& valid) {
  Elected m;
  m.generation = in.u32();
  m.term = in.u64();
  m.proposer.bytes = in.array<16>();
  m.history = get_history(in, valid);
  if (m.history.empty() || m.history.back().term != m.term) valid = false;
  return m;
}

Append decode_append(ByteReader& in, bool& valid) {
  Append m;
  m.generation = in.u32();
  m.term = in.u64();
  m.wants_reply = get_flag(in, valid);
  m.start_lsn = in.lsn();
  m.commit_lsn = in.lsn();
  m.wal = in.raw(in.remaining());
  // Positions near the end of the number range would wrap.
  valid = valid && m.wal.size() <= kMaxAppendBytes && m.start_lsn.bytes() <= UINT64_MAX - kMaxAppendBytes;
  return m;
}

AppendReply decode_append_reply(ByteReader& in, bool& valid) {
  AppendReply m;
  m.generation = in.u32();
  m.term = in.u64();
  m.log_term = in.u64();
  m.flush_lsn = in.lsn();
  m.commit_lsn = in.lsn();
  m.filling = get_flag(in, valid);
  return m;
}

Refusal decode_refusal(ByteReader& in, bool& valid) {
  Refusal m;
  m.generation = in.u32();
  m.term = in.u64();
  m.code = static_cast<ErrorCode>(in.u16());
  m.text = in.text();
  m.membership = get_membership(in, valid);
  return m;
}

MembershipTold decode_membership_told(ByteReader& in, bool& valid) {
  MembershipTold m;
  m.term = in.u64();
  m.filling = get_flag(in, valid);
  m.membership = get_membership(in, valid);
  return m;
}

std::unexpected<Error> malformed(uint8_t tag) {
  return fail(ErrorCode::kCorrupt, fmt::format("malformed WAL commit message, tag 0x{:02x}", tag));
}

}  // namespace

Bytes encode(const ProposerMessage& message) {
  ByteWriter out;
  std::visit(Encoder{out}, message);
  return out.take();
}

Bytes encode(const AcceptorMessage& message) {
  ByteWriter out;
  std::visit(Encoder{out}, message);
  return out.take();
}

std::array<std::byte, kAppendHeaderSize> encode_append_header(const Append& append) {
  ByteWriter out;
  put_tag(out, Tag::kAppend);
  out.u32(append.generation);
  out.u64(append.term);
  out.u8(append.wants_reply ? 1 : 0);
  out.lsn(append.start_lsn);
  out.lsn(append.commit_lsn);
  CHECK(out.size() == kAppendHeaderSize);
  std::array<std::byte, kAppendHeaderSize> header;
  std::memcpy(header.data(), out.view().data(), header.size());
  return header;
}

Result<ProposerMessage> decode_proposer_message(ByteView bytes) {
  ByteReader in(bytes);
  const uint8_t tag = in.u8();
  bool valid = true;
  ProposerMessage message;
  switch (static_cast<Tag>(tag)) {
    case Tag::kGreeting: {
      HELIUM_ASSIGN(message, decode_greeting(in));
      break;
    }
    case Tag::kVoteRequest: message = decode_vote_request(in); break;
    case Tag::kElected: message = decode_elected(in, valid); break;
    case Tag::kAppend: message = decode_append(in, valid); break;
    case Tag::kTellMembership: message = TellMembership{get_membership(in, valid)}; break;
    default: return malformed(tag);
  }
  if (!valid || !in.done()) return malformed(tag);
  return message;
}

Result<AcceptorMessage> decode_acceptor_message(ByteView bytes) {
  ByteReader in(bytes);
  const uint8_t tag = in.u8();
  bool valid = true;
  AcceptorMessage message;
  switch (static_cast<Tag>(tag)) {
    case Tag::kGreetingReply: message = decode_greeting_reply(in, valid); break;
    case Tag::kVoteReply: message = decode_vote_reply(in, valid); break;
    case Tag::kAppendReply: message = decode_append_reply(in, valid); break;
    case Tag::kRefusal: message = decode_refusal(in, valid); break;
    case Tag::kMembershipTold: message = decode_membership_told(in, valid); break;
    default: return malformed(tag);
  }
  if (!valid || !in.done()) return malformed(tag);
  return message;
}

}  // namespace helium::wire
