// The answers to page service requests, as values: no sockets, no waiting.
//
// `lsn` is where to read: the caller has waited and taken min(read_lsn, readable_lsn). Errors become the ErrorReply.
// Threads: safe from any.

#pragma once

#include "pageserver/timeline.h"
#include "wire/page_service.h"

namespace helium::pageserver {

Result<Bytes> answer_rel_info(const Timeline& timeline, const wire::RelInfoRequest& request, Lsn lsn);
Result<Bytes> answer_list_rels(const Timeline& timeline, const wire::ListRelsRequest& request, Lsn lsn);
struct PagesAnswer {
  Bytes frame;
  uint32_t redo_refused = 0;  // a record does not fit the page
  uint32_t failed = 0;        // other reasons
};
Result<PagesAnswer> answer_get_pages(const Timeline& timeline, const wire::GetPagesRequest& request, Lsn lsn);
Result<Bytes> answer_list_slru(const Timeline& timeline, const wire::ListSlruRequest& request, Lsn lsn);
Result<Bytes> answer_bootstrap(const Timeline& timeline, const wire::BootstrapRequest& request);

}  // namespace helium::pageserver
