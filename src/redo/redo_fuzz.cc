// Fuzzes redo with a page and a record: nothing may be read or written outside, a refused page stays as it was.
// Input: version u8, page (8192 bytes), then one whole WAL record; its total length and rmgr range are made right.

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "pg/page.h"
#include "redo/mask.h"
#include "redo/oracle.h"
#include "redo/side_effects.h"
#include "redo/xact_record.h"

using namespace helium;
using namespace helium::redo;

namespace {

void parse_everything(const pg::DecodedRecord& record, int version) {
  for_each_assigned_xid(record, version, [](uint32_t) {});
  (void)parse_xact_end(record, version);
  (void)parse_xact_prepare(record, version);
  (void)parse_smgr_create(record);
  (void)parse_dbase(record, version);
  (void)parse_tblspc(record);
  (void)parse_relmap_update(record);
  (void)parse_slru_truncate(record, version);
  (void)parse_multixact_truncate(record);
  (void)parse_running_xacts(record);
  (void)parse_repl_origin(record);
  (void)parse_logical_message(record);
  (void)parse_parameter_change(record);
  (void)parse_next_oid(record);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 + 8192 + 24 || size > 1 << 20) return 0;
  const int version = 14 + data[0] % 5;
  PageBytes page;
  std::memcpy(page.data(), data + 1, page.size());
  const auto* bytes = reinterpret_cast<const std::byte*>(data + 1 + page.size());
  Bytes record(bytes, bytes + (size - 1 - page.size()));
  store(record.data(), static_cast<uint32_t>(record.size()));
  if (static_cast<uint8_t>(record[17]) > pg::kLastBuiltinRmgr) record[17] &= std::byte{0x0F};
  const auto decoded = pg::decode_record(record, version);
  if (!decoded) return 0;

  for (const pg::BlockRef& ref : decoded->blocks) {
    const RedoContext context{Lsn::max(), version, (data[0] & 0x80) != 0, ref.blkno, ref.rel};
    const PageBytes before = page;
    if (!redo_block(*decoded, ref, context, page)) CHECK(page == before);
    (void)redo_vm_side_effect(*decoded, context, page);
    PageBytes masked = page;
    (void)mask_page(decoded->rmgr, decoded->info, ref.rel, ref.blkno, masked);
  }
  for_each_vm_effect(*decoded, version, [&](const VmPage& vm) {
    (void)redo_vm_side_effect(*decoded, RedoContext{Lsn::max(), version, false, vm.blkno, vm.rel}, page);
  });
  (void)for_each_slru_effect(*decoded, version, [&](const SlruEffect& effect) {
    (void)redo_slru_page(*decoded, effect.segment, effect.page_in_segment, RedoContext{Lsn::max(), version}, page);
  });
  parse_everything(*decoded, version);
  return 0;
}
