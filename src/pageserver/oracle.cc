#include "pageserver/oracle.h"

#include "base/log.h"
#include "pageserver/format.h"
#include "pg/page.h"
#include "redo/mask.h"
#include "redo/redo.h"

namespace helium::pageserver {
namespace {

// The image's bits that we do not have: behind the page header, every byte.
std::string compare_vm(ByteView image, ByteView ours) {
  for (size_t at = pg::kPageHeaderSize; at < image.size(); ++at)
    if ((image[at] & ~ours[at]) != std::byte{0})
      return fmt::format("map byte {}: image {:02x}, ours {:02x}", at, static_cast<unsigned>(image[at]),
                         static_cast<unsigned>(ours[at]));
  return {};
}

}  // namespace

void Oracle::check(const PageReader& reader, const pg::DecodedRecord& record, Lsn record_end_lsn) {
  for (const pg::BlockRef& ref : record.blocks) {
    if (!ref.image || ref.image->apply || !redo::redo_is_native(record.rmgr)) continue;
    if (ref.rel.forknum == pg::Fork::kFsm) continue;
    const std::string difference = compare(reader, record, ref, record_end_lsn);
    const std::string type = pg::record_type_name(record.rmgr, record.info, reader.pg_version());
    std::lock_guard lock(mutex_);
    Count& count = counts_[type];
    ++count.compared;
    if (difference.empty()) continue;
    if (++count.differences == 1) {
      count.first_difference = fmt::format("{} blk {} at {}: {}", ref.rel, ref.blkno, record_end_lsn, difference);
      log::error("redo differs from PostgreSQL", {{"record", type}, {"difference", count.first_difference}});
    }
  }
}

std::string Oracle::compare(const PageReader& reader, const pg::DecodedRecord& record, const pg::BlockRef& ref,
                            Lsn record_end_lsn) const {
  auto rebuilt = reader.get_rel_page(ref.rel, ref.blkno, record_end_lsn);
  if (!rebuilt) return rebuilt.error().message;
  Bytes ours = rebuilt->to_bytes();
  Bytes image(pg::kBlockSize);
  if (auto restored = pg::restore_image(*ref.image, image); !restored) return restored.error().message;
  if (ref.rel.forknum == pg::Fork::kVm) return compare_vm(image, ours);
  for (Bytes* page : {&ours, &image})
    if (auto masked = redo::mask_page(record.rmgr, record.info, ref.rel, ref.blkno, *page); !masked)
      return masked.error().message;
  const auto at = redo::compare_pages(image, ours);
  if (!at) return {};
  return fmt::format("byte {}: image {:02x}, ours {:02x}", *at, static_cast<unsigned>(image[*at]),
                     static_cast<unsigned>(ours[*at]));
}

std::map<std::string, Oracle::Count> Oracle::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace helium::pageserver
