// fmt::format for Helium's own names: "{}" of an LSN, an id, a relation, a segment or a key is its to_string().
// Include it in .cc files only: fmt is a heavy header.

#pragma once

#include <fmt/format.h>

#include <string_view>

#include "base/ids.h"
#include "base/lsn.h"
#include "io/net.h"
#include "layer/key.h"
#include "pg/rel.h"

namespace helium::pageserver::format_detail {
template <typename T>
struct ToStringFormatter : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(const T& value, Context& context) const {
    using helium::to_string;
    return fmt::formatter<std::string_view>::format(to_string(value), context);
  }
};
}  // namespace helium::pageserver::format_detail

template <>
struct fmt::formatter<helium::Lsn> : helium::pageserver::format_detail::ToStringFormatter<helium::Lsn> {};
template <>
struct fmt::formatter<helium::HostPort> : helium::pageserver::format_detail::ToStringFormatter<helium::HostPort> {};
template <>
struct fmt::formatter<helium::TenantTimelineId>
    : helium::pageserver::format_detail::ToStringFormatter<helium::TenantTimelineId> {};
template <typename Tag>
struct fmt::formatter<helium::Id<Tag>> : helium::pageserver::format_detail::ToStringFormatter<helium::Id<Tag>> {};
template <>
struct fmt::formatter<helium::pg::RelTag> : helium::pageserver::format_detail::ToStringFormatter<helium::pg::RelTag> {};
template <>
struct fmt::formatter<helium::pg::SlruSegment>
    : helium::pageserver::format_detail::ToStringFormatter<helium::pg::SlruSegment> {};
template <>
struct fmt::formatter<helium::layer::Key> : helium::pageserver::format_detail::ToStringFormatter<helium::layer::Key> {};
