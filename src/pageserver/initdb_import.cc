#include "pageserver/initdb_import.h"

#include <ctime>
#include <map>

#include "pageserver/format.h"
#include "base/ids.h"
#include "io/durable_file.h"
#include "pg/constants.h"
#include "pg/page.h"
#include "pg/rel.h"
#include "pg/wal_stream.h"

namespace helium::pageserver {
namespace {

namespace fs = std::filesystem;
using layer::Key;
using layer::ValueKind;

// The plain files of a folder, by name; none if there is no such folder.
Result<std::vector<std::string>> list_files(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  if (!fs::exists(folder, error)) return names;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error))
    if (it->is_regular_file()) names.push_back(it->path().filename().string());
  if (error) return fail(ErrorCode::kIo, "list " + folder.string() + ": " + error.message());
  return names;
}

Result<std::vector<uint32_t>> list_databases(const fs::path& data_dir) {
  std::vector<uint32_t> databases;
  std::error_code error;
  for (auto it = fs::directory_iterator(data_dir / "base", error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.find_first_not_of("0123456789") == name.npos && name.size() < 10)
      databases.push_back(static_cast<uint32_t>(std::stoul(name)));
  }
  if (error) return fail(ErrorCode::kIo, "list " + (data_dir / "base").string() + ": " + error.message());
  return databases;
}

Status add_page(layer::ImageImport& import, const Key& key, ByteView page) {
  if (pg::page_all_zero(page)) return import.add(key, ValueKind::kZeroPage, {});
  return import.add(key, ValueKind::kImage, page);
}

}  // namespace

uint64_t new_system_identifier() {
  return static_cast<uint64_t>(std::time(nullptr)) << 32 | (random_u64() & 0xFFFFFFFF);
}

Result<InitdbImage> InitdbImage::open(const fs::path& data_dir, int pg_version) {
  HELIUM_ASSIGN(const Bytes control_bytes, read_file(data_dir / "global" / "pg_control"));
  HELIUM_ASSIGN(pg::ControlFile control, pg::ControlFile::parse(control_bytes, pg_version));
  const Lsn checkpoint_lsn = control.checkpoint_lsn();
  const fs::path segment =
      data_dir / "pg_wal" / pg::wal_segment_name(1, pg::wal_segment_number(checkpoint_lsn));
  HELIUM_ASSIGN(const Bytes wal, read_file(segment));
  if (wal.size() != pg::kWalSegmentSize)
    return fail(ErrorCode::kCorrupt, segment.string() + " has " + std::to_string(wal.size()) + " bytes");

  pg::WalStreamDecoder decoder(checkpoint_lsn, pg_version);
  decoder.feed(ByteView(wal).subspan(pg::wal_segment_offset(checkpoint_lsn)));
  HELIUM_ASSIGN(const auto record, decoder.next());
  if (!record || record->start_lsn != checkpoint_lsn)
    return fail(ErrorCode::kCorrupt, "no shutdown checkpoint at " + to_string(checkpoint_lsn) + " in " + segment.string());
  InitdbImage image(data_dir, pg_version, std::move(control));
  image.end_lsn_ = record->end_lsn;
  return image;
}

Status InitdbImage::import_relations(layer::ImageImport& import) const {
  std::vector<std::string> folders = {"global"};
  HELIUM_ASSIGN(const auto databases, list_databases(data_dir_));
  for (const uint32_t database : databases) folders.push_back("base/" + std::to_string(database));

  std::map<pg::RelTag, uint32_t> sizes;
  for (const std::string& folder : folders) {
    HELIUM_ASSIGN(const auto names, list_files(data_dir_ / folder));
    for (const std::string& name : names) {
      const auto file = pg::parse_rel_path(folder + "/" + name);
      if (!file || file->rel.forknum == pg::Fork::kFsm) continue;
      HELIUM_ASSIGN(const Bytes content, read_file(data_dir_ / folder / name));
      if (content.size() % pg::kBlockSize != 0)
        return fail(ErrorCode::kCorrupt, folder + "/" + name + " is no whole number of blocks");
      const uint32_t first = file->segno * pg::kRelSegBlocks;
      const uint32_t nblocks = static_cast<uint32_t>(content.size() / pg::kBlockSize);
      for (uint32_t i = 0; i < nblocks; ++i) {
        const ByteView page = ByteView(content).subspan(i * pg::kBlockSize, pg::kBlockSize);
        if (pg::page_lsn(page) > end_lsn_)
          return fail(ErrorCode::kCorrupt, fmt::format("{} blk {} is newer than the checkpoint: {} > {}", file->rel,
                                                       first + i, pg::page_lsn(page), end_lsn_));
        HELIUM_TRY(add_page(import, Key::rel_block(file->rel, first + i), page));
      }
      uint32_t& size = sizes[file->rel];
      size = std::max(size, first + nblocks);
    }
  }
  for (const auto& [rel, nblocks] : sizes)
    HELIUM_TRY(import.add(Key::rel_size(rel), ValueKind::kData, encode(RelSizeValue{nblocks, false, {}})));
  return {};
}

