// The resource managers' redo functions, one file each; redo.cc picks the one.
//
// `page` is the page as it was (or zeros), and counts only if the function succeeds. The function stamps the page LSN,
// since not every record does. Errors: kRedo, the cause alone: redo.cc adds record and page.

#pragma once

#include "redo/page_edit.h"
#include "redo/redo.h"

namespace helium::redo {

struct BlockRedo {
  const pg::DecodedRecord& record;
  const pg::BlockRef& ref;
  const RedoContext& context;
  MutableByteView page;

  void stamp() const { pg::set_page_lsn(page, context.record_end_lsn); }
  Status need_will_init(bool expected) const {
    if (ref.will_init != expected) return bad("block {} has the wrong WILL_INIT", ref.id);
    return {};
  }
  // Bytes of a fixed struct at the head of the record's main data.
  Status need_main(size_t size) const {
    if (record.main_data.size() < size) return bad("main data of {} bytes, {} needed", record.main_data.size(), size);
    return {};
  }
  template <typename T>
  T main(size_t offset) const {
    return load<T>(record.main_data.data() + offset);
  }
};

Status redo_heap(const BlockRedo& redo);    // heap_redo.cc
Status redo_heap2(const BlockRedo& redo);   // heap2_redo.cc
Status redo_btree(const BlockRedo& redo);   // btree_redo.cc
Status redo_seq(const BlockRedo& redo);     // seq_redo.cc
Status redo_generic(const BlockRedo& redo); // generic_redo.cc
Status redo_brin(const BlockRedo& redo);    // brin_redo.cc
Status redo_hash(const BlockRedo& redo);    // hash_redo.cc
Status redo_gin(const BlockRedo& redo);     // gin_redo.cc
Status redo_gist(const BlockRedo& redo);    // gist_redo.cc
Status redo_spgist(const BlockRedo& redo);  // spgist_redo.cc
// A map page that a heap record names as a block (17 and later), or HEAP2/VISIBLE's map: vm_redo.cc.
Status redo_vm_block(const BlockRedo& redo);

// "redo: HEAP/INSERT at 1663/5/16385 blk 3, LSN 0/1A2B3C4: " before the cause: redo.cc.
Error with_redo_context(Error error, const pg::DecodedRecord& record, const RedoContext& context);

// What a record still changes after its page's image was restored (rule 19).
Status finish_hash_image(const BlockRedo& redo);  // hash_redo.cc
Status finish_gist_image(const BlockRedo& redo);  // gist_redo.cc

}  // namespace helium::redo
