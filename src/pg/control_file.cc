#include "pg/control_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"
#include "pg/constants.h"

namespace helium::pg {
namespace {

constexpr size_t kFileSize = 8192;  // PG_CONTROL_FILE_SIZE
constexpr size_t kNonceSize = 32;   // MOCK_AUTH_NONCE_LEN
constexpr size_t kCheckpointSize = 88;
constexpr uint32_t kStateShutDown = 1;  // DB_SHUTDOWNED

// struct CheckPoint; the same in all versions, but for wal_level, which 17 put into padding.
namespace checkpoint_at {
constexpr size_t kRedo = 0, kThisTli = 8, kPrevTli = 12, kFullPageWrites = 16, kWalLevel = 20, kNextXid = 24,
                 kNextOid = 32, kNextMulti = 36, kNextMultiOffset = 40, kOldestXid = 44, kOldestXidDb = 48,
                 kOldestMulti = 52, kOldestMultiDb = 56, kTime = 64, kOldestCommitTs = 72, kNewestCommitTs = 76,
                 kOldestActiveXid = 80;
}

// struct ControlFileData. docs/formats/control_file.md has the table.
namespace control_at {
constexpr size_t kSystemIdentifier = 0, kControlVersion = 8, kCatalogVersion = 12, kState = 16, kTime = 24,
                 kCheckpointLsn = 32, kCheckpoint = 40, kMinRecoveryPoint = 136, kMinRecoveryPointTli = 144,
                 kBackupStartPoint = 152, kBackupEndPoint = 160, kBackupEndRequired = 168, kWalLevel = 172,
                 kWalLogHints = 176, kMaxConnections = 180, kMaxWorkerProcesses = 184, kMaxWalSenders = 188,
                 kMaxPreparedXacts = 192, kMaxLocksPerXact = 196, kTrackCommitTimestamp = 200, kMaxAlign = 204,
                 kFloatFormat = 208, kBlockSize = 216, kRelSegSize = 220, kWalBlockSize = 224, kWalSegSize = 228,
                 kChecksumVersion = 252;
}
static_assert(control_at::kCheckpoint + kCheckpointSize + 8 == control_at::kMinRecoveryPoint);

struct Layout {
  uint32_t control_version;
  uint32_t catalog_version;  // of the released versions: tells 14, 15 and 16 apart
  size_t nonce_at;  // 18 put default_char_signedness before it
  size_t crc_at;
};

// Layouts that have been compared with files of the real thing; nothing is assumed for others.
Result<Layout> layout_of(int pg_version) {
  switch (pg_version) {
    case 14: return Layout{1300, 202107181, 256, 288};
    case 15: return Layout{1300, 202209061, 256, 288};
    case 16: return Layout{1300, 202307071, 256, 288};
    case 17: return Layout{1700, 202406281, 256, 288};
    case 18: return Layout{1800, 202506291, 257, 292};
    default: return fail(ErrorCode::kInvalid, fmt::format("PostgreSQL {} is not supported", pg_version));
  }
}
Layout known_layout(int pg_version) {
  const auto layout = layout_of(pg_version);
  CHECK(layout.has_value());  // parse() refused other versions
  return *layout;
}

}  // namespace

size_t checkpoint_size(int) { return kCheckpointSize; }

Bytes encode_checkpoint(const Checkpoint& checkpoint, int pg_version) {
  namespace at = checkpoint_at;
  Bytes bytes(kCheckpointSize);
  const auto put = [&](size_t offset, auto value) { store(bytes.data() + offset, value); };
  put(at::kRedo, checkpoint.redo.bytes());
  put(at::kThisTli, checkpoint.this_tli);
  put(at::kPrevTli, checkpoint.prev_tli);
  put(at::kFullPageWrites, static_cast<uint8_t>(checkpoint.full_page_writes));
  if (pg_version >= 17) put(at::kWalLevel, checkpoint.wal_level);
  put(at::kNextXid, checkpoint.next_full_xid);
  put(at::kNextOid, checkpoint.next_oid);
  put(at::kNextMulti, checkpoint.next_multi);
  put(at::kNextMultiOffset, checkpoint.next_multi_offset);
  put(at::kOldestXid, checkpoint.oldest_xid);
  put(at::kOldestXidDb, checkpoint.oldest_xid_db);
  put(at::kOldestMulti, checkpoint.oldest_multi);
  put(at::kOldestMultiDb, checkpoint.oldest_multi_db);
  put(at::kTime, checkpoint.time);
  put(at::kOldestCommitTs, checkpoint.oldest_commit_ts_xid);
  put(at::kNewestCommitTs, checkpoint.newest_commit_ts_xid);
  put(at::kOldestActiveXid, checkpoint.oldest_active_xid);
  return bytes;
}

Result<Checkpoint> decode_checkpoint(ByteView bytes, int pg_version) {
  namespace at = checkpoint_at;
  HELIUM_TRY(layout_of(pg_version));
  if (bytes.size() < kCheckpointSize) {
    return fail(ErrorCode::kTruncated, fmt::format("checkpoint: {} bytes in place of {}", bytes.size(), kCheckpointSize));
  }
  const auto u32 = [&](size_t offset) { return load<uint32_t>(bytes.data() + offset); };
  const auto u64 = [&](size_t offset) { return load<uint64_t>(bytes.data() + offset); };
  Checkpoint checkpoint;
  checkpoint.redo = Lsn(u64(at::kRedo));
  checkpoint.this_tli = u32(at::kThisTli);
  checkpoint.prev_tli = u32(at::kPrevTli);
  checkpoint.full_page_writes = load<uint8_t>(bytes.data() + at::kFullPageWrites) != 0;
  if (pg_version >= 17) checkpoint.wal_level = static_cast<int32_t>(u32(at::kWalLevel));
  checkpoint.next_full_xid = u64(at::kNextXid);
  checkpoint.next_oid = u32(at::kNextOid);
  checkpoint.next_multi = u32(at::kNextMulti);
  checkpoint.next_multi_offset = u32(at::kNextMultiOffset);
  checkpoint.oldest_xid = u32(at::kOldestXid);
  checkpoint.oldest_xid_db = u32(at::kOldestXidDb);
  checkpoint.oldest_multi = u32(at::kOldestMulti);
  checkpoint.oldest_multi_db = u32(at::kOldestMultiDb);
  checkpoint.time = static_cast<int64_t>(u64(at::kTime));
  checkpoint.oldest_commit_ts_xid = u32(at::kOldestCommitTs);
  checkpoint.newest_commit_ts_xid = u32(at::kNewestCommitTs);
  checkpoint.oldest_active_xid = u32(at::kOldestActiveXid);
  return checkpoint;
}

Result<ControlFile> ControlFile::parse(ByteView file, int pg_version) {
  namespace at = control_at;
  HELIUM_ASSIGN(const Layout layout, layout_of(pg_version));
  if (file.size() < layout.crc_at + sizeof(uint32_t)) {
    return fail(ErrorCode::kTruncated, fmt::format("pg_control: only {} bytes", file.size()));
  }
  if (file.size() > kFileSize) return fail(ErrorCode::kCorrupt, fmt::format("pg_control: {} bytes", file.size()));
  const auto u32 = [&](size_t offset) { return load<uint32_t>(file.data() + offset); };
  if (const uint32_t version = u32(at::kControlVersion); version != layout.control_version) {
    return fail(ErrorCode::kInvalid, fmt::format("pg_control: version {}, PostgreSQL {} has {}", version, pg_version,
                                                 layout.control_version));
  }
  if (crc32c(file.first(layout.crc_at)) != u32(layout.crc_at)) {
    return fail(ErrorCode::kCorrupt, "pg_control: checksum mismatch");
  }
  if (const uint32_t catalog = u32(at::kCatalogVersion); catalog != layout.catalog_version) {
    return fail(ErrorCode::kInvalid, fmt::format("pg_control: catalog version {}, PostgreSQL {} has {}", catalog,
                                                 pg_version, layout.catalog_version));
  }
  if (u32(at::kMaxAlign) != 8 || load<double>(file.data() + at::kFloatFormat) != 1234567.0) {
    return fail(ErrorCode::kInvalid, "pg_control: the cluster was made on another kind of machine");
  }
  if (u32(at::kBlockSize) != pg::kBlockSize || u32(at::kRelSegSize) != kRelSegBlocks ||
      u32(at::kWalBlockSize) != kWalPageSize || u32(at::kWalSegSize) != kWalSegmentSize) {
    return fail(ErrorCode::kInvalid, "pg_control: block, relation segment or WAL segment size is not the default one");
  }
  Bytes bytes(file.begin(), file.end());
  bytes.resize(kFileSize);
  return ControlFile(std::move(bytes), pg_version);
}

uint64_t ControlFile::system_identifier() const { return load<uint64_t>(bytes_.data() + control_at::kSystemIdentifier); }
void ControlFile::set_system_identifier(uint64_t value) { store(bytes_.data() + control_at::kSystemIdentifier, value); }
uint32_t ControlFile::catalog_version() const { return load<uint32_t>(bytes_.data() + control_at::kCatalogVersion); }
bool ControlFile::is_shut_down() const { return load<uint32_t>(bytes_.data() + control_at::kState) == kStateShutDown; }
Lsn ControlFile::checkpoint_lsn() const { return Lsn(load<uint64_t>(bytes_.data() + control_at::kCheckpointLsn)); }
Checkpoint ControlFile::checkpoint() const {
  const auto decoded = decode_checkpoint(ByteView(bytes_).subspan(control_at::kCheckpoint, kCheckpointSize), pg_version_);
  CHECK(decoded.has_value());
  return *decoded;
}
bool ControlFile::data_checksums() const { return load<uint32_t>(bytes_.data() + control_at::kChecksumVersion) != 0; }
bool ControlFile::wal_log_hints() const { return load<uint8_t>(bytes_.data() + control_at::kWalLogHints) != 0; }
bool ControlFile::track_commit_timestamp() const {
  return load<uint8_t>(bytes_.data() + control_at::kTrackCommitTimestamp) != 0;
}
int32_t ControlFile::wal_level() const { return load<int32_t>(bytes_.data() + control_at::kWalLevel); }
int32_t ControlFile::max_connections() const { return load<int32_t>(bytes_.data() + control_at::kMaxConnections); }
int32_t ControlFile::max_worker_processes() const {
  return load<int32_t>(bytes_.data() + control_at::kMaxWorkerProcesses);
}
int32_t ControlFile::max_wal_senders() const { return load<int32_t>(bytes_.data() + control_at::kMaxWalSenders); }
int32_t ControlFile::max_prepared_xacts() const { return load<int32_t>(bytes_.data() + control_at::kMaxPreparedXacts); }
int32_t ControlFile::max_locks_per_xact() const { return load<int32_t>(bytes_.data() + control_at::kMaxLocksPerXact); }

Status ControlFile::apply_parameter_change(ByteView main_data) {
  namespace at = control_at;
  // struct xl_parameter_change: five limits, wal_level, two flags (and padding).
  ByteReader reader(main_data);
  const size_t targets[] = {at::kMaxConnections,   at::kMaxWorkerProcesses, at::kMaxWalSenders,
                            at::kMaxPreparedXacts, at::kMaxLocksPerXact,    at::kWalLevel};
  uint32_t values[std::size(targets)];
  for (uint32_t& value : values) value = reader.u32();
  const bool wal_log_hints = reader.u8() != 0;
  const bool track_commit_timestamp = reader.u8() != 0;
  if (reader.failed()) {
    return fail(ErrorCode::kCorrupt, fmt::format("parameter change record: only {} bytes", main_data.size()));
  }
  for (size_t i = 0; i < std::size(targets); ++i) store(bytes_.data() + targets[i], values[i]);
  store<uint8_t>(bytes_.data() + at::kWalLogHints, wal_log_hints);
  store<uint8_t>(bytes_.data() + at::kTrackCommitTimestamp, track_commit_timestamp);
  return {};
}

ByteView ControlFile::mock_authentication_nonce() const {
  return ByteView(bytes_).subspan(known_layout(pg_version_).nonce_at, kNonceSize);
}

void ControlFile::set_mock_authentication_nonce(std::span<const std::byte, 32> nonce) {
  static_assert(nonce.size() == kNonceSize);
  std::ranges::copy(nonce, bytes_.begin() + static_cast<ptrdiff_t>(known_layout(pg_version_).nonce_at));
}

void ControlFile::set_shutdown_checkpoint(Lsn record_start, const Checkpoint& checkpoint, int64_t now_seconds) {
  namespace at = control_at;
  const auto put = [&](size_t offset, auto value) { store(bytes_.data() + offset, value); };
  put(at::kState, kStateShutDown);
  put(at::kTime, now_seconds);
  put(at::kCheckpointLsn, record_start.bytes());
  std::ranges::copy(encode_checkpoint(checkpoint, pg_version_), bytes_.begin() + at::kCheckpoint);
  put(at::kMinRecoveryPoint, uint64_t{0});
  put(at::kMinRecoveryPointTli, uint32_t{0});
  put(at::kBackupStartPoint, uint64_t{0});
  put(at::kBackupEndPoint, uint64_t{0});
  put(at::kBackupEndRequired, uint8_t{0});
}

Bytes ControlFile::encode() const {
  const size_t crc_at = known_layout(pg_version_).crc_at;
  Bytes file = bytes_;
  store(file.data() + crc_at, crc32c(ByteView(file).first(crc_at)));
  return file;
}

}  // namespace helium::pg
