#include "wire/page_service.h"

#include <algorithm>

#include "base/check.h"

namespace helium::wire {
namespace {

enum class OwnerKind : uint8_t { kRel = 1, kSlru = 2 };

// A frame under construction: the length is patched in at the end.
class FrameWriter : public ByteWriter {
 public:
  explicit FrameWriter(PageMessageType type) {
    u32(0);
    u8(static_cast<uint8_t>(type));
  }
  Bytes finish() {
    const size_t length = size() - sizeof(uint32_t);
    CHECK(length <= kMaxFrameLength);
    patch_u32(0, static_cast<uint32_t>(length));
    return take();
  }

  void read_at(const ReadAt& at) {
    lsn(at.read_lsn);
    lsn(at.not_modified_since);
  }
  void rel(const pg::RelTag& rel) {
    u32(rel.spcnode);
    u32(rel.dbnode);
    u32(rel.relnode);
    u8(static_cast<uint8_t>(rel.forknum));
  }
  void segment(const pg::SlruSegment& segment) {
    u8(static_cast<uint8_t>(segment.kind));
    u32(segment.segno);
  }
  void slru_sizes(const std::vector<SlruSize>& segments) {
    u32(static_cast<uint32_t>(segments.size()));
    for (const SlruSize& size : segments) {
      segment(size.segment);
      u32(size.npages);
    }
  }
};

class FrameReader : public ByteReader {
 public:
  using ByteReader::ByteReader;

  ReadAt read_at() {
    ReadAt at;
    at.read_lsn = lsn();
    at.not_modified_since = lsn();
    return at;
  }
  pg::RelTag rel() {
    pg::RelTag rel;
    rel.spcnode = u32();
    rel.dbnode = u32();
    rel.relnode = u32();
    const uint8_t fork = u8();
    refuse_unless(fork < pg::kForkCount);
    rel.forknum = static_cast<pg::Fork>(fork);
    return rel;
  }
  pg::SlruSegment segment() {
    pg::SlruSegment segment;
    const uint8_t kind = u8();
    refuse_unless(kind < pg::kSlruKindCount);
    segment.kind = static_cast<pg::SlruKind>(kind);
    segment.segno = u32();
    return segment;
  }
  bool flag() {
    const uint8_t value = u8();
    refuse_unless(value <= 1);
    return value == 1;
  }
  // A count of elements that take at least `least` bytes each: never more than the frame can hold.
  size_t count(size_t least) {
    const uint32_t n = u32();
    refuse_unless(n <= remaining() / least);
    return ok() ? n : 0;
  }
  std::vector<SlruSize> slru_sizes() {
    std::vector<SlruSize> sizes(count(1 + 4 + 4));
    for (SlruSize& size : sizes) {
      size.segment = segment();
      size.npages = u32();
    }
    return sizes;
  }
  void refuse_unless(bool condition) { refused_ |= !condition; }
  bool ok() const { return !refused_ && !failed(); }
  bool complete() const { return !refused_ && done(); }

 private:
  bool refused_ = false;
};

std::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::kCorrupt, "decode page service message: malformed " + std::string(what));
}

Result<ClientMessage> decode_hello(FrameReader& in) {
  if (in.u32() != kPageServiceMagic)
    return fail(ErrorCode::kCorrupt, "decode page service message: not a Helium page service client (wrong magic)");
  if (const uint16_t version = in.u16(); version != kPageServiceVersion)
    return fail(ErrorCode::kTooNew, "decode page service message: the client speaks protocol version " +
                                        std::to_string(version) + ", we speak " +
                                        std::to_string(kPageServiceVersion));
  Hello message;
  message.timeline.tenant.bytes = in.array<16>();
  message.timeline.timeline.bytes = in.array<16>();
  message.term = in.u64();
  message.primary = in.flag();
  if (!in.complete()) return malformed("Hello");
  return message;
}

Result<ClientMessage> decode_rel_info_request(FrameReader& in) {
  RelInfoRequest message;
  message.request_id = in.u64();
  message.spcnode = in.u32();
  message.dbnode = in.u32();
  message.relnode = in.u32();
  message.at = in.read_at();
  if (!in.complete()) return malformed("RelInfoRequest");
  return message;
}

