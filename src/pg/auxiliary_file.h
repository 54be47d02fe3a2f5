// Auxiliary files: the small files of a data directory that no WAL of PostgreSQL's own brings back, and the logical
// messages that carry them through WAL instead. Format: docs/formats/auxiliary_message.md.
//
// A message is the payload of a LOGICALMSG record, not transactional, of database 0 and with the prefix "helium/aux":
//
//   offset  size  field
//        0     1  version, 1
//        1     1  1: the file is removed, 0: it is as follows
//        2     2  path length p
//        4     4  content length c
//        8     p  path, relative to the data directory
//      8+p     c  content, whole
//    8+p+c    32  HMAC-SHA256 of all that is before, with the timeline's key
//
// Any SQL user can call pg_logical_emit_message. So a message counts only with its code, of database 0 (which no session
// that runs SQL has), with a name of the shapes below, within their limits.
// Integers are little-endian. Pure, and but for encode_auxiliary_message without allocation: the preload library uses it
// inside PostgreSQL. Threads: any.
// Source: PostgreSQL 14 to 18 slot.c, snapbuild.c, rewriteheap.h, pgstat.h (file names), message.h (xl_logical_message).

#pragma once

#include <time.h>

#include <array>
#include <string_view>

#include "base/bytes.h"
#include "base/sha256.h"

namespace helium::pg {

enum class AuxiliaryKind : uint8_t {
  kNone,
  kSlot,        // pg_replslot/NAME/state
  kSnapshot,    // pg_logical/snapshots/HI-LO.snap
  kMapping,     // pg_logical/mappings/map-…
  kStatistics,  // pg_stat/NAME.stat
};
AuxiliaryKind auxiliary_kind(std::string_view path);
// The most bytes that such a file may have to be carried.
uint32_t auxiliary_size_max(AuxiliaryKind kind);

inline constexpr std::string_view kAuxiliaryPrefix = "helium/aux";
inline constexpr size_t kAuxiliaryPathMax = 128;
inline constexpr size_t kAuxiliaryHead = 8;
using AuxiliaryKey = Sha256::Digest;

// Of a timeline: from the authentication nonce in its pg_control (32 bytes, which PostgreSQL shows to nobody) and its id.
AuxiliaryKey auxiliary_key(ByteView nonce, ByteView timeline_id);

struct AuxiliaryMessage {
  std::string_view path;
  bool removed = false;
  ByteView content;
};

// Everything before the content. Precondition: auxiliary_kind(path) is not kNone.
struct AuxiliaryHead {
  std::array<std::byte, kAuxiliaryHead + kAuxiliaryPathMax> bytes;
  size_t size = 0;
  ByteView view() const { return ByteView(bytes).first(size); }
};
AuxiliaryHead auxiliary_head(const AuxiliaryMessage& message);
Sha256::Digest auxiliary_code(const AuxiliaryKey& key, ByteView head, ByteView content);

enum class AuxiliaryVerdict : uint8_t { kGood, kMalformed, kForged, kUnknownName, kTooLarge };
std::string_view to_string(AuxiliaryVerdict verdict);
// `message` points into `payload` and means something only when the verdict is kGood.
AuxiliaryVerdict decode_auxiliary_message(ByteView payload, const AuxiliaryKey& key, AuxiliaryMessage& message);

// A file whose content, at this size, is in WAL already has this time of modification: writing to it takes the mark off.
inline constexpr int64_t kAuxiliaryMarkSeconds = 86'400;
inline timespec auxiliary_mark(int64_t size) { return {kAuxiliaryMarkSeconds, static_cast<long>(size)}; }
inline bool is_auxiliary_mark(const timespec& modified, int64_t size) {
  return modified.tv_sec == kAuxiliaryMarkSeconds && modified.tv_nsec == size;
}

// The head of a LOGICALMSG record's main data (xl_logical_message); the prefix with its zero byte and the payload follow.
inline constexpr size_t kLogicalMessageHead = 24;
std::array<std::byte, kLogicalMessageHead> logical_message_head(size_t prefix_size, size_t payload_size);

// The main data of a whole record.
inline Bytes encode_auxiliary_message(const AuxiliaryMessage& message, const AuxiliaryKey& key) {
  const AuxiliaryHead head = auxiliary_head(message);
  ByteWriter out;
  const size_t payload = head.size + message.content.size() + Sha256::kSize;
  out.raw(logical_message_head(kAuxiliaryPrefix.size() + 1, payload));
  out.raw(as_bytes(kAuxiliaryPrefix));
  out.u8(0);
  out.raw(head.view());
  out.raw(message.content);
  out.raw(auxiliary_code(key, head.view(), message.content));
  return out.take();
}

}  // namespace helium::pg
