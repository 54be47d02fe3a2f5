#include "layer/key.h"

#include <fmt/format.h>

#include "base/check.h"

namespace helium::layer {
namespace {

void put_be(uint8_t* to, uint32_t value) { store(to, __builtin_bswap32(value)); }

uint64_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93u;
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93u;
  return x ^ (x >> 32);
}

}  // namespace

Key::Key(KeyKind kind, uint32_t a, uint32_t b, uint32_t c, uint8_t d, uint32_t e) {
  bytes_[0] = static_cast<uint8_t>(kind);
  put_be(&bytes_[1], a);
  put_be(&bytes_[5], b);
  put_be(&bytes_[9], c);
  bytes_[13] = d;
  put_be(&bytes_[14], e);
}

Key Key::from_bytes(ByteView bytes) {
  CHECK(bytes.size() == kKeySize);
  Key key;
  std::memcpy(key.bytes_.data(), bytes.data(), kKeySize);
  return key;
}

Key Key::max() {
  Key key;
  key.bytes_.fill(0xFF);
  return key;
}

Key Key::wal_position() { return {KeyKind::kWalPosition, 0, 0, 0, 0, 0}; }
Key Key::control_file() { return {KeyKind::kControlFile, 0, 0, 0, 0, 0}; }
Key Key::checkpoint() { return {KeyKind::kCheckpoint, 0, 0, 0, 0, 0}; }
Key Key::twophase(uint64_t xid) {
  return {KeyKind::kTwophase, static_cast<uint32_t>(xid >> 32), static_cast<uint32_t>(xid), 0, 0, 0};
}
Key Key::aux_file(uint64_t name_hash, uint8_t slot) {
  return {KeyKind::kAuxFile, static_cast<uint32_t>(name_hash >> 32), static_cast<uint32_t>(name_hash), 0, slot, 0};
}
Key Key::repl_origin(uint16_t id) { return {KeyKind::kReplOrigin, 0, id, 0, 0, 0}; }
Key Key::db_dir(uint32_t spcnode, uint32_t dbnode) { return {KeyKind::kDbDir, spcnode, dbnode, 0, 0, 0}; }
Key Key::relmap(uint32_t spcnode, uint32_t dbnode) { return {KeyKind::kRelmap, spcnode, dbnode, 0, 0, 0}; }

Key Key::rel_size(const pg::RelTag& rel) {
  return {KeyKind::kRelSize, rel.spcnode, rel.dbnode, rel.relnode, static_cast<uint8_t>(rel.forknum), 0};
}
Key Key::rel_zero_range(const pg::RelTag& rel, uint32_t first_blkno) {
  return {KeyKind::kRelZeroRange, rel.spcnode, rel.dbnode, rel.relnode, static_cast<uint8_t>(rel.forknum), first_blkno};
}
Key Key::slru_size(const pg::SlruSegment& segment) {
  return {KeyKind::kSlruSize, static_cast<uint32_t>(segment.kind), segment.segno, 0, 0, 0};
}
Key Key::slru_block(const pg::SlruSegment& segment, uint32_t page) {
  return {KeyKind::kSlruBlock, static_cast<uint32_t>(segment.kind), segment.segno, 0, 0, page};
}
Key Key::rel_block(const pg::RelTag& rel, uint32_t blkno) {
  return {KeyKind::kRelBlock, rel.spcnode, rel.dbnode, rel.relnode, static_cast<uint8_t>(rel.forknum), blkno};
}

pg::RelTag Key::rel() const {
  return pg::RelTag{field(1), field(5), field(9), static_cast<pg::Fork>(bytes_[13])};
}

pg::SlruSegment Key::slru_segment() const {
  return pg::SlruSegment{static_cast<pg::SlruKind>(field(1)), field(5)};
}

Key Key::next() const {
  Key key = *this;
  for (size_t i = kKeySize; i-- > 0;) {
    if (++key.bytes_[i] != 0) return key;
  }
  CHECK(!"the largest key has no next");
  return key;
}

uint64_t Key::hash() const {
  const auto first = load<uint64_t>(bytes_.data());
  const auto second = load<uint64_t>(bytes_.data() + 8);
  const auto last = load<uint16_t>(bytes_.data() + 16);
  return mix(mix(first + 0x9E3779B97F4A7C15u) ^ (second + last * 0xC2B2AE3D27D4EB4Fu));
}

