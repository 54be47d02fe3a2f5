#include "safekeeper/control_file.h"

#include <fmt/format.h>

#include "base/crc32c.h"

namespace helium::safekeeper {
namespace {

constexpr size_t kHeaderSize = 16;
constexpr size_t kMaxMembers = 1000;

Bytes encode_payload(const ControlFile& control) {
  ByteWriter out;
  out.u64(control.safekeeper_id);
  out.raw(control.id.tenant.bytes.data(), 16);
  out.raw(control.id.timeline.bytes.data(), 16);
  out.u32(control.pg_version);
  out.u64(control.system_id);
  out.u32(static_cast<uint32_t>(control.members.size()));
  for (const Member& member : control.members) {
    out.u64(member.id);
    out.text(member.host);
    out.u16(member.pg_port);
    out.u16(member.http_port);
  }
  const AcceptorState& state = control.acceptor;
  out.u32(state.generation);
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
  return out.take();
}

Result<ControlFile> decode_payload(ByteView payload) {
  ByteReader in(payload);
  ControlFile control;
  control.safekeeper_id = in.u64();
  control.id.tenant.bytes = in.array<16>();
  control.id.timeline.bytes = in.array<16>();
  control.pg_version = in.u32();
  control.system_id = in.u64();
  const uint32_t members = in.u32();
  if (members > kMaxMembers) return fail(ErrorCode::kCorrupt, "too many members");
  for (uint32_t i = 0; i < members && !in.failed(); ++i) {
    Member member;
    member.id = in.u64();
    member.host = in.text();
    member.pg_port = in.u16();
    member.http_port = in.u16();
    control.members.push_back(std::move(member));
  }
  AcceptorState& state = control.acceptor;
  state.generation = in.u32();
  state.term = in.u64();
  state.voted_for.bytes = in.array<16>();
  const uint32_t entries = in.u32();
  if (entries > in.remaining() / 16) return fail(ErrorCode::kCorrupt, "a term history longer than the file");
  for (uint32_t i = 0; i < entries; ++i) {
    const uint64_t term = in.u64();
    state.history.push_back({term, in.lsn()});
  }
  state.start_lsn = in.lsn();
  state.commit_lsn = in.lsn();
  control.flushed_lsn = in.lsn();
  control.verify_lsn = in.lsn();
  if (!in.done()) return fail(ErrorCode::kCorrupt, "its fields do not fill it");
  const bool sane = is_valid_history(state.history) && state.start_lsn <= state.commit_lsn &&
                    (state.history.empty() || state.history.back().term <= state.term) &&
                    (state.history.empty() || state.history.front().lsn >= state.start_lsn) &&
                    state.start_lsn <= control.verify_lsn && control.verify_lsn <= control.flushed_lsn &&
                    state.commit_lsn <= control.flushed_lsn;
  if (!sane) return fail(ErrorCode::kCorrupt, "its fields contradict each other");
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
  Result<ControlFile> control = decode_payload(payload);
  if (!control) return fail(std::move(control).error().context("control file"));
  return control;
}

}  // namespace helium::safekeeper
