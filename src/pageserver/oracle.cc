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

// The image's bits that we do not have, behind the page header.
std::string compare_vm(ByteView image, ByteView ours) {
  for (size_t at = pg::kPageHeaderSize; at < image.size(); ++at)
    if ((image[at] & ~ours[at]) != std::byte{0})
      return fmt::format("map byte {}: image {:02x}, ours {:02x}", at, static_cast<unsigned>(image[at]),
                         static_cast<unsigned>(ours[at]));
  return {};
}

// Was the map page there at `first`, or does it come from one that was, by a copy of the database's files up to `now`?
bool was_there(const PageReader& reader, redo::MapPage page, Lsn first, Lsn now) {
  constexpr int kMaxCopiesOfCopies = 100;
  for (int depth = 0; depth < kMaxCopiesOfCopies; ++depth) {
    const auto then = reader.rel_size(page.rel, first);
    if (then && *then && page.blkno < (*then)->nblocks) return true;
    const auto size = reader.rel_size(page.rel, now);
    if (!size || !*size || !(*size)->copied_from || page.blkno >= (*size)->copied_from->nblocks) return false;
    page.rel.spcnode = (*size)->copied_from->spcnode;
    page.rel.dbnode = (*size)->copied_from->dbnode;
    now = (*size)->copied_from->lsn;
  }
  return true;
}

}  // namespace

void Oracle::check(const PageReader& reader, const pg::DecodedRecord& record, Lsn record_end_lsn) {
  {
    std::lock_guard lock(mutex_);
    if (!first_lsn_) first_lsn_ = Lsn(record_end_lsn.bytes() - 1);
    copied_maps_.note(record, reader.pg_version(), record_end_lsn,
                      [&](const redo::MapPage& page) { return was_there(reader, page, *first_lsn_, record_end_lsn); });
  }
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
  {
    std::lock_guard lock(mutex_);
    copied_maps_.copy_unknown({ref.rel, ref.blkno}, ours, image);
  }
  if (ref.rel.forknum == pg::Fork::kVm) return compare_vm(image, ours);
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
