// Pages of clog, multixact offsets and members, and commit timestamps. They carry no LSN: the key's version does.
//
//   clog                2 bits per transaction, 4 in a byte: 1 committed, 2 aborted
//   multixact offsets   u32 per multixact: where its members start
//   multixact members   groups of 4: four bytes of flags, then four xids; 409 groups, 12 bytes over
//   commit timestamps   10 bytes per transaction: time i64, origin u16; 819 entries
//
// Source: PostgreSQL 15 clog.c, multixact.c, commit_ts.c.

#include <algorithm>
#include <cstring>
#include <set>

#include "redo/page_edit.h"
#include "redo/redo.h"
#include "redo/side_effects.h"
#include "redo/slru_layout.h"
#include "redo/xact_record.h"

namespace helium::redo {

using pg::Rmgr;
using pg::SlruKind;
using pg::SlruSegment;

namespace {

SlruEffect effect(SlruKind kind, uint64_t page, bool will_init) {
  return SlruEffect{SlruSegment{kind, static_cast<uint32_t>(page / pg::kSlruSegPages)},
                    static_cast<uint32_t>(page % pg::kSlruSegPages), will_init};
}

using Callback = std::function<void(const SlruEffect&)>;

// The pages of a transaction and its subtransactions, each once.
void name_xid_pages(const XactEnd& end, SlruKind kind, uint32_t per_page, const Callback& callback) {
  std::set<uint32_t> pages{end.xid / per_page};
  for (const uint32_t xid : end.subxids) pages.insert(xid / per_page);
  for (const uint32_t page : pages) callback(effect(kind, page, false));
}

void name_multixact_pages(const MultixactCreate& create, const Callback& callback) {
  const uint32_t page = create.mid / kOffsetsPerPage;
  const uint32_t next_page = create.next_mid() / kOffsetsPerPage;
  callback(effect(SlruKind::kMultixactOffsets, page, false));
  if (next_page != page) callback(effect(SlruKind::kMultixactOffsets, next_page, false));
  std::set<uint32_t> pages;
  for (size_t i = 0; i < create.members.size(); ++i)
    pages.insert((create.offset + static_cast<uint32_t>(i)) / kMembersPerPage);
  for (const uint32_t member_page : pages) callback(effect(SlruKind::kMultixactMembers, member_page, false));
}

std::optional<SlruKind> zero_page_kind(const pg::DecodedRecord& record) {
  switch (static_cast<Rmgr>(record.rmgr)) {
    case Rmgr::kClog: return record.op() == kSlruZeroPage ? std::optional(SlruKind::kClog) : std::nullopt;
    case Rmgr::kCommitTs: return record.op() == kSlruZeroPage ? std::optional(SlruKind::kCommitTs) : std::nullopt;
    case Rmgr::kMultixact:
      if (record.op() == kMultixactZeroOffPage) return SlruKind::kMultixactOffsets;
      if (record.op() == kMultixactZeroMemPage) return SlruKind::kMultixactMembers;
      return std::nullopt;
    default: return std::nullopt;
  }
}

bool is_multixact_create(const pg::DecodedRecord& record) {
  return record.rmgr == static_cast<uint8_t>(Rmgr::kMultixact) && record.op() == kMultixactCreateId;
}

void set_clog_status(const XactEnd& end, uint32_t page_number, MutableByteView page) {
  constexpr uint32_t kCommitted = 1;
  constexpr uint32_t kAborted = 2;
  const auto set = [&](uint32_t xid) {
    if (xid / kClogXidsPerPage != page_number) return;
    const uint32_t index = xid % kClogXidsPerPage;
    const uint32_t shift = index % 4 * 2;
    auto value = static_cast<uint32_t>(page[index / 4]);
    value = (value & ~(3u << shift)) | (end.commit ? kCommitted : kAborted) << shift;
    page[index / 4] = static_cast<std::byte>(value);
  };
  set(end.xid);
  for (const uint32_t xid : end.subxids) set(xid);
}

void set_commit_ts(const XactEnd& end, uint16_t origin, uint32_t page_number, MutableByteView page) {
  const auto set = [&](uint32_t xid) {
    if (xid / kCommitTsPerPage != page_number) return;
    std::byte* entry = page.data() + xid % kCommitTsPerPage * kCommitTsEntrySize;
    store(entry, end.commit_ts_time());
    store(entry + sizeof(int64_t), origin);
  };
  set(end.xid);
  for (const uint32_t xid : end.subxids) set(xid);
}

void set_multixact_offsets(const MultixactCreate& create, uint32_t page_number, MutableByteView page) {
  const auto set = [&](uint32_t mid, uint32_t offset) {
    if (mid / kOffsetsPerPage == page_number) store(page.data() + mid % kOffsetsPerPage * sizeof(uint32_t), offset);
  };
  set(create.mid, create.offset);
  set(create.next_mid(), create.next_offset());
}

void set_multixact_members(const MultixactCreate& create, uint32_t page_number, MutableByteView page) {
  for (size_t i = 0; i < create.members.size(); ++i) {
    const uint32_t offset = create.offset + static_cast<uint32_t>(i);  // wraps around
    if (offset / kMembersPerPage != page_number) continue;
    const uint32_t index = offset % kMembersPerPage;
    std::byte* group = page.data() + index / kMembersPerGroup * kMemberGroupSize;
    group[index % kMembersPerGroup] = static_cast<std::byte>(create.members[i].status);
    store(group + kMembersPerGroup + index % kMembersPerGroup * sizeof(uint32_t), create.members[i].xid);
  }
}

// ZERO_OFF_PAGE may come after the CREATE_ID of the last multixact of the page before, which writes this page's
// first entry. Nothing else can be on a page that is not zeroed yet.
void zero_offsets_page(uint32_t page_number, MutableByteView page) {
  const size_t kept = (page_number == 0 ? 2 : 1) * sizeof(uint32_t);  // multixact 0 does not exist: 1 follows the last
  std::memset(page.data() + kept, 0, page.size() - kept);
}

Status redo_xact_end(const pg::DecodedRecord& record, SlruKind kind, uint32_t page_number, int pg_version,
                     MutableByteView page) {
  HELIUM_ASSIGN(const XactEnd end, parse_xact_end(record, pg_version));
  if (kind == SlruKind::kClog) {
    set_clog_status(end, page_number, page);
  } else if (kind == SlruKind::kCommitTs && end.commit) {
    set_commit_ts(end, record.origin_id, page_number, page);
  } else {
    return bad("the end of a transaction does not write {}", pg::slru_folder(kind));
  }
  return {};
}

Status apply(const pg::DecodedRecord& record, SlruKind kind, uint32_t page_number, int pg_version, MutableByteView page) {
  if (is_xact_end(record)) return redo_xact_end(record, kind, page_number, pg_version, page);
  if (is_multixact_create(record)) {
    HELIUM_ASSIGN(const MultixactCreate create, parse_multixact_create(record));
    if (kind == SlruKind::kMultixactOffsets)
      set_multixact_offsets(create, page_number, page);
    else if (kind == SlruKind::kMultixactMembers)
      set_multixact_members(create, page_number, page);
    else
      return bad("CREATE_ID does not write {}", pg::slru_folder(kind));
    return {};
  }
  const std::optional<SlruKind> zeroed = zero_page_kind(record);
  if (zeroed != kind) return bad("the record does not write {}", pg::slru_folder(kind));
  HELIUM_ASSIGN(const uint64_t number, parse_slru_zero_page(record, pg_version));
  if (number != page_number) return bad("page {} is zeroed, not {}", number, page_number);
  if (kind == SlruKind::kMultixactOffsets)
    zero_offsets_page(page_number, page);
  else
    std::memset(page.data(), 0, page.size());
  return {};
}

}  // namespace

Status for_each_slru_effect(const pg::DecodedRecord& record, int pg_version, const Callback& callback) {
  if (is_xact_end(record)) {
    HELIUM_ASSIGN(const XactEnd end, parse_xact_end(record, pg_version));
    if (end.xid == 0) return {};
    name_xid_pages(end, SlruKind::kClog, kClogXidsPerPage, callback);
    if (end.commit) name_xid_pages(end, SlruKind::kCommitTs, kCommitTsPerPage, callback);
    return {};
  }
  if (is_multixact_create(record)) {
    HELIUM_ASSIGN(const MultixactCreate create, parse_multixact_create(record));
    name_multixact_pages(create, callback);
    return {};
  }
  if (const std::optional<SlruKind> kind = zero_page_kind(record)) {
    HELIUM_ASSIGN(const uint64_t page, parse_slru_zero_page(record, pg_version));
    callback(effect(*kind, page, *kind != SlruKind::kMultixactOffsets));
  }
  return {};
}

Status redo_slru_page(const pg::DecodedRecord& record, const SlruSegment& segment, uint32_t page_in_segment,
                      const RedoContext& context, MutableByteView page) {
  if (page.size() != pg::kBlockSize || page_in_segment >= pg::kSlruSegPages)
    return bad("redo: a page of {} bytes, page {} of its segment", page.size(), page_in_segment);
  const uint32_t page_number = segment.segno * pg::kSlruSegPages + page_in_segment;
  if (Status status = apply(record, segment.kind, page_number, context.pg_version, page); !status) {
    return fail(std::move(status).error().context(
        fmt::format("redo: {} at {} page {}, LSN {}", pg::record_type_name(record.rmgr, record.info, context.pg_version),
                    pg::to_string(segment), page_in_segment, to_string(context.record_end_lsn))));
  }
  return {};
}

}  // namespace helium::redo
