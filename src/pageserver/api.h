// The management API over HTTP, in the shape of Neon's: docs/pageserver_api.md lists routes and fields.
//
//   GET|POST /v1/tenant                              list, create
//   GET|POST /v1/tenant/:tenant/timeline             list, create (root or branch)
//   GET      /v1/tenant/:tenant/timeline/:timeline
//   PUT      …/checkpoint                            everything to disk
//   GET      …/oracle                                counters of the check-redo mode
//   POST|GET|DELETE …/verify                         check stored WAL and pages: start, look, cancel
//
// Errors are JSON {"msg": …} with the status that http/server.h gives them.

#pragma once

#include "http/server.h"
#include "pageserver/tenants.h"
#include "pageserver/verification.h"

namespace helium::pageserver {

// `tenants` must outlive the server.
void add_routes(http::Server& server, Tenants& tenants, Verifications& verifications, uint64_t pageserver_id);

}  // namespace helium::pageserver
