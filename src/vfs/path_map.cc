#include "vfs/path_map.h"

#include <cstdio>
#include <cstring>

namespace helium::vfs {
namespace {

constexpr uint32_t kDefaultTablespace = 1663;
constexpr uint32_t kGlobalTablespace = 1664;
constexpr const char* kForkSuffix[4] = {"", "fsm", "vm", "init"};
constexpr const char* kSlruFolder[4] = {"pg_xact", "pg_multixact/members", "pg_multixact/offsets", "pg_commit_ts"};

// A cursor over a path. Every step either advances and says true, or stays.
class Cursor {
 public:
  explicit Cursor(const char* at) : at_(at) {}

  bool done() const { return *at_ == 0; }
  bool end_or_slashes() {
    while (*at_ == '/') ++at_;
    return done();
  }
  bool word(const char* text) {
    const size_t size = std::strlen(text);
    if (std::strncmp(at_, text, size) != 0) return false;
    at_ += size;
    return true;
  }
  bool slash() {
    if (*at_ != '/') return false;
    while (*at_ == '/') ++at_;
    return true;
  }
  // Decimal without leading zeros, as PostgreSQL prints an OID.
  bool number(uint32_t& value) {
    if (*at_ < '0' || *at_ > '9') return false;
    uint64_t sum = 0;
    const char* from = at_;
    const char* p = at_;
    for (; *p >= '0' && *p <= '9'; ++p) {
      sum = sum * 10 + static_cast<uint64_t>(*p - '0');
      if (sum > UINT32_MAX) return false;
    }
    if (*from == '0' && p != from + 1) return false;
    at_ = p;
    value = static_cast<uint32_t>(sum);
    return true;
  }
  // The name of a tablespace's folder for one version: "PG_" and whatever follows up to the slash.
  bool version_folder() {
    if (!word("PG_")) return false;
    while (*at_ != 0 && *at_ != '/') ++at_;
    return true;
  }
  // Upper-case hex digits, at least `least` and at most `most` of them.
  bool hex(int least, int most, uint32_t& value) {
    uint32_t sum = 0;
    int count = 0;
    for (; count < most; ++count) {
      const char c = at_[count];
      if (c >= '0' && c <= '9') sum = sum << 4 | static_cast<uint32_t>(c - '0');
      else if (c >= 'A' && c <= 'F') sum = sum << 4 | static_cast<uint32_t>(c - 'A' + 10);
      else break;
    }
    if (count < least) return false;
    at_ += count;
    value = sum;
    return true;
  }

 private:
  const char* at_;
};

bool relation_name(Cursor& cursor, MappedPath& path) {
  if (!cursor.number(path.relnode) || path.relnode == 0) return false;
  if (cursor.word("_")) {
    for (uint8_t fork = 1; fork < 4 && path.sub == 0; ++fork)
      if (cursor.word(kForkSuffix[fork])) path.sub = fork;
    if (path.sub == 0) return false;
  }
  if (cursor.word(".") && (!cursor.number(path.segno) || path.segno == 0)) return false;
  return cursor.done();
}

MappedPath relation_or_folder(Cursor cursor, MappedPath path) {
  if (cursor.end_or_slashes()) {
    path.kind = PathKind::kRelDir;
    return path;
  }
  if (!relation_name(cursor, path)) return {};
  path.kind = PathKind::kRelFile;
  return path;
}

MappedPath slru(Cursor cursor, uint8_t kind) {
  MappedPath path;
  path.sub = kind;
  if (cursor.done() || (cursor.slash() && cursor.done())) {
    path.kind = PathKind::kSlruDir;
    return path;
  }
  if (!cursor.hex(4, 6, path.segno) || !cursor.done()) return {};
  path.kind = PathKind::kSlruFile;
  return path;
}

}  // namespace

MappedPath map_path(const char* text) {
  Cursor cursor(text);
  while (cursor.word("./")) cursor.slash();
  MappedPath path;
  switch (*text == '.' ? text[std::strspn(text, "./")] : *text) {
    case 'b':
      if (!cursor.word("base") || !cursor.slash() || !cursor.number(path.dbnode) || path.dbnode == 0) return {};
      path.spcnode = kDefaultTablespace;
      if (!cursor.done() && !cursor.slash()) return {};
      return relation_or_folder(cursor, path);
    case 'g':
      if (!cursor.word("global")) return {};
      path.spcnode = kGlobalTablespace;
      if (!cursor.done() && !cursor.slash()) return {};
      return relation_or_folder(cursor, path);
    case 'p': break;
    default: return {};
  }
  if (cursor.word("pg_wal")) {
    uint32_t tli = 0;
    if (!cursor.slash()) return {};
    if (uint32_t pid = 0; cursor.word("xlogtemp.") && cursor.number(pid) && cursor.done()) {
      path.kind = PathKind::kWalTemp;
      return path;
    }
    if (!cursor.hex(8, 8, tli) || !cursor.hex(8, 8, path.wal_log) || !cursor.hex(8, 8, path.segno) ||
        !cursor.done())
      return {};
    path.kind = PathKind::kWalFile;
    return path;
  }
  if (cursor.word("pg_tblspc")) {
    if (!cursor.slash() || !cursor.number(path.spcnode) || path.spcnode == 0) return {};
    if (!cursor.done() && !cursor.slash()) return {};
    if (cursor.done()) {
      path.kind = PathKind::kTablespaceLink;
      return path;
    }
    if (path.spcnode == kDefaultTablespace || path.spcnode == kGlobalTablespace) return {};
    if (!cursor.version_folder() || !cursor.slash() || !cursor.number(path.dbnode) || path.dbnode == 0) return {};
    if (!cursor.done() && !cursor.slash()) return {};
    return relation_or_folder(cursor, path);
  }
  for (uint8_t kind = 0; kind < 4; ++kind)
    if (cursor.word(kSlruFolder[kind])) return slru(cursor, kind);
  return {};
}

void format_cache_path(const MappedPath& path, char (&out)[kCachePathMax]) {
  switch (path.kind) {
    case PathKind::kSlruDir: std::snprintf(out, sizeof out, "%s", kSlruFolder[path.sub & 3]); return;
    case PathKind::kSlruFile: std::snprintf(out, sizeof out, "%s/%04X", kSlruFolder[path.sub & 3], path.segno); return;
    case PathKind::kRelDir:
    case PathKind::kRelFile: break;
    default: out[0] = 0; return;
  }
  int at = path.spcnode == kGlobalTablespace    ? std::snprintf(out, sizeof out, "global")
           : path.spcnode == kDefaultTablespace ? std::snprintf(out, sizeof out, "base/%u", path.dbnode)
                                                : std::snprintf(out, sizeof out, "pg_tblspc/%u/PG_/%u", path.spcnode, path.dbnode);
  if (path.kind == PathKind::kRelDir) return;
  at += std::snprintf(out + at, sizeof out - static_cast<size_t>(at), "/%u", path.relnode);
  if (path.sub != 0) at += std::snprintf(out + at, sizeof out - static_cast<size_t>(at), "_%s", kForkSuffix[path.sub & 3]);
  if (path.segno != 0) std::snprintf(out + at, sizeof out - static_cast<size_t>(at), ".%u", path.segno);
}

}  // namespace helium::vfs
