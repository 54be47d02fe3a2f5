#include "pageserver/page_requests.h"

#include "pageserver/bootstrap.h"
#include "pageserver/format.h"
#include "pg/page.h"

namespace helium::pageserver {

Result<Bytes> answer_rel_info(const Timeline& timeline, const wire::RelInfoRequest& request, Lsn lsn) {
  wire::RelInfoReply reply;
  reply.request_id = request.request_id;
  for (int fork = 0; fork < pg::kForkCount; ++fork) {
    const pg::RelTag rel{request.spcnode, request.dbnode, request.relnode, static_cast<pg::Fork>(fork)};
    HELIUM_ASSIGN(const auto size, timeline.reader().rel_size(rel, lsn));
    if (size) reply.nblocks[fork] = size->nblocks;
  }
  return encode(reply);
}

Result<Bytes> answer_list_rels(const Timeline& timeline, const wire::ListRelsRequest& request, Lsn lsn) {
  wire::ListRelsReply reply;
  reply.request_id = request.request_id;
  HELIUM_ASSIGN(const auto rels, timeline.reader().list_rels(request.spcnode, request.dbnode, lsn));
  for (const PageReader::RelFork& fork : rels) reply.rels.push_back({fork.rel, fork.size.nblocks});
  return encode(reply);
}

Result<PagesAnswer> answer_get_pages(const Timeline& timeline, const wire::GetPagesRequest& request, Lsn lsn) {
  const PageReader& reader = timeline.reader();
  wire::GetPagesReply reply;
  reply.request_id = request.request_id;
  PagesAnswer answer;
  std::vector<layer::SharedBytes> pages;  // keeps the replies' views alive
  pages.reserve(request.blknos.size());
  std::vector<Bytes> summed;
  summed.reserve(request.blknos.size());

  const auto add = [&](Result<layer::SharedBytes> page) {
    if (!page) {
      ++(page.error().code == ErrorCode::kRedo ? answer.redo_refused : answer.failed);
      reply.pages.push_back({std::move(page).error(), {}});
      return;
    }
    pages.push_back(std::move(*page));
    reply.pages.push_back({std::nullopt, pages.back().view()});
  };
  if (const auto* rel = std::get_if<pg::RelTag>(&request.owner)) {
    HELIUM_ASSIGN(const auto size, reader.rel_size(*rel, lsn));
    if (!size) return fail(ErrorCode::kNotFound, fmt::format("relation {} does not exist at {}", *rel, lsn));
    HELIUM_ASSIGN(const bool with_checksums, timeline.data_checksums());
    for (const uint32_t blkno : request.blknos) {
      add(reader.get_rel_page(*rel, *size, blkno, lsn));
      if (!with_checksums || reply.pages.back().error) continue;
      summed.push_back(pages.back().to_bytes());
      pg::set_page_checksum(summed.back(), blkno);
      reply.pages.back().page = summed.back();
    }
  } else {
    const auto& segment = std::get<pg::SlruSegment>(request.owner);
    for (const uint32_t page : request.blknos) add(reader.get_slru_page(segment, page, lsn));
  }
  answer.frame = encode(reply);
  return answer;
}

Result<Bytes> answer_list_slru(const Timeline& timeline, const wire::ListSlruRequest& request, Lsn lsn) {
  wire::ListSlruReply reply;
  reply.request_id = request.request_id;
  HELIUM_ASSIGN(const auto segments, timeline.reader().list_slru(lsn));
  for (const PageReader::SlruFork& fork : segments) reply.segments.push_back({fork.segment, fork.npages});
  return encode(reply);
}

Result<Bytes> answer_bootstrap(const Timeline& timeline, const wire::BootstrapRequest& request) {
  HELIUM_ASSIGN(wire::BootstrapReply reply, build_bootstrap(timeline, request.lsn));
  reply.request_id = request.request_id;
  return encode(reply);
}

}  // namespace helium::pageserver