std::string to_string(const Key& key) {
  const auto fork_tail = [&] {
    switch (static_cast<int>(key.rel().forknum)) {
      case 0: return std::string();
      case 1: return std::string("_fsm");
      case 2: return std::string("_vm");
      case 3: return std::string("_init");
      default: return fmt::format("_fork{}", static_cast<int>(key.rel().forknum));
    }
  };
  const auto rel = [&] {
    return fmt::format("{}/{}/{}{}", key.spcnode(), key.dbnode(), key.rel().relnode, fork_tail());
  };
  const auto segment = [&] {
    const pg::SlruSegment slru = key.slru_segment();
    static constexpr const char* kFolders[] = {"pg_xact", "pg_multixact/members", "pg_multixact/offsets", "pg_commit_ts"};
    const auto kind = static_cast<uint32_t>(slru.kind);
    return fmt::format("{}/{:04X}", kind < 4 ? kFolders[kind] : "slru", slru.segno);
  };
  switch (key.kind()) {
    case KeyKind::kWalPosition: return "wal_position";
    case KeyKind::kControlFile: return "control_file";
    case KeyKind::kCheckpoint: return "checkpoint";
    case KeyKind::kTwophase: return fmt::format("twophase {}", key.number());
    case KeyKind::kAuxFile: return fmt::format("aux_file {:016X}.{}", key.number(), key.slot());
    case KeyKind::kReplOrigin: return fmt::format("repl_origin {}", key.number());
    case KeyKind::kDbDir: return fmt::format("db_dir {}/{}", key.spcnode(), key.dbnode());
    case KeyKind::kRelmap: return fmt::format("relmap {}/{}", key.spcnode(), key.dbnode());
    case KeyKind::kRelSize: return fmt::format("rel_size {}", rel());
    case KeyKind::kRelZeroRange: return fmt::format("rel_zero_range {} from blk {}", rel(), key.blkno());
    case KeyKind::kSlruSize: return fmt::format("slru_size {}", segment());
    case KeyKind::kSlruBlock: return fmt::format("slru_block {} page {}", segment(), key.blkno());
    case KeyKind::kRelBlock: return fmt::format("rel_block {} blk {}", rel(), key.blkno());
  }
  std::string text = "key ";
  for (const std::byte byte : key.view()) text += fmt::format("{:02X}", static_cast<unsigned>(byte));
  return text;
}

namespace {

// All keys from `first` up to, not including, those whose field before the zeros is one larger: the last byte of the
// prefix of `prefix_size` bytes is raised, with carry.
KeyRange with_prefix(const Key& first, size_t prefix_size) {
  std::array<std::byte, kKeySize> end{};
  std::memcpy(end.data(), first.view().data(), prefix_size);
  for (size_t i = prefix_size; i-- > 0;) {
    end[i] = static_cast<std::byte>(static_cast<uint8_t>(end[i]) + 1);
    if (end[i] != std::byte{0}) return {first, Key::from_bytes(end)};
  }
  return {first, Key::max()};
}

constexpr size_t kAfterKind = 1;
constexpr size_t kAfterA = 5;
constexpr size_t kAfterB = 9;
constexpr size_t kAfterC = 13;
constexpr size_t kAfterD = 14;

}  // namespace

KeyRange KeyRange::all() { return {Key(), Key::max()}; }

KeyRange KeyRange::all_of(KeyKind kind) {
  std::array<std::byte, kKeySize> first{};
  first[0] = static_cast<std::byte>(kind);
  return with_prefix(Key::from_bytes(first), kAfterKind);
}

KeyRange KeyRange::rel_sizes(uint32_t spcnode, uint32_t dbnode) {
  return with_prefix(Key::rel_size({spcnode, dbnode, 0, pg::Fork::kMain}), kAfterB);
}
KeyRange KeyRange::rel_sizes(uint32_t spcnode, uint32_t dbnode, uint32_t relnode) {
  return with_prefix(Key::rel_size({spcnode, dbnode, relnode, pg::Fork::kMain}), kAfterC);
}
KeyRange KeyRange::rel_blocks(const pg::RelTag& rel) { return with_prefix(Key::rel_block(rel, 0), kAfterD); }
KeyRange KeyRange::rel_blocks(const pg::RelTag& rel, uint32_t from_blkno, uint32_t to_blkno) {
  return {Key::rel_block(rel, from_blkno), Key::rel_block(rel, to_blkno)};
}
KeyRange KeyRange::rel_blocks(uint32_t spcnode, uint32_t dbnode) {
  return with_prefix(Key::rel_block({spcnode, dbnode, 0, pg::Fork::kMain}, 0), kAfterB);
}
KeyRange KeyRange::rel_zero_ranges(const pg::RelTag& rel) { return with_prefix(Key::rel_zero_range(rel), kAfterD); }
KeyRange KeyRange::slru_sizes(pg::SlruKind kind) { return with_prefix(Key::slru_size({kind, 0}), kAfterA); }
KeyRange KeyRange::slru_blocks(const pg::SlruSegment& segment) {
  return with_prefix(Key::slru_block(segment, 0), kAfterB);
}

}  // namespace helium::layer
