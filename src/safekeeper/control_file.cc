#include "safekeeper/control_file.h"

#include <fmt/format.h>

#include "base/crc32c.h"
#include "base/pg_version.h"

namespace helium::safekeeper {
namespace {

constexpr size_t kHeaderSize = 16;
constexpr size_t kMaxObjectNameSize = 1024;

Bytes encode_payload(const ControlFile& control) {
  ByteWriter out;
  out.u64(control.safekeeper_id);
  out.raw(control.id.tenant.bytes.data(), 16);
  out.raw(control.id.timeline.bytes.data(), 16);
  out.u32(control.pg_version);
  out.u64(control.system_id);
  const AcceptorState& state = control.acceptor;
  wire::put_membership(out, state.membership);
  out.u32(state.promised_generation);
  out.raw(state.changer.bytes.data(), 16);
  out.u8(state.filling ? 1 : 0);
  out.u64(state.term);
  out.raw(state.voted_for.bytes.data(), 16);
  out.u32(static_cast<uint32_t>(state.history.size()));
  for (const TermSwitch& entry : state.history) {
    out.u64(entry.term);
    out.lsn(entry.lsn);
  }
  out.lsn(state.start_lsn);
  out.lsn(state.commit_lsn);
  out.lsn(control.flushed_lsn);
  out.lsn(control.verify_lsn);
  out.lsn(control.local_start_lsn);
  out.lsn(control.backup_lsn);
  out.lsn(control.remote_consistent_lsn);
  out.u8(control.evicted ? 1 : 0);
  out.text(control.partial_object);
  out.u8(control.clean_close ? 1 : 0);
  return out.take();
}

bool get_flag(ByteReader& in, bool& valid) {
  const uint8_t flag = in.u8();
  if (flag > 1) valid = false;
  return flag == 1;
}

// Version 1: one list of members, then their generation; nothing about a change.
void get_membership_v1(ByteReader& in, AcceptorState& state, bool& valid) {
  const uint32_t count = in.u32();
  if (count > wire::kMaxMembers) valid = false;
  for (uint32_t i = 0; valid && i < count && !in.failed(); ++i) {
    wire::Member member;
    member.id = in.u64();
    member.host = in.text();
    member.pg_port = in.u16();
    member.http_port = in.u16();
    state.membership.members.push_back(std::move(member));
  }
  state.membership.generation = in.u32();
}

void get_membership_v2(ByteReader& in, AcceptorState& state, bool& valid) {
  state.membership = wire::get_membership(in, valid);
  state.promised_generation = in.u32();
  state.changer.bytes = in.array<16>();
  state.filling = get_flag(in, valid);
}

void get_acceptor(ByteReader& in, AcceptorState& state, bool& valid) {
  state.term = in.u64();
  state.voted_for.bytes = in.array<16>();
  const uint32_t entries = in.u32();
  if (entries > in.remaining() / 16) valid = false;
  for (uint32_t i = 0; valid && i < entries; ++i) {
    const uint64_t term = in.u64();
    state.history.push_back({term, in.lsn()});
  }
  state.start_lsn = in.lsn();
  state.commit_lsn = in.lsn();
}

void get_places_v2(ByteReader& in, ControlFile& control, bool& valid) {
  control.local_start_lsn = in.lsn();
  control.backup_lsn = in.lsn();
  control.remote_consistent_lsn = in.lsn();
  control.evicted = get_flag(in, valid);
  control.partial_object = in.text();
  control.clean_close = get_flag(in, valid);
  if (control.partial_object.size() > kMaxObjectNameSize) valid = false;
}

bool is_sane(const ControlFile& control) {
  const AcceptorState& state = control.acceptor;
  return wire::is_valid_membership(state.membership) && is_valid_history(state.history) &&
         state.start_lsn <= state.commit_lsn && (state.history.empty() || state.history.back().term <= state.term) &&
         (state.history.empty() || state.history.front().lsn >= state.start_lsn) &&
         state.start_lsn <= control.verify_lsn && control.verify_lsn <= control.flushed_lsn &&
         state.commit_lsn <= control.flushed_lsn && state.start_lsn <= control.local_start_lsn &&
         control.local_start_lsn <= control.flushed_lsn;
}

Result<ControlFile> decode_payload(ByteView payload, uint32_t version) {
  ByteReader in(payload);
  ControlFile control;
  bool valid = true;
  control.safekeeper_id = in.u64();
  control.id.tenant.bytes = in.array<16>();
  control.id.timeline.bytes = in.array<16>();
  control.pg_version = in.u32();
  control.system_id = in.u64();
  if (version == 1) {
    get_membership_v1(in, control.acceptor, valid);
  } else {
    get_membership_v2(in, control.acceptor, valid);
  }
  get_acceptor(in, control.acceptor, valid);
  control.flushed_lsn = in.lsn();
  control.verify_lsn = in.lsn();
  control.local_start_lsn = control.acceptor.start_lsn;
  if (version >= 2) get_places_v2(in, control, valid);
  if (!in.done()) return fail(ErrorCode::kCorrupt, "its fields do not fill it");
  if (!is_supported_pg_version(control.pg_version)) {
    return fail(ErrorCode::kInvalid, fmt::format("it is of PostgreSQL {}: {} to {} are supported", control.pg_version,
                                                 kOldestPgVersion, kNewestPgVersion));
  }
  if (!valid || !is_sane(control)) return fail(ErrorCode::kCorrupt, "its fields contradict each other");
  return control;
}

}  // namespace

Bytes encode_control_file(const ControlFile& control) {
  const Bytes payload = encode_payload(control);
  ByteWriter out;
  out.u32(kControlMagic);
  out.u32(kControlFormatVersion);
  out.u32(static_cast<uint32_t>(payload.size()));
  out.u32(crc32c(payload));
  out.raw(payload);
  return out.take();
}

Result<ControlFile> decode_control_file(ByteView file) {
  if (file.size() < kHeaderSize) return fail(ErrorCode::kTruncated, "control file: shorter than its header");
  ByteReader in(file);
  if (in.u32() != kControlMagic) return fail(ErrorCode::kCorrupt, "control file: wrong magic");
  const uint32_t version = in.u32();
  const uint32_t size = in.u32();
  const uint32_t crc = in.u32();
  if (version > kControlFormatVersion) {
    return fail(ErrorCode::kTooNew, fmt::format("control file: format version {}, we know {}", version,
                                                kControlFormatVersion));
  }
  if (version == 0) return fail(ErrorCode::kCorrupt, "control file: format version 0");
  if (in.remaining() < size) return fail(ErrorCode::kTruncated, "control file: shorter than it says");
  if (in.remaining() > size) return fail(ErrorCode::kCorrupt, "control file: longer than it says");
  const ByteView payload = in.raw(size);
  if (crc32c(payload) != crc) return fail(ErrorCode::kCorrupt, "control file: checksum mismatch");
  Result<ControlFile> control = decode_payload(payload, version);
  if (!control) return fail(std::move(control).error().context("control file"));
  return control;
}

}  // namespace helium::safekeeper
