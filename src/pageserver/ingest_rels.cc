// Relations come, shrink and go.

#include "pageserver/ingest.h"
#include "redo/redo.h"
#include "redo/side_effects.h"

namespace helium::pageserver {

Status Ingest::on_smgr(const Context& context) {
  if (context.record.op() == redo::kSmgrCreate) {
    HELIUM_ASSIGN(const pg::RelTag rel, redo::parse_smgr_create(context.record));
    HELIUM_TRY(make_database_folder(rel));
    if (rel.forknum == pg::Fork::kFsm) return {};
    HELIUM_ASSIGN(const auto known, rel_sizes_.get(rel));
    if (!known) rel_sizes_.set(rel, {});
    return {};
  }
  if (context.record.op() != redo::kSmgrTruncate) return {};

  HELIUM_ASSIGN(const redo::SmgrTruncate truncate, redo::parse_smgr_truncate(context.record));
  if (truncate.main) {
    HELIUM_ASSIGN(const auto known, rel_sizes_.get(truncate.rel));
    if (!known) rel_sizes_.set(truncate.rel, {});  // PostgreSQL creates it first
    HELIUM_TRY(rel_sizes_.truncate(truncate.rel, truncate.nblocks));
  }
  if (truncate.vm) {
    // The tail of the last map page that stays is put_vm_effects()' part.
    pg::RelTag map = truncate.rel;
    map.forknum = pg::Fork::kVm;
    HELIUM_TRY(rel_sizes_.truncate(map, redo::vm_truncation(truncate.nblocks).nblocks));
  }
  return {};
}

Status Ingest::drop_rel(const pg::RelTag& any_fork) {
  for (const pg::Fork fork : {pg::Fork::kMain, pg::Fork::kVm, pg::Fork::kInit}) {
    pg::RelTag rel = any_fork;
    rel.forknum = fork;
    HELIUM_ASSIGN(const auto known, rel_sizes_.get(rel));
    if (known) rel_sizes_.drop(rel);
  }
  return {};
}

}  // namespace helium::pageserver