Result<ClientMessage> decode_list_rels_request(FrameReader& in) {
  ListRelsRequest message;
  message.request_id = in.u64();
  message.spcnode = in.u32();
  message.dbnode = in.u32();
  message.at = in.read_at();
  if (!in.complete()) return malformed("ListRelsRequest");
  return message;
}

Result<ClientMessage> decode_get_pages_request(FrameReader& in) {
  GetPagesRequest message;
  message.request_id = in.u64();
  const uint8_t kind = in.u8();
  if (kind == static_cast<uint8_t>(OwnerKind::kRel))
    message.owner = in.rel();
  else if (kind == static_cast<uint8_t>(OwnerKind::kSlru))
    message.owner = in.segment();
  else
    return malformed("GetPagesRequest: unknown kind of pages");
  message.at = in.read_at();
  message.blknos.resize(in.count(sizeof(uint32_t)));
  for (uint32_t& blkno : message.blknos) blkno = in.u32();
  if (!in.complete() || message.blknos.empty() || message.blknos.size() > kMaxPagesPerRequest)
    return malformed("GetPagesRequest");
  return message;
}

Result<ClientMessage> decode_list_slru_request(FrameReader& in) {
  ListSlruRequest message;
  message.request_id = in.u64();
  message.at = in.read_at();
  if (!in.complete()) return malformed("ListSlruRequest");
  return message;
}

Result<ClientMessage> decode_bootstrap_request(FrameReader& in) {
  BootstrapRequest message;
  message.request_id = in.u64();
  message.lsn = in.lsn();
  message.wal_source = in.text();
  if (!in.complete()) return malformed("BootstrapRequest");
  return message;
}

Result<ServerMessage> decode_hello_ack(FrameReader& in) {
  HelloAck message;
  message.pg_version = in.u32();
  message.last_record_lsn = in.lsn();
  if (!in.complete()) return malformed("HelloAck");
  return message;
}

Result<ServerMessage> decode_error_reply(FrameReader& in) {
  ErrorReply message;
  message.request_id = in.u64();
  message.error.code = static_cast<ErrorCode>(in.u16());
  message.error.message = in.text();
  if (!in.complete()) return malformed("ErrorReply");
  return message;
}

Result<ServerMessage> decode_rel_info_reply(FrameReader& in) {
  RelInfoReply message;
  message.request_id = in.u64();
  for (std::optional<uint32_t>& nblocks : message.nblocks) {
    const bool exists = in.flag();
    const uint32_t size = in.u32();
    if (exists) nblocks = size;
  }
  if (!in.complete()) return malformed("RelInfoReply");
  return message;
}

Result<ServerMessage> decode_list_rels_reply(FrameReader& in) {
  ListRelsReply message;
  message.request_id = in.u64();
  message.rels.resize(in.count(4 * 4 + 1));
  for (RelSize& size : message.rels) {
    size.rel = in.rel();
    size.nblocks = in.u32();
  }
  if (!in.complete()) return malformed("ListRelsReply");
  return message;
}

Result<ServerMessage> decode_get_pages_reply(FrameReader& in) {
  GetPagesReply message;
  message.request_id = in.u64();
  message.pages.resize(in.count(2));
  if (message.pages.size() > kMaxPagesPerRequest) return malformed("GetPagesReply");
  for (PageAnswer& answer : message.pages) {
    const uint16_t code = in.u16();
    if (code == 0)
      answer.page = in.raw(kPageSize);
    else
      answer.error = Error{static_cast<ErrorCode>(code), in.text()};
  }
  if (!in.complete()) return malformed("GetPagesReply");
  return message;
}

Result<ServerMessage> decode_list_slru_reply(FrameReader& in) {
  ListSlruReply message;
  message.request_id = in.u64();
  message.segments = in.slru_sizes();
  if (!in.complete()) return malformed("ListSlruReply");
  return message;
}

// The compute writes these files: a path must stay below its data directory.
bool is_inner_path(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.find('\0') != path.npos) return false;
  size_t at = 0;
  while (at <= path.size()) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = end + 1;
  }
  return true;
}

