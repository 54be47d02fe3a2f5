// Pages and segments of clog, multixact and commit timestamps.

#include "pageserver/ingest.h"
#include "redo/redo.h"
#include "redo/side_effects.h"

namespace helium::pageserver {

using layer::Key;

namespace {
constexpr uint32_t kCommitTsPerPage = pg::kBlockSize / 10;  // COMMIT_TS_XACTS_PER_PAGE: a timestamp and an origin
}

Status Ingest::put_slru_effects(const Context& context) {
  Status status;
  HELIUM_TRY(redo::for_each_slru_effect(context.record, pg_version_, [&](const redo::SlruEffect& effect) {
    if (!status) return;
    if (effect.segment.kind == pg::SlruKind::kCommitTs && !control_.track_commit_timestamp()) return;
    auto is_new = slru_sizes_.extend_to_hold(effect.segment, effect.page_in_segment, out_);
    if (!is_new) {
      status = fail(std::move(is_new).error());
      return;
    }
    out_.put_record(Key::slru_block(effect.segment, effect.page_in_segment), *is_new || effect.will_init);
  }));
  return status;
}

Status Ingest::truncate_slru(const Context& context, pg::SlruKind kind) {
  HELIUM_ASSIGN(const redo::SlruTruncate truncate, redo::parse_slru_truncate(context.record, pg_version_));
  HELIUM_ASSIGN(const auto segments, reader_.list_slru(kind, context.view.end_lsn));
  for (const PageReader::SlruFork& fork : segments)
    if (redo::slru_segment_is_before(fork.segment, truncate.cutoff_page, pg_version_))
      slru_sizes_.drop(fork.segment, out_);
  return {};
}

Status Ingest::on_clog(const Context& context) {
  return context.record.op() == redo::kSlruTruncate ? truncate_slru(context, pg::SlruKind::kClog) : Status();
}

Status Ingest::on_commit_ts(const Context& context) {
  return context.record.op() == redo::kSlruTruncate ? truncate_slru(context, pg::SlruKind::kCommitTs) : Status();
}

Status Ingest::on_multixact(const Context& context) {
  if (context.record.op() != redo::kMultixactTruncateId) return {};
  HELIUM_ASSIGN(const redo::MultixactTruncate truncate, redo::parse_multixact_truncate(context.record));
  for (const pg::SlruKind kind : {pg::SlruKind::kMultixactMembers, pg::SlruKind::kMultixactOffsets}) {
    HELIUM_ASSIGN(const auto segments, reader_.list_slru(kind, context.view.end_lsn));
    for (const PageReader::SlruFork& fork : segments)
      if (redo::multixact_segment_goes(truncate, fork.segment)) slru_sizes_.drop(fork.segment, out_);
  }
  return {};
}

// Switching track_commit_timestamp on makes the page of the next xid; no other record does.
Status Ingest::start_commit_ts() {
  counters_.start_commit_ts();
  const uint32_t page = static_cast<uint32_t>(counters_.checkpoint().next_full_xid) / kCommitTsPerPage;
  const pg::SlruSegment segment{pg::SlruKind::kCommitTs, page / pg::kSlruSegPages};
  HELIUM_ASSIGN(const bool is_new, slru_sizes_.extend_to_hold(segment, page % pg::kSlruSegPages, out_));
  if (is_new) out_.put_zero_page(Key::slru_block(segment, page % pg::kSlruSegPages));
  return {};
}

// Switching it off deletes them all.
Status Ingest::stop_commit_ts() {
  counters_.stop_commit_ts();
  HELIUM_ASSIGN(const auto segments, reader_.list_slru(pg::SlruKind::kCommitTs, Lsn::max()));
  for (const PageReader::SlruFork& fork : segments) slru_sizes_.drop(fork.segment, out_);
  return {};
}

}  // namespace helium::pageserver
