#include "pageserver/oracle.h"

#include <algorithm>

#include "base/log.h"
#include "pageserver/format.h"
#include "pageserver/metrics.h"
#include "pg/page.h"
#include "redo/mask.h"
#include "redo/redo.h"

namespace helium::pageserver {
namespace {

constexpr uint32_t kFirstNormalObjectId = 16384;

// Two bits per heap page. Source: PostgreSQL 15 visibilitymap.c.
unsigned bits_of(ByteView map, uint32_t heap_blkno) {
  const uint32_t at = heap_blkno % redo::kHeapBlocksPerVmPage;
  return static_cast<unsigned>(map[pg::kPageHeaderSize + at / 4]) >> (2 * (at % 4)) & 3;
}

// CREATE DATABASE logs the maps of the catalogs that it copies without their content (docs/redo.md): there PostgreSQL
// has bits that WAL does not. Those that this record sets must be the same all the same.
bool lacks_copied_bits_only(const pg::DecodedRecord& record, const pg::RelTag& map_rel, ByteView image, ByteView ours) {
  if (map_rel.dbnode < kFirstNormalObjectId || map_rel.relnode >= kFirstNormalObjectId) return false;
  for (size_t at = pg::kPageHeaderSize; at < image.size(); ++at)
    if ((ours[at] & ~image[at]) != std::byte{0}) return false;
  return std::ranges::all_of(record.blocks, [&](const pg::BlockRef& ref) {
    return ref.rel.forknum != pg::Fork::kMain || bits_of(image, ref.blkno) == bits_of(ours, ref.blkno);
  });
}

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
    if (ref.rel.forknum == pg::Fork::kFsm || !redo::redo_is_native(record.rmgr)) continue;
    const std::string type = pg::record_type_name(record.rmgr, record.info, reader.pg_version());
    if (!ref.image || ref.image->apply) {
      std::lock_guard lock(mutex_);
      ++counts_[type].unchecked;
      continue;
    }
    const Result<std::string> compared = compare(reader, record, ref, record_end_lsn);
    const bool differs = !compared || !compared->empty();
    if (metrics_) metrics_->count_redo_check(differs);
    std::lock_guard lock(mutex_);
    Count& count = counts_[type];
    ++count.compared;
    if (!differs) continue;
    if (!compared) ++count.refused;
    Difference difference{type, fmt::format("{} blk {}", ref.rel, ref.blkno), record_end_lsn,
                          compared ? *compared : compared.error().message};
    if (++count.differences == 1) {
      count.first_difference = fmt::format("{} at {}: {}", difference.what, record_end_lsn, difference.detail);
      log::error("redo differs from PostgreSQL", {{"record", type}, {"difference", count.first_difference}});
    }
    if (differences_.size() < kDifferencesKept) differences_.push_back(std::move(difference));
  }
}

Result<std::string> Oracle::compare(const PageReader& reader, const pg::DecodedRecord& record, const pg::BlockRef& ref,
                                    Lsn record_end_lsn) const {
  HELIUM_ASSIGN(const layer::SharedBytes rebuilt, reader.get_rel_page(ref.rel, ref.blkno, record_end_lsn));
  Bytes ours = rebuilt.to_bytes();
  Bytes image(pg::kBlockSize);
  HELIUM_TRY(pg::restore_image(*ref.image, image));
  if (ref.rel.forknum == pg::Fork::kVm)
    return lacks_copied_bits_only(record, ref.rel, image, ours) ? std::string() : compare_vm(image, ours);
  for (Bytes* page : {&ours, &image})
    HELIUM_TRY(redo::mask_page(record.rmgr, record.info, ref.rel, ref.blkno, *page));
  const auto at = redo::compare_pages(image, ours);
  if (!at) return std::string();
  return fmt::format("byte {}: image {:02x}, ours {:02x}", *at, static_cast<unsigned>(image[*at]),
                     static_cast<unsigned>(ours[*at]));
}

std::map<std::string, Oracle::Count> Oracle::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

std::vector<Oracle::Difference> Oracle::differences() const {
  std::lock_guard lock(mutex_);
  return differences_;
}

}  // namespace helium::pageserver
