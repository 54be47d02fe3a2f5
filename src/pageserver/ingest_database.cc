// Databases, tablespaces and relation maps.

#include "pageserver/ingest.h"
#include "redo/side_effects.h"

namespace helium::pageserver {

using layer::Key;
using layer::KeyRange;
using layer::Version;

Status Ingest::on_dbase(const Context& context) {
  HELIUM_ASSIGN(const redo::DbaseRecord dbase, redo::parse_dbase(context.record, pg_version_));
  switch (dbase.op) {
    case redo::DbaseOp::kCreateFileCopy:
      return copy_database(dbase.src_spcnode, dbase.src_dbnode, dbase.spcnode, dbase.dbnode);
    case redo::DbaseOp::kCreateWalLog:  // pages, forks and the map follow in records of their own
      out_.put_data(Key::db_dir(dbase.spcnode, dbase.dbnode), encode(DbDirValue::kWholeDatabase));
      return {};
    case redo::DbaseOp::kDrop:
      for (const uint32_t spcnode : dbase.drop_spcnodes) HELIUM_TRY(drop_database(spcnode, dbase.dbnode));
      return {};
  }
  return {};
}

// Every relation of the target says where its blocks come from: work by relation, whatever their size.
Status Ingest::copy_database(uint32_t from_spcnode, uint32_t from_dbnode, uint32_t to_spcnode, uint32_t to_dbnode) {
  // The source as it was before this record, so that even a copy onto itself would be well-defined.
  const Lsn source_lsn = state_.last_record_lsn;
  HELIUM_ASSIGN(const auto source, reader_.list_rels(from_spcnode, from_dbnode, source_lsn));
  HELIUM_ASSIGN(const auto map, store_->get_latest(Key::relmap(from_spcnode, from_dbnode), source_lsn));

  HELIUM_ASSIGN(const auto folder, store_->get_latest(Key::db_dir(from_spcnode, from_dbnode), source_lsn));
  HELIUM_TRY(drop_database(to_spcnode, to_dbnode));  // what an earlier life left there
  // A folder of another tablespace has no PG_VERSION; neither has its copy.
  const bool whole = !folder || folder->kind != layer::ValueKind::kData || is_whole_database(folder->bytes.view());
  out_.put_data(Key::db_dir(to_spcnode, to_dbnode),
                encode(whole ? DbDirValue::kWholeDatabase : DbDirValue::kRelationsOnly));
  if (map && map->kind == layer::ValueKind::kData)
    out_.put_data(Key::relmap(to_spcnode, to_dbnode), map->bytes.to_bytes());
  for (const PageReader::RelFork& fork : source) {
    RelSizeValue size;
    size.nblocks = fork.size.nblocks;
    if (size.nblocks > 0)
      size.copied_from = RelSizeValue::CopiedFrom{from_spcnode, from_dbnode, source_lsn, size.nblocks};
    rel_sizes_.set({to_spcnode, to_dbnode, fork.rel.relnode, fork.rel.forknum}, size);
  }
  return {};
}

Status Ingest::drop_database(uint32_t spcnode, uint32_t dbnode) {
  HELIUM_ASSIGN(const auto rels, reader_.list_rels(spcnode, dbnode, Lsn::max()));
  for (const PageReader::RelFork& fork : rels) rel_sizes_.drop(fork.rel);
  for (const Key& key : {Key::db_dir(spcnode, dbnode), Key::relmap(spcnode, dbnode)}) {
    HELIUM_ASSIGN(const auto known, store_->get_latest(key, Lsn::max()));
    if (known && known->kind != layer::ValueKind::kTombstone) out_.put_tombstone(key);
  }
  return {};
}

// A tablespace is a directory of no database: (spcnode, 0), and its path.
Status Ingest::on_tblspc(const Context& context) {
  HELIUM_ASSIGN(const redo::TblspcRecord tablespace, redo::parse_tblspc(context.record));
  const Key key = Key::db_dir(tablespace.spcnode, 0);
  if (tablespace.create) {
    const ByteView path = as_bytes(tablespace.path);
    out_.put_data(key, Bytes(path.begin(), path.end()));
    return {};
  }
  std::vector<uint32_t> databases;
  const KeyRange folders{key.next(), Key::db_dir(tablespace.spcnode, UINT32_MAX).next()};
  HELIUM_TRY(store_->scan_latest(folders, Lsn::max(), [&](const Key& folder, const Version&) {
    databases.push_back(folder.dbnode());
    return true;
  }));
  for (const uint32_t dbnode : databases) HELIUM_TRY(drop_database(tablespace.spcnode, dbnode));
  out_.put_tombstone(key);
  return {};
}

// PostgreSQL makes the folder of a database in a further tablespace when its first relation comes
// (TablespaceCreateDbspace); no record of its own says so.
Status Ingest::make_database_folder(const pg::RelTag& rel) {
  if (rel.spcnode == pg::kDefaultTablespace || rel.spcnode == pg::kGlobalTablespace) return {};
  const Key key = Key::db_dir(rel.spcnode, rel.dbnode);
  HELIUM_ASSIGN(const auto known, store_->get_latest(key, Lsn::max()));
  if (!known || known->kind == layer::ValueKind::kTombstone) out_.put_data(key, encode(DbDirValue::kRelationsOnly));
  return {};
}

Status Ingest::on_relmap(const Context& context) {
  HELIUM_ASSIGN(const redo::RelmapUpdate update, redo::parse_relmap_update(context.record));
  out_.put_data(Key::relmap(update.spcnode, update.dbnode), Bytes(update.map.begin(), update.map.end()));
  return {};
}

}  // namespace helium::pageserver