Result<ServerMessage> decode_bootstrap_reply(FrameReader& in) {
  BootstrapReply message;
  message.request_id = in.u64();
  message.pg_version = in.u32();
  message.system_identifier = in.u64();
  message.lsn = in.lsn();
  message.prev_record_start = in.lsn();
  const ByteView checkpoint = in.blob();
  const ByteView control_file = in.blob();
  message.control_file.assign(control_file.begin(), control_file.end());
  message.folders.resize(in.count(4));
  for (std::string& folder : message.folders) {
    folder = in.text();
    in.refuse_unless(is_inner_path(folder));
  }
  message.files.resize(in.count(4 + 4 + 4));
  for (BootstrapFile& file : message.files) {
    file.path = in.text();
    file.mode = in.u32();
    const ByteView content = in.blob();
    file.content.assign(content.begin(), content.end());
    in.refuse_unless(is_inner_path(file.path));
  }
  message.slru_segments = in.slru_sizes();
  message.is_branch = in.flag();
  if (!in.complete() || message.pg_version < 14 || message.pg_version > 18) return malformed("BootstrapReply");
  HELIUM_ASSIGN(message.checkpoint, pg::decode_checkpoint(checkpoint, static_cast<int>(message.pg_version)));
  return message;
}

}  // namespace

Bytes encode(const Hello& message) {
  FrameWriter out(PageMessageType::kHello);
  out.u32(kPageServiceMagic);
  out.u16(kPageServiceVersion);
  out.raw(message.timeline.tenant.bytes.data(), 16);
  out.raw(message.timeline.timeline.bytes.data(), 16);
  out.u64(message.term);
  out.u8(message.primary);
  return out.finish();
}

Bytes encode(const HelloAck& message) {
  FrameWriter out(PageMessageType::kHelloAck);
  out.u32(message.pg_version);
  out.lsn(message.last_record_lsn);
  return out.finish();
}

Bytes encode(const ErrorReply& message) {
  FrameWriter out(PageMessageType::kErrorReply);
  out.u64(message.request_id);
  out.u16(static_cast<uint16_t>(message.error.code));
  out.text(message.error.message);
  return out.finish();
}

Bytes encode(const RelInfoRequest& message) {
  FrameWriter out(PageMessageType::kRelInfoRequest);
  out.u64(message.request_id);
  out.u32(message.spcnode);
  out.u32(message.dbnode);
  out.u32(message.relnode);
  out.read_at(message.at);
  return out.finish();
}

Bytes encode(const ListRelsRequest& message) {
  FrameWriter out(PageMessageType::kListRelsRequest);
  out.u64(message.request_id);
  out.u32(message.spcnode);
  out.u32(message.dbnode);
  out.read_at(message.at);
  return out.finish();
}

Bytes encode(const GetPagesRequest& message) {
  CHECK(!message.blknos.empty());
  CHECK(message.blknos.size() <= kMaxPagesPerRequest);
  FrameWriter out(PageMessageType::kGetPagesRequest);
  out.u64(message.request_id);
  if (const auto* rel = std::get_if<pg::RelTag>(&message.owner)) {
    out.u8(static_cast<uint8_t>(OwnerKind::kRel));
    out.rel(*rel);
  } else {
    out.u8(static_cast<uint8_t>(OwnerKind::kSlru));
    out.segment(std::get<pg::SlruSegment>(message.owner));
  }
  out.read_at(message.at);
  out.u32(static_cast<uint32_t>(message.blknos.size()));
  for (const uint32_t blkno : message.blknos) out.u32(blkno);
  return out.finish();
}

Bytes encode(const ListSlruRequest& message) {
  FrameWriter out(PageMessageType::kListSlruRequest);
  out.u64(message.request_id);
  out.read_at(message.at);
  return out.finish();
}

Bytes encode(const BootstrapRequest& message) {
  FrameWriter out(PageMessageType::kBootstrapRequest);
  out.u64(message.request_id);
  out.lsn(message.lsn);
  out.text(message.wal_source);
  return out.finish();
}

Bytes encode(const RelInfoReply& message) {
  FrameWriter out(PageMessageType::kRelInfoReply);
  out.u64(message.request_id);
  for (const std::optional<uint32_t>& nblocks : message.nblocks) {
    out.u8(nblocks.has_value());
    out.u32(nblocks.value_or(0));
  }
  return out.finish();
}

