// Small things that the tests of this folder share: records put together by hand, pages.

#pragma once

#include <gtest/gtest.h>

#include "pg/page.h"
#include "redo/oracle.h"
#include "redo/recorded_wal.h"
#include "redo/rmgr_redo.h"

namespace helium::redo::testing {

inline const pg::RelTag kRel{1663, 5, 16385, pg::Fork::kMain};

// A record with bytes of its own.
struct TestRecord {
  Bytes main;
  std::array<Bytes, 8> block_data;
  pg::DecodedRecord record;

  TestRecord(pg::Rmgr rmgr, uint8_t info, Bytes main_data, uint32_t xid = 700) : main(std::move(main_data)) {
    record.rmgr = static_cast<uint8_t>(rmgr);
    record.info = info;
    record.xid = xid;
    record.main_data = main;
  }
  TestRecord(const TestRecord&) = delete;
  TestRecord& operator=(const TestRecord&) = delete;
  TestRecord& block(uint8_t id, uint32_t blkno, Bytes data = {}, bool will_init = false, pg::Fork fork = pg::Fork::kMain) {
    block_data[id] = std::move(data);
    pg::BlockRef ref;
    ref.id = id;
    ref.rel = kRel;
    ref.rel.forknum = fork;
    ref.blkno = blkno;
    ref.will_init = will_init;
    ref.has_data = !block_data[id].empty();
    ref.data = block_data[id];
    record.blocks.push_back(ref);
    return *this;
  }
  // An uncompressed image of a whole page, without a hole; `bytes` must outlive the record.
  TestRecord& image(uint8_t id, const PageBytes& bytes, bool apply) {
    for (pg::BlockRef& ref : record.blocks)
      if (ref.id == id) ref.image = pg::BlockImage{apply, pg::ImageCompression::kNone, 0, 0, bytes};
    return *this;
  }
  RedoContext context(uint8_t id, Lsn end = Lsn(0x1000)) const {
    const pg::BlockRef* ref = record.block(id);
    return RedoContext{end, 15, false, ref->blkno, ref->rel};
  }
  Status redo(uint8_t id, MutableByteView page, Lsn end = Lsn(0x1000)) const {
    return redo_block(record, *record.block(id), context(id, end), page);
  }
};

// Little-endian fields of the given types, one after the other.
template <typename... Fields>
Bytes pack(Fields... fields) {
  ByteWriter writer;
  (writer.raw(&fields, sizeof(fields)), ...);
  return writer.take();
}

inline PageBytes empty_page(uint32_t special = 0) {
  PageBytes page;
  pg::page_init(page, special);
  return page;
}

// A heap INSERT of `body` at `offnum` in block `blkno`.
inline Bytes heap_tuple_data(std::string_view body) {
  Bytes data = pack<uint16_t, uint16_t, uint8_t>(2, 0x0802, 24);
  data.push_back(std::byte{0});  // padding up to t_hoff
  const ByteView text = as_bytes(body);
  data.insert(data.end(), text.begin(), text.end());
  return data;
}

}  // namespace helium::redo::testing
