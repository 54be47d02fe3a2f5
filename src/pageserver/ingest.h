// Ingest: turns one timeline's WAL, record by record, into versions in its store.
//
// What a record changes is found by a table with a row per resource manager (ingest.cc); each concern has a file:
//   ingest_blocks.cc    blocks that the record names, and visibility map pages that it does not
//   ingest_revmaps.cc   what a copied database's BRIN revmaps have, which WAL does not tell
//   ingest_rels.cc      relations: creation, truncation, drop
//   ingest_slru.cc      clog, multixact and commit timestamp pages and segments
//   ingest_database.cc  databases, tablespaces, relation maps
//   ingest_origins.cc   progress of replication origins
//   ingest_auxiliary.cc files that logical messages of the compute's carry
//   ingest_files.cc     two-phase files, the control file, WAL positions, the checkpoint
//   counters.h          the checkpoint's counters; rel_sizes.h: sizes, extension, gaps
// Which record does what: docs/ingest.md.
//
// A record is applied whole or not at all: when ingest() fails, nothing of it was written and the state is that of the
// record before. A record that is well-formed but cannot be redone is not noticed here: its pages are refused when
// they are read, the others are not concerned.
// Errors: kCorrupt: the record cannot be decoded, or does not follow the one before; kRedo: its parts are malformed;
// those of the store. Threads: one at a time.

#pragma once

#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "layer/store.h"
#include "pageserver/counters.h"
#include "pageserver/hot_pages.h"
#include "pageserver/page_reader.h"
#include "pageserver/record_writer.h"
#include "pageserver/rel_sizes.h"
#include "pageserver/values.h"
#include "pg/auxiliary_file.h"
#include "pg/wal_record.h"
#include "pg/wal_stream.h"

namespace helium::pageserver {

class Ingest {
 public:
  // A WAL position is stored at least this often (rule 13).
  static constexpr uint64_t kPositionDistanceBytes = 64 * 1024;

  // Behind `state`, which the store's content agrees with.
  static Result<std::unique_ptr<Ingest>> start(std::shared_ptr<layer::TimelineStore> store, const PageReader& reader,
                                               IngestState state);

  // `store_position`: somebody wants to branch or start exactly here.
  Status ingest(const pg::WalRecordView& record, bool store_position);

  // As of the last record. `history` is the caller's to keep.
  const IngestState& state() const { return state_; }
  IngestState& mutable_state() { return state_; }
  WalPosition position() const;

  // A logical message of the last record that claims to be the compute's and is not: why. Taken once.
  std::optional<pg::AuxiliaryVerdict> take_refused_message() { return std::exchange(refused_message_, std::nullopt); }

 private:
  // A record on its way.
  struct Context {
    const pg::DecodedRecord& record;
    const pg::WalRecordView& view;
  };
  using Handler = Status (Ingest::*)(const Context&);
  struct Row {
    Handler effects;  // beyond blocks, SLRU pages and counters; may be null
  };
  static const Row kRows[pg::kLastBuiltinRmgr + 1];

  Ingest(std::shared_ptr<layer::TimelineStore> store, const PageReader& reader, IngestState state,
         pg::ControlFile control);

  Status apply(const Context& context, bool store_position);
  Status put_hot_images(Lsn lsn);
  void roll_back();

  // ingest_blocks.cc
  Status put_blocks(const Context& context);
  Status put_block(const Context& context, const pg::BlockRef& ref);
  Status put_vm_effects(const Context& context);
  // ingest_revmaps.cc
  Status fill_copied_revmap(const pg::BlockRef& ref, MutableByteView page);
  // ingest_rels.cc
  Status on_smgr(const Context& context);
  Status drop_rel(const pg::RelTag& any_fork);
  // ingest_slru.cc
  Status put_slru_effects(const Context& context);
  Status on_clog(const Context& context);
  Status on_commit_ts(const Context& context);
  Status on_multixact(const Context& context);
  Status truncate_slru(const Context& context, pg::SlruKind kind);
  Status start_commit_ts();
  Status stop_commit_ts();
  // ingest_database.cc
  Status on_dbase(const Context& context);
  Status copy_database(uint32_t from_spcnode, uint32_t from_dbnode, uint32_t to_spcnode, uint32_t to_dbnode);
  Status drop_database(uint32_t spcnode, uint32_t dbnode);
  Status make_database_folder(const pg::RelTag& rel);
  Status on_tblspc(const Context& context);
  Status on_relmap(const Context& context);
  // ingest_origins.cc
  Status on_repl_origin(const Context& context);
  Status advance_origin(const Context& context, uint16_t origin_id, Lsn remote_lsn, bool backward);

  // ingest_auxiliary.cc
  Status on_logical_message(const Context& context);
  Status put_auxiliary(const Context& context, const pg::AuxiliaryMessage& message);

  // ingest_files.cc
  Status on_xlog(const Context& context);
  Status on_xact(const Context& context);
  void put_position(const Context& context, bool store_position);

  const std::shared_ptr<layer::TimelineStore> store_;
  const PageReader& reader_;
  const int pg_version_;
  IngestState state_;
  pg::ControlFile control_;
  const pg::AuxiliaryKey auxiliary_key_;
  Counters counters_;
  RelSizes rel_sizes_;
  SlruSizes slru_sizes_;
  RecordWriter out_;
  HotPages hot_pages_;
  std::map<uint16_t, std::optional<Lsn>> origins_;  // remote LSNs that were looked up; none: no such origin
  std::optional<pg::AuxiliaryVerdict> refused_message_;
  pg::Checkpoint stored_checkpoint_;  // the last one that went to the store
  Lsn stored_position_lsn_;
};

}  // namespace helium::pageserver