Bytes encode(const ListRelsReply& message) {
  FrameWriter out(PageMessageType::kListRelsReply);
  out.u64(message.request_id);
  out.u32(static_cast<uint32_t>(message.rels.size()));
  for (const RelSize& size : message.rels) {
    out.rel(size.rel);
    out.u32(size.nblocks);
  }
  return out.finish();
}

Bytes encode(const GetPagesReply& message) {
  FrameWriter out(PageMessageType::kGetPagesReply);
  out.u64(message.request_id);
  out.u32(static_cast<uint32_t>(message.pages.size()));
  for (const PageAnswer& answer : message.pages) {
    if (answer.error) {
      out.u16(static_cast<uint16_t>(answer.error->code));
      out.text(answer.error->message);
    } else {
      CHECK(answer.page.size() == kPageSize);
      out.u16(0);
      out.raw(answer.page);
    }
  }
  return out.finish();
}

Bytes encode(const ListSlruReply& message) {
  FrameWriter out(PageMessageType::kListSlruReply);
  out.u64(message.request_id);
  out.slru_sizes(message.segments);
  return out.finish();
}

Bytes encode(const BootstrapReply& message) {
  FrameWriter out(PageMessageType::kBootstrapReply);
  out.u64(message.request_id);
  out.u32(message.pg_version);
  out.u64(message.system_identifier);
  out.lsn(message.lsn);
  out.lsn(message.prev_record_start);
  out.blob(pg::encode_checkpoint(message.checkpoint, static_cast<int>(message.pg_version)));
  out.blob(message.control_file);
  out.u32(static_cast<uint32_t>(message.folders.size()));
  for (const std::string& folder : message.folders) out.text(folder);
  out.u32(static_cast<uint32_t>(message.files.size()));
  for (const BootstrapFile& file : message.files) {
    out.text(file.path);
    out.u32(file.mode);
    out.blob(file.content);
  }
  out.slru_sizes(message.slru_segments);
  out.u8(message.is_branch);
  return out.finish();
}

Result<FrameHeader> decode_frame_header(std::span<const std::byte, kFrameHeaderSize> bytes) {
  const uint32_t length = load<uint32_t>(bytes.data());
  if (length == 0 || length > kMaxFrameLength)
    return fail(ErrorCode::kCorrupt, "decode page service frame: a length of " + std::to_string(length) +
                                         " bytes; the peer does not speak this protocol");
  return FrameHeader{.type = load<uint8_t>(bytes.data() + 4), .payload_size = length - 1};
}

Result<ClientMessage> decode_client_message(uint8_t type, ByteView payload) {
  FrameReader in(payload);
  switch (static_cast<PageMessageType>(type)) {
    case PageMessageType::kHello: return decode_hello(in);
    case PageMessageType::kRelInfoRequest: return decode_rel_info_request(in);
    case PageMessageType::kListRelsRequest: return decode_list_rels_request(in);
    case PageMessageType::kGetPagesRequest: return decode_get_pages_request(in);
    case PageMessageType::kListSlruRequest: return decode_list_slru_request(in);
    case PageMessageType::kBootstrapRequest: return decode_bootstrap_request(in);
    default: return malformed("client message of type " + std::to_string(type));
  }
}

Result<ServerMessage> decode_server_message(uint8_t type, ByteView payload) {
  FrameReader in(payload);
  switch (static_cast<PageMessageType>(type)) {
    case PageMessageType::kHelloAck: return decode_hello_ack(in);
    case PageMessageType::kErrorReply: return decode_error_reply(in);
    case PageMessageType::kRelInfoReply: return decode_rel_info_reply(in);
    case PageMessageType::kListRelsReply: return decode_list_rels_reply(in);
    case PageMessageType::kGetPagesReply: return decode_get_pages_reply(in);
    case PageMessageType::kListSlruReply: return decode_list_slru_reply(in);
    case PageMessageType::kBootstrapReply: return decode_bootstrap_reply(in);
    default: return malformed("server message of type " + std::to_string(type));
  }
}

uint64_t request_id_of(const ServerMessage& message) {
  return std::visit(
      [](const auto& m) -> uint64_t {
        if constexpr (requires { m.request_id; })
          return m.request_id;
        else
          return 0;
      },
      message);
}

}  // namespace helium::wire
