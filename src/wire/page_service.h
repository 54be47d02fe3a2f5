// Page service protocol: how a compute asks a pageserver for relation sizes, pages and its bootstrap. Pure codec.
//
// A connection carries frames in both directions, all integers little-endian:
//
//   offset  size  field    meaning
//        0     4  length   bytes behind this field: type and payload, 1 to kMaxFrameLength
//        4     1  type     PageMessageType
//        5     …  payload  by type, docs/protocols/page_service.md has each one and a worked hex dump
//
// The client sends Hello first and waits for HelloAck. Then each request carries an id of the client's choice, not 0,
// and gets exactly one answer with that id: its reply, or an ErrorReply. Answers may come in any order. An ErrorReply
// with id 0 is about the connection: kFenced says that a later term was seen, and that the asker must end.
//
// Ownership: views in decoded messages point into the frame's bytes. Errors: decoding untrusted bytes gives kCorrupt.
// Threads: pure functions, safe from any thread.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pg/control_file.h"
#include "pg/rel.h"

namespace helium::wire {

inline constexpr uint32_t kPageServiceMagic = 0x314D4C48;  // "HLM1" in stream order
inline constexpr uint16_t kPageServiceVersion = 1;
inline constexpr size_t kFrameHeaderSize = 4 + 1;
inline constexpr uint32_t kMaxFrameLength = 64 * 1024 * 1024;
inline constexpr uint32_t kMaxPagesPerRequest = 128;
inline constexpr uint32_t kPageSize = 8192;

// Numbers travel: give new messages new numbers.
enum class PageMessageType : uint8_t {
  kHello = 1,
  kHelloAck = 2,
  kErrorReply = 3,
  kRelInfoRequest = 10,
  kRelInfoReply = 11,
  kListRelsRequest = 12,
  kListRelsReply = 13,
  kGetPagesRequest = 14,
  kGetPagesReply = 15,
  kListSlruRequest = 16,
  kListSlruReply = 17,
  kBootstrapRequest = 18,
  kBootstrapReply = 19,
};

// Where to read, and what to wait for: the newest version ≤ min(read_lsn, last_record_lsn), once last_record_lsn has
// reached not_modified_since (0: no wait). Lsn::max() as read_lsn means "all that is there".
struct ReadAt {
  Lsn read_lsn;
  Lsn not_modified_since;
  friend bool operator==(const ReadAt&, const ReadAt&) = default;
};

// --- both ways once

struct Hello {
  TenantTimelineId timeline;
  uint64_t term = 0;     // the asker's own term; 0 for tools, which are never fenced
  bool primary = false;  // a compute that writes; false for tools and replicas
  friend bool operator==(const Hello&, const Hello&) = default;
};

struct HelloAck {
  uint32_t pg_version = 0;  // major
  Lsn last_record_lsn;
  friend bool operator==(const HelloAck&, const HelloAck&) = default;
};

struct ErrorReply {
  uint64_t request_id = 0;  // 0: the connection
  Error error;
};

// --- requests

// All four forks of one relation at once.
struct RelInfoRequest {
  uint64_t request_id = 0;
  uint32_t spcnode = 0;
  uint32_t dbnode = 0;
  uint32_t relnode = 0;
  ReadAt at;
  friend bool operator==(const RelInfoRequest&, const RelInfoRequest&) = default;
};

// Every fork of every relation of a database in a tablespace (dbnode 0: the shared ones).
struct ListRelsRequest {
  uint64_t request_id = 0;
  uint32_t spcnode = 0;
  uint32_t dbnode = 0;
  ReadAt at;
  friend bool operator==(const ListRelsRequest&, const ListRelsRequest&) = default;
};

// What holds the blocks: one fork of a relation (block numbers over all its segment files), or one SLRU segment
// (block numbers 0 to 31).
using BlockOwner = std::variant<pg::RelTag, pg::SlruSegment>;

struct GetPagesRequest {
  uint64_t request_id = 0;
  BlockOwner owner;
  ReadAt at;
  std::vector<uint32_t> blknos;  // 1 to kMaxPagesPerRequest
  friend bool operator==(const GetPagesRequest&, const GetPagesRequest&) = default;
};

// Every segment of every SLRU.
struct ListSlruRequest {
  uint64_t request_id = 0;
  ReadAt at;
  friend bool operator==(const ListSlruRequest&, const ListSlruRequest&) = default;
};

// What a compute needs to start at exactly `lsn` (X, a record end). The pageserver waits until it has that WAL, and
// takes it from the named safekeeper if need be.
struct BootstrapRequest {
  uint64_t request_id = 0;
  Lsn lsn;
  std::string wal_source;  // "host:port" of a safekeeper that has X committed; may be empty
  friend bool operator==(const BootstrapRequest&, const BootstrapRequest&) = default;
};

// --- replies

// By pg::Fork number: the fork's size in blocks, or nothing where it does not exist. An unlogged relation has an init
// fork and no main fork: the compute makes its main fork from it.
struct RelInfoReply {
  uint64_t request_id = 0;
  std::array<std::optional<uint32_t>, pg::kForkCount> nblocks;
  friend bool operator==(const RelInfoReply&, const RelInfoReply&) = default;
};

struct RelSize {
  pg::RelTag rel;
  uint32_t nblocks = 0;
  friend bool operator==(const RelSize&, const RelSize&) = default;
};
struct ListRelsReply {
  uint64_t request_id = 0;
  std::vector<RelSize> rels;  // ascending
  friend bool operator==(const ListRelsReply&, const ListRelsReply&) = default;
};

// The pages in the order asked for. A page that cannot be given does not spoil the others.
struct PageAnswer {
  std::optional<Error> error;  // nothing: `page` is right
  ByteView page;               // kPageSize bytes, or empty with an error
};
struct GetPagesReply {
  uint64_t request_id = 0;
  std::vector<PageAnswer> pages;
};

struct SlruSize {
  pg::SlruSegment segment;
  uint32_t npages = 0;  // 1 to 32: pages of the segment's file
  friend bool operator==(const SlruSize&, const SlruSize&) = default;
};
struct ListSlruReply {
  uint64_t request_id = 0;
  std::vector<SlruSize> segments;  // ascending
  friend bool operator==(const ListSlruReply&, const ListSlruReply&) = default;
};

// A small file of the data directory; the path is relative to it, without "..". A mode with S_IFLNK: a tablespace
// (path pg_tblspc/OID), whose location is the content.
struct BootstrapFile {
  std::string path;
  uint32_t mode = 0600;
  Bytes content;
  friend bool operator==(const BootstrapFile&, const BootstrapFile&) = default;
};
struct BootstrapReply {
  uint64_t request_id = 0;
  uint32_t pg_version = 0;
  uint64_t system_identifier = 0;
  Lsn lsn;                           // X
  Lsn prev_record_start;             // start of the record that ends at X
  pg::Checkpoint checkpoint;         // its counters are those at X; `redo` and `time` are the compute's to set
  Bytes control_file;                // 8192 bytes, a template
  std::vector<std::string> folders;  // "base/1", …
  std::vector<BootstrapFile> files;  // PG_VERSION, relation maps, two-phase files, …
  std::vector<SlruSize> slru_segments;
  bool is_branch = false;            // of another timeline: subscriptions in its catalogs may be that one's
  friend bool operator==(const BootstrapReply&, const BootstrapReply&) = default;
};

// --- codec

// The whole frame. Encoding a message that breaks a limit above is a bug (CHECK).
Bytes encode(const Hello& message);
Bytes encode(const HelloAck& message);
Bytes encode(const ErrorReply& message);
Bytes encode(const RelInfoRequest& message);
Bytes encode(const ListRelsRequest& message);
Bytes encode(const GetPagesRequest& message);
Bytes encode(const ListSlruRequest& message);
Bytes encode(const BootstrapRequest& message);
Bytes encode(const RelInfoReply& message);
Bytes encode(const ListRelsReply& message);
Bytes encode(const GetPagesReply& message);
Bytes encode(const ListSlruReply& message);
Bytes encode(const BootstrapReply& message);

struct FrameHeader {
  uint8_t type = 0;           // a PageMessageType, or one that we do not know
  uint32_t payload_size = 0;  // bytes to read behind the header
};
// Errors: kCorrupt: a length of 0 or above kMaxFrameLength.
Result<FrameHeader> decode_frame_header(std::span<const std::byte, kFrameHeaderSize> bytes);

// What a server reads, and what a client reads. Errors: kCorrupt: malformed, of the other side, or unknown;
// kTooNew: a Hello of a later protocol version.
using ClientMessage =
    std::variant<Hello, RelInfoRequest, ListRelsRequest, GetPagesRequest, ListSlruRequest, BootstrapRequest>;
using ServerMessage =
    std::variant<HelloAck, ErrorReply, RelInfoReply, ListRelsReply, GetPagesReply, ListSlruReply, BootstrapReply>;
Result<ClientMessage> decode_client_message(uint8_t type, ByteView payload);
Result<ServerMessage> decode_server_message(uint8_t type, ByteView payload);

// The id that a server message answers; 0 for HelloAck.
uint64_t request_id_of(const ServerMessage& message);

}  // namespace helium::wire