Status InitdbImage::import_slrus(layer::ImageImport& import) const {
  for (int kind = 0; kind < pg::kSlruKindCount; ++kind) {
    const std::string folder = pg::slru_folder(static_cast<pg::SlruKind>(kind));
    HELIUM_ASSIGN(const auto names, list_files(data_dir_ / folder));
    for (const std::string& name : names) {
      const auto segment = pg::parse_slru_path(folder + "/" + name);
      if (!segment) continue;
      HELIUM_ASSIGN(const Bytes content, read_file(data_dir_ / folder / name));
      const uint32_t npages = static_cast<uint32_t>(content.size() / pg::kBlockSize);
      if (content.size() % pg::kBlockSize != 0 || npages > pg::kSlruSegPages)
        return fail(ErrorCode::kCorrupt, folder + "/" + name + " has a size that no segment has");
      for (uint32_t i = 0; i < npages; ++i)
        HELIUM_TRY(add_page(import, Key::slru_block(*segment, i),
                            ByteView(content).subspan(i * pg::kBlockSize, pg::kBlockSize)));
      HELIUM_TRY(import.add(Key::slru_size(*segment), ValueKind::kData, encode(SlruSizeValue{npages})));
    }
  }
  return {};
}

Status InitdbImage::import_maps(layer::ImageImport& import) const {
  HELIUM_ASSIGN(const Bytes shared_map, read_file(data_dir_ / "global" / "pg_filenode.map"));
  HELIUM_TRY(import.add(Key::relmap(pg::kGlobalTablespace, 0), ValueKind::kData, shared_map));
  HELIUM_ASSIGN(const auto databases, list_databases(data_dir_));
  for (const uint32_t database : databases) {
    HELIUM_ASSIGN(const Bytes map, read_file(data_dir_ / "base" / std::to_string(database) / "pg_filenode.map"));
    HELIUM_TRY(import.add(Key::relmap(pg::kDefaultTablespace, database), ValueKind::kData, map));
    HELIUM_TRY(import.add(Key::db_dir(pg::kDefaultTablespace, database), ValueKind::kData, {}));
  }
  return {};
}

Result<TimelineMetadata> InitdbImage::import_into(layer::TimelineStore& store, uint64_t system_identifier) const {
  TimelineMetadata metadata;
  metadata.pg_version = pg_version_;
  metadata.system_identifier = system_identifier;
  metadata.state = IngestState{control_.checkpoint_lsn(), end_lsn_, control_.checkpoint(), {}};

  HELIUM_ASSIGN(const auto import, store.begin_import());
  HELIUM_TRY(import_relations(*import));
  HELIUM_TRY(import_slrus(*import));
  HELIUM_TRY(import_maps(*import));

  pg::ControlFile control = control_;
  control.set_system_identifier(system_identifier);
  std::array<std::byte, 32> nonce;
  for (size_t half = 0; half < 2; ++half) {
    const auto random = random_id_bytes();
    std::memcpy(nonce.data() + 16 * half, random.data(), 16);
  }
  control.set_mock_authentication_nonce(nonce);
  HELIUM_TRY(import->add(Key::control_file(), ValueKind::kData, control.encode()));
  const pg::Checkpoint checkpoint = control_.checkpoint();
  HELIUM_TRY(import->add(Key::checkpoint(), ValueKind::kData, pg::encode_checkpoint(checkpoint, pg_version_)));
  HELIUM_TRY(import->add(Key::wal_position(), ValueKind::kData,
                         encode(WalPosition{control_.checkpoint_lsn(), checkpoint.next_full_xid,
                                            checkpoint.next_multi, checkpoint.next_multi_offset, 0})));
  HELIUM_TRY(import->finish(encode(metadata)));
  return metadata;
}

}  // namespace helium::pageserver
