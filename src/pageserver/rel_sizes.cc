#include "pageserver/rel_sizes.h"

#include <algorithm>

#include "base/check.h"
#include "pg/constants.h"

namespace helium::pageserver {

using layer::Key;

void RelSizes::start(Lsn at) {
  CHECK(changed_.empty());
  at_ = at;
  if (sizes_.size() >= kMaxEntries) sizes_.clear();
}

void RelSizes::reset() {
  sizes_.clear();
  changed_.clear();
}

Result<std::optional<RelSizeValue>> RelSizes::get(const pg::RelTag& rel) {
  if (const auto found = sizes_.find(rel); found != sizes_.end()) return found->second;
  HELIUM_ASSIGN(const auto size, reader_.rel_size(rel, at_));
  sizes_.emplace(rel, size);
  return size;
}

void RelSizes::set(const pg::RelTag& rel, const RelSizeValue& value) {
  sizes_[rel] = value;
  if (std::find(changed_.begin(), changed_.end(), rel) == changed_.end()) changed_.push_back(rel);
}

void RelSizes::drop(const pg::RelTag& rel) {
  sizes_[rel] = std::nullopt;
  if (std::find(changed_.begin(), changed_.end(), rel) == changed_.end()) changed_.push_back(rel);
}

Result<bool> RelSizes::extend_to_hold(const pg::RelTag& rel, uint32_t blkno, RecordWriter& out) {
  if (blkno == UINT32_MAX) return fail(ErrorCode::kCorrupt, "block number 4294967295 of " + to_string(rel));
  HELIUM_ASSIGN(const auto known, get(rel));
  RelSizeValue size = known.value_or(RelSizeValue{});
  if (known && blkno < size.nblocks) return false;
  const uint32_t gap = blkno - size.nblocks;
  if (gap <= kMaxExplicitZeros) {
    for (uint32_t zero = size.nblocks; zero < blkno; ++zero) out.put_zero_page(Key::rel_block(rel, zero));
  } else {
    out.put_data(Key::rel_zero_range(rel, size.nblocks), encode(ZeroRangeValue{blkno}));
    size.has_zero_ranges = true;
  }
  size.nblocks = blkno + 1;
  set(rel, size);
  return true;
}

Status RelSizes::truncate(const pg::RelTag& rel, uint32_t nblocks) {
  HELIUM_ASSIGN(const auto known, get(rel));
  if (!known || known->nblocks <= nblocks) return {};
  RelSizeValue size = *known;
  size.nblocks = nblocks;
  if (size.copied_from) {
    size.copied_from->nblocks = std::min(size.copied_from->nblocks, nblocks);
    if (size.copied_from->nblocks == 0) size.copied_from.reset();
  }
  set(rel, size);
  return {};
}

void RelSizes::flush(RecordWriter& out) {
  for (const pg::RelTag& rel : changed_) {
    const std::optional<RelSizeValue>& size = sizes_.at(rel);
    if (size)
      out.put_data(Key::rel_size(rel), encode(*size));
    else
      out.put_tombstone(Key::rel_size(rel));
  }
  changed_.clear();
}

void SlruSizes::start(Lsn at) {
  at_ = at;
  if (npages_.size() >= kMaxEntries) npages_.clear();
}

namespace {
uint64_t id_of(const pg::SlruSegment& segment) { return uint64_t(segment.kind) << 32 | segment.segno; }
}  // namespace

Result<bool> SlruSizes::extend_to_hold(const pg::SlruSegment& segment, uint32_t page, RecordWriter& out) {
  if (page >= pg::kSlruSegPages) return fail(ErrorCode::kCorrupt, "page behind the end of " + to_string(segment));
  auto found = npages_.find(id_of(segment));
  if (found == npages_.end()) {
    HELIUM_ASSIGN(const auto stored, reader_.slru_size(segment, at_));
    found = npages_.emplace(id_of(segment), stored.value_or(0)).first;
  }
  uint32_t& npages = found->second;
  if (page < npages) return false;
  for (uint32_t zero = npages; zero < page; ++zero) out.put_zero_page(Key::slru_block(segment, zero));
  npages = page + 1;
  out.put_data(Key::slru_size(segment), encode(SlruSizeValue{npages}));
  return true;
}

void SlruSizes::drop(const pg::SlruSegment& segment, RecordWriter& out) {
  npages_[id_of(segment)] = 0;
  out.put_tombstone(Key::slru_size(segment));
}

}  // namespace helium::pageserver
