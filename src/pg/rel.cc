#include "pg/rel.h"

#include <fmt/format.h>

#include <charconv>

#include "pg/constants.h"

namespace helium::pg {
namespace {

constexpr std::string_view kForkSuffixes[kForkCount] = {"", "_fsm", "_vm", "_init"};
constexpr const char* kSlruFolders[kSlruKindCount] = {"pg_xact", "pg_multixact/members", "pg_multixact/offsets",
                                                      "pg_commit_ts"};

// A decimal number as PostgreSQL prints an Oid: no sign, no leading zeros, at most 32 bits.
std::optional<uint32_t> parse_decimal(std::string_view text) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Cuts off and returns what stands before the first slash; the whole text if there is none.
std::string_view take_part(std::string_view& path) {
  const size_t slash = path.find('/');
  const std::string_view part = path.substr(0, slash);
  path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  return part;
}

// "16384", "16384_vm", "16384.1", "16384_vm.1".
std::optional<RelFile> parse_rel_file_name(std::string_view name, uint32_t spcnode, uint32_t dbnode) {
  RelFile file;
  file.rel.spcnode = spcnode;
  file.rel.dbnode = dbnode;
  if (const size_t dot = name.find('.'); dot != std::string_view::npos) {
    const auto segno = parse_decimal(name.substr(dot + 1));
    if (!segno || *segno == 0) return std::nullopt;  // the first segment has no number
    file.segno = *segno;
    name = name.substr(0, dot);
  }
  if (const size_t underscore = name.find('_'); underscore != std::string_view::npos) {
    const std::string_view suffix = name.substr(underscore);
    int fork = kForkCount - 1;
    while (fork > 0 && kForkSuffixes[fork] != suffix) --fork;
    if (fork == 0) return std::nullopt;
    file.rel.forknum = static_cast<Fork>(fork);
    name = name.substr(0, underscore);
  }
  const auto relnode = parse_decimal(name);
  if (!relnode || *relnode == 0) return std::nullopt;
  file.rel.relnode = *relnode;
  return file;
}

}  // namespace

std::string to_string(const RelTag& rel) {
  const size_t fork = static_cast<size_t>(rel.forknum);
  return fmt::format("{}/{}/{}{}", rel.spcnode, rel.dbnode, rel.relnode,
                     fork < kForkCount ? kForkSuffixes[fork] : std::string_view("_?"));
}

const char* slru_folder(SlruKind kind) { return kSlruFolders[static_cast<size_t>(kind)]; }

std::string to_string(const SlruSegment& segment) {
  return fmt::format("{}/{:04X}", slru_folder(segment.kind), segment.segno);
}

std::optional<RelFile> parse_rel_path(std::string_view path) {
  const std::string_view top = take_part(path);
  if (top == "global") {
    if (path.find('/') != std::string_view::npos) return std::nullopt;
    return parse_rel_file_name(path, kGlobalTablespace, 0);
  }
  uint32_t spcnode = kDefaultTablespace;
  if (top == "pg_tblspc") {
    const auto oid = parse_decimal(take_part(path));
    if (!oid || *oid == 0) return std::nullopt;
    if (!take_part(path).starts_with("PG_")) return std::nullopt;  // TABLESPACE_VERSION_DIRECTORY
    spcnode = *oid;
  } else if (top != "base") {
    return std::nullopt;
  }
  const auto dbnode = parse_decimal(take_part(path));
  if (!dbnode || *dbnode == 0 || path.find('/') != std::string_view::npos) return std::nullopt;
  return parse_rel_file_name(path, spcnode, *dbnode);
}

std::optional<SlruSegment> parse_slru_path(std::string_view path) {
  for (int kind = 0; kind < kSlruKindCount; ++kind) {
    const std::string_view folder = kSlruFolders[kind];
    if (!path.starts_with(folder) || path.size() <= folder.size() || path[folder.size()] != '/') continue;
    const std::string_view name = path.substr(folder.size() + 1);
    // "%04X", so four digits, more only when needed (members have up to 5); upper case.
    if (name.size() < 4 || name.size() > 6 || (name.size() > 4 && name[0] == '0')) return std::nullopt;
    if (name.find_first_not_of("0123456789ABCDEF") != std::string_view::npos) return std::nullopt;
    uint32_t segno = 0;
    std::from_chars(name.data(), name.data() + name.size(), segno, 16);
    return SlruSegment{static_cast<SlruKind>(kind), segno};
  }
  return std::nullopt;
}

}  // namespace helium::pg
