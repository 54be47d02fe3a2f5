// Redo of RM_SEQ_ID: the page of a sequence is rebuilt whole from the record.
// Source: PostgreSQL 15 sequence.c, sequence.h (sequence_xlog.h since 18); the same in 14 to 18.

#include "redo/rmgr_redo.h"

namespace helium::redo {

Status redo_seq(const BlockRedo& redo) {
  constexpr uint32_t kSeqMagic = 0x1717;
  constexpr size_t kSeqRecordSize = 12;  // xl_seq_rec: the relation
  if (redo.record.op() != 0x00 || redo.ref.id != 0) return bad("a block in a record that has none");
  if (!redo.ref.will_init) return bad("a sequence's page without WILL_INIT");
  HELIUM_TRY(redo.need_main(kSeqRecordSize));
  pg::page_init(redo.page, sizeof(kSeqMagic));
  store(redo.page.data() + pg::page_special(redo.page), kSeqMagic);
  HELIUM_TRY(add_item(redo.page, redo.record.main_data.subspan(kSeqRecordSize), 1, AddMode::kIndex));
  redo.stamp();
  return {};
}

}  // namespace helium::redo
