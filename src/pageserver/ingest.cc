#include "pageserver/ingest.h"

#include "pageserver/format.h"

namespace helium::pageserver {

// By resource manager. What is not here changes nothing but the blocks, SLRU pages and counters that every record is
// asked about.
const Ingest::Row Ingest::kRows[pg::kLastBuiltinRmgr + 1] = {
    /* xlog */ {&Ingest::on_xlog},
    /* xact */ {&Ingest::on_xact},
    /* smgr */ {&Ingest::on_smgr},
    /* clog */ {&Ingest::on_clog},
    /* dbase */ {&Ingest::on_dbase},
    /* tblspc */ {&Ingest::on_tblspc},
    /* multixact */ {&Ingest::on_multixact},
    /* relmap */ {&Ingest::on_relmap},
    /* standby */ {nullptr},
    /* heap2 */ {nullptr},
    /* heap */ {nullptr},
    /* btree */ {nullptr},
    /* hash */ {nullptr},
    /* gin */ {nullptr},
    /* gist */ {nullptr},
    /* seq */ {nullptr},
    /* spgist */ {nullptr},
    /* brin */ {nullptr},
    /* commit_ts */ {&Ingest::on_commit_ts},
    /* replorigin */ {&Ingest::on_repl_origin},
    /* generic */ {nullptr},
    /* logicalmsg */ {&Ingest::on_logical_message},
};

Result<std::unique_ptr<Ingest>> Ingest::start(std::shared_ptr<layer::TimelineStore> store, const PageReader& reader,
                                              IngestState state) {
  HELIUM_ASSIGN(pg::ControlFile control, reader.control_file(state.last_record_lsn));
  return std::unique_ptr<Ingest>(new Ingest(std::move(store), reader, std::move(state), std::move(control)));
}

Ingest::Ingest(std::shared_ptr<layer::TimelineStore> store, const PageReader& reader, IngestState state,
               pg::ControlFile control)
    : store_(std::move(store)),
      reader_(reader),
      pg_version_(reader.pg_version()),
      state_(std::move(state)),
      control_(std::move(control)),
      auxiliary_key_(pg::auxiliary_key(control_.mock_authentication_nonce(), std::as_bytes(std::span(store_->timeline_id().bytes)))),
      counters_(state_.checkpoint, pg_version_),
      rel_sizes_(reader),
      slru_sizes_(reader),
      stored_position_lsn_(state_.last_record_lsn) {
  // stored_checkpoint_ is empty: the first record stores the checkpoint anew, which is harmless.
}

WalPosition Ingest::position() const {
  return {state_.last_record_start, state_.checkpoint.next_full_xid, state_.checkpoint.next_multi,
          state_.checkpoint.next_multi_offset, 0};
}

Status Ingest::ingest(const pg::WalRecordView& view, bool store_position) {
  HELIUM_ASSIGN(const pg::DecodedRecord record, pg::decode_record(view.bytes, pg_version_));
  if (record.prev_lsn != state_.last_record_start)
    return fail(ErrorCode::kCorrupt,
                fmt::format("the record at {} follows one at {}, but the last one here started at {}", view.start_lsn,
                            record.prev_lsn, state_.last_record_start));
  auto done = apply({record, view}, store_position);
  if (!done) {
    roll_back();
    return fail(std::move(done).error().context(
        fmt::format("ingest {} at {} that ends at {}",
                    pg::record_type_name(record.rmgr, record.info, pg_version_), view.start_lsn, view.end_lsn)));
  }
  return {};
}

// An image at the same LSN replaces the record; readers may not look there yet.
Status Ingest::put_hot_images(Lsn lsn) {
  for (const layer::Key& key : hot_pages_.count(out_.puts())) {
    const auto page = reader_.page_of_key(key, lsn);
    if (!page) continue;  // it stays refused
    const layer::Put image{key, layer::ValueKind::kImage, true, *page};
    HELIUM_TRY(store_->write(lsn, {&image, 1}));
  }
  return {};
}

// Nothing was written: what is stored says how things were before the record.
void Ingest::roll_back() {
  counters_ = Counters(state_.checkpoint, pg_version_);
  stored_checkpoint_ = {};
  rel_sizes_.reset();
  slru_sizes_.reset();
  origins_.clear();
  if (auto control = reader_.control_file(state_.last_record_lsn)) control_ = std::move(*control);
}

Status Ingest::apply(const Context& context, bool store_position) {
  out_.start(context.view.bytes);
  rel_sizes_.start(context.view.end_lsn);
  slru_sizes_.start(context.view.end_lsn);

  if (context.record.rmgr <= pg::kLastBuiltinRmgr)
    if (const Handler effects = kRows[context.record.rmgr].effects) HELIUM_TRY((this->*effects)(context));
  HELIUM_TRY(put_blocks(context));
  HELIUM_TRY(put_vm_effects(context));
  HELIUM_TRY(put_slru_effects(context));
  HELIUM_TRY(counters_.apply(context.record, control_.track_commit_timestamp()));
  rel_sizes_.flush(out_);
  put_position(context, store_position);
  HELIUM_TRY(out_.write(*store_, context.view.end_lsn));
  HELIUM_TRY(put_hot_images(context.view.end_lsn));

  state_.last_record_start = context.view.start_lsn;
  state_.last_record_lsn = context.view.end_lsn;
  state_.checkpoint = counters_.checkpoint();
  return {};
}

}  // namespace helium::pageserver
