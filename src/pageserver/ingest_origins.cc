// Replication origins: how far what other servers sent has been applied (rule 24).
//
// A branch starts without the origins of its ancestor, as it starts without its slots: what was noted up to the branch
// point does not count there.
// Source: PostgreSQL 15 origin.c replorigin_advance, replorigin_redo; xact.c xact_redo_commit, xact_redo_abort;
// twophase.c PrepareRedoAdd.

#include "pageserver/ingest.h"
#include "redo/side_effects.h"

namespace helium::pageserver {

using layer::Key;

namespace {
constexpr uint16_t kNoOrigin = 0;
constexpr uint16_t kDoNotReplicate = UINT16_MAX;  // changes that are not to be sent on; nobody's progress
}  // namespace

Status Ingest::advance_origin(const Context& context, uint16_t origin_id, Lsn remote_lsn, bool backward) {
  if (origin_id == kNoOrigin || origin_id == kDoNotReplicate) return {};
  auto known = origins_.find(origin_id);
  if (known == origins_.end()) {
    std::optional<Lsn> progress;
    HELIUM_ASSIGN(const auto stored, store_->get_latest(Key::repl_origin(origin_id), Lsn::max()));
    if (stored && stored->kind == layer::ValueKind::kData) {
      HELIUM_ASSIGN(const ReplOriginValue value, decode_repl_origin(stored->bytes.view()));
      if (value.local_lsn > store_->ancestor_lsn()) progress = value.remote_lsn;
    }
    known = origins_.emplace(origin_id, progress).first;
  }
  std::optional<Lsn>& progress = known->second;
  progress = progress && !backward ? std::max(*progress, remote_lsn) : remote_lsn;
  out_.put_data(Key::repl_origin(origin_id), encode(ReplOriginValue{*progress, context.view.end_lsn}));
  return {};
}

Status Ingest::on_repl_origin(const Context& context) {
  HELIUM_ASSIGN(const redo::ReplOriginRecord record, redo::parse_repl_origin(context.record));
  if (record.set) return advance_origin(context, record.origin_id, record.remote_lsn, record.backward);
  origins_[record.origin_id] = std::nullopt;
  out_.put_tombstone(Key::repl_origin(record.origin_id));
  return {};
}

}  // namespace helium::pageserver
