#include "pg/auxiliary_file.h"

#include <algorithm>

namespace helium::pg {
namespace {

constexpr uint8_t kVersion = 1;

bool is_lower_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }
bool is_upper_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); }
// What PostgreSQL allows in the name of a slot.
bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; }

// Takes 1 to `most` characters off the front.
template <typename Accepts>
bool take(std::string_view& text, Accepts accepts, size_t most) {
  size_t count = 0;
  while (count < text.size() && accepts(text[count])) ++count;
  if (count == 0 || count > most) return false;
  text.remove_prefix(count);
  return true;
}
bool take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

// map-DB-REL-HI_LO-XID-XID
bool is_mapping_name(std::string_view name) {
  return take(name, "map-") && take(name, is_lower_hex, 8) && take(name, "-") && take(name, is_lower_hex, 8) &&
         take(name, "-") && take(name, is_upper_hex, 8) && take(name, "_") && take(name, is_upper_hex, 8) &&
         take(name, "-") && take(name, is_lower_hex, 8) && take(name, "-") && take(name, is_lower_hex, 8) && name.empty();
}

}  // namespace

AuxiliaryKind auxiliary_kind(std::string_view path) {
  if (take(path, "pg_replslot/"))
    return take(path, is_name, 63) && path == "/state" ? AuxiliaryKind::kSlot : AuxiliaryKind::kNone;
  if (take(path, "pg_stat/"))
    return take(path, is_name, 63) && path == ".stat" ? AuxiliaryKind::kStatistics : AuxiliaryKind::kNone;
  if (take(path, "pg_logical/snapshots/"))
    return take(path, is_upper_hex, 8) && take(path, "-") && take(path, is_upper_hex, 8) && path == ".snap"
               ? AuxiliaryKind::kSnapshot
               : AuxiliaryKind::kNone;
  if (take(path, "pg_logical/mappings/") && is_mapping_name(path)) return AuxiliaryKind::kMapping;
  return AuxiliaryKind::kNone;
}

uint32_t auxiliary_size_max(AuxiliaryKind kind) {
  switch (kind) {
    case AuxiliaryKind::kNone: return 0;
    case AuxiliaryKind::kSlot: return 4096;
    case AuxiliaryKind::kSnapshot:
    case AuxiliaryKind::kMapping: return 16u << 20;
    case AuxiliaryKind::kStatistics: return 4u << 20;
  }
  return 0;
}

AuxiliaryKey auxiliary_key(ByteView nonce, ByteView timeline_id) {
  return HmacSha256(nonce).add(as_bytes(kAuxiliaryPrefix)).add(timeline_id).finish();
}

AuxiliaryHead auxiliary_head(const AuxiliaryMessage& message) {
  AuxiliaryHead head;
  const size_t path_size = std::min(message.path.size(), kAuxiliaryPathMax);
  store<uint8_t>(head.bytes.data(), kVersion);
  store<uint8_t>(head.bytes.data() + 1, message.removed ? 1 : 0);
  store<uint16_t>(head.bytes.data() + 2, static_cast<uint16_t>(path_size));
  store<uint32_t>(head.bytes.data() + 4, static_cast<uint32_t>(message.content.size()));
  std::memcpy(head.bytes.data() + kAuxiliaryHead, message.path.data(), path_size);
  head.size = kAuxiliaryHead + path_size;
  return head;
}

Sha256::Digest auxiliary_code(const AuxiliaryKey& key, ByteView head, ByteView content) {
  return HmacSha256(key).add(head).add(content).finish();
}

std::string_view to_string(AuxiliaryVerdict verdict) {
  switch (verdict) {
    case AuxiliaryVerdict::kGood: return "good";
    case AuxiliaryVerdict::kMalformed: return "malformed";
    case AuxiliaryVerdict::kForged: return "forged";
    case AuxiliaryVerdict::kUnknownName: return "unknown name";
    case AuxiliaryVerdict::kTooLarge: return "too large";
  }
  return "unknown";
}

AuxiliaryVerdict decode_auxiliary_message(ByteView payload, const AuxiliaryKey& key, AuxiliaryMessage& message) {
  ByteReader reader(payload);
  const uint8_t version = reader.u8();
  const uint8_t removed = reader.u8();
  const uint16_t path_size = reader.u16();
  const uint32_t content_size = reader.u32();
  message.path = as_text(reader.raw(path_size));
  message.content = reader.raw(content_size);
  const ByteView code = reader.raw(Sha256::kSize);
  if (!reader.done() || version != kVersion || removed > 1 || (removed != 0 && content_size != 0))
    return AuxiliaryVerdict::kMalformed;
  const ByteView head = payload.first(kAuxiliaryHead + path_size);
  if (!equal_secrets(code, auxiliary_code(key, head, message.content))) return AuxiliaryVerdict::kForged;
  message.removed = removed != 0;
  const AuxiliaryKind kind = auxiliary_kind(message.path);
  if (kind == AuxiliaryKind::kNone) return AuxiliaryVerdict::kUnknownName;
  if (content_size > auxiliary_size_max(kind)) return AuxiliaryVerdict::kTooLarge;
  return AuxiliaryVerdict::kGood;
}

std::array<std::byte, kLogicalMessageHead> logical_message_head(size_t prefix_size, size_t payload_size) {
  std::array<std::byte, kLogicalMessageHead> head{};  // database 0, not transactional
  store<uint64_t>(head.data() + 8, prefix_size);
  store<uint64_t>(head.data() + 16, payload_size);
  return head;
}

}  // namespace helium::pg
