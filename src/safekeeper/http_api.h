// The safekeeper's HTTP API: timelines made, looked at, deleted. Bodies are JSON; errors {"msg":…}.
//
//   GET    /v1/timeline                          all of them: [{tenant_id, timeline_id, state, …}]
//   POST   /v1/tenant/timeline                   {tenant_id, timeline_id, pg_version, system_id, start_lsn,
//                                                 members:[{id,host,pg_port,http_port}], generation}; idempotent
//   GET    /v1/tenant/:tenant/timeline/:timeline {term, log_term, flush_lsn, commit_lsn, term_history, …,
//                                                 peers:[{id, log_term, flush_lsn, commit_lsn, heard_ms_ago}],
//                                                 readers:[{name, kind, sent_lsn, received_lsn, flush_lsn, apply_lsn}]}
//   DELETE /v1/tenant/:tenant/timeline/:timeline leaves a tombstone
//   POST   …/catch_up                            {peer, log_term, term_history, upto_lsn[, generation]} (rule 7)
//
// 404: not here; 409: it exists with other facts, was deleted, or a later term was promised (catch_up).

#pragma once

#include "http/server.h"
#include "safekeeper/safekeeper.h"

namespace helium::safekeeper {

// The safekeeper must outlive the server.
void add_routes(http::Server& server, Safekeeper& safekeeper);

}  // namespace helium::safekeeper
