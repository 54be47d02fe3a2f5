// Ids of tenants, timelines and other things: 16 random bytes, printed as 32 lower-case hex digits.
// Plain values. Text from users goes through parse_id, which says what is wrong.

#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace helium {

std::string hex(std::span<const uint8_t> bytes);

template <typename Tag>
struct Id {
  std::array<uint8_t, 16> bytes{};

  bool is_valid() const { return bytes != std::array<uint8_t, 16>{}; }
  friend auto operator<=>(const Id&, const Id&) = default;
};

template <typename Tag>
std::string to_string(const Id<Tag>& id) {
  return hex(id.bytes);
}
template <typename Tag>
std::string format_as(const Id<Tag>& id) {
  return hex(id.bytes);
}

struct TenantTag {
  static constexpr std::string_view kName = "tenant id";
};
struct TimelineTag {
  static constexpr std::string_view kName = "timeline id";
};
struct ProposerTag {
  static constexpr std::string_view kName = "proposer id";
};
struct ChangerTag {
  static constexpr std::string_view kName = "changer id";
};
using TenantId = Id<TenantTag>;
using TimelineId = Id<TimelineTag>;
using ProposerId = Id<ProposerTag>;  // one life of one compute's WAL proposer
using ChangerId = Id<ChangerTag>;    // one run of a command that changes a timeline's members

struct TenantTimelineId {
  TenantId tenant;
  TimelineId timeline;
  friend auto operator<=>(const TenantTimelineId&, const TenantTimelineId&) = default;
};
inline std::string to_string(const TenantTimelineId& id) {
  return to_string(id.tenant) + "/" + to_string(id.timeline);
}
inline std::string format_as(const TenantTimelineId& id) { return to_string(id); }

// 16 bytes from the kernel's random source.
std::array<uint8_t, 16> random_id_bytes();
template <typename IdType>
IdType random_id() {
  return IdType{random_id_bytes()};
}
uint64_t random_u64();

Result<std::array<uint8_t, 16>> parse_id_bytes(std::string_view what, std::string_view text);
inline Result<TenantId> parse_tenant_id(std::string_view text) {
  HELIUM_ASSIGN(auto bytes, parse_id_bytes(TenantTag::kName, text));
  return TenantId{bytes};
}
inline Result<TimelineId> parse_timeline_id(std::string_view text) {
  HELIUM_ASSIGN(auto bytes, parse_id_bytes(TimelineTag::kName, text));
  return TimelineId{bytes};
}

}  // namespace helium

template <typename Tag>
struct std::hash<helium::Id<Tag>> {
  size_t operator()(const helium::Id<Tag>& id) const noexcept {
    size_t value = 0;
    for (size_t i = 0; i < sizeof(value); ++i) value = value << 8 | id.bytes[i];
    return value;
  }
};
template <>
struct std::hash<helium::TenantTimelineId> {
  size_t operator()(const helium::TenantTimelineId& id) const noexcept {
    return std::hash<helium::TenantId>()(id.tenant) * 31 + std::hash<helium::TimelineId>()(id.timeline);
  }
};
