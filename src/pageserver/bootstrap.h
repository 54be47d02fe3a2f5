// Bootstrap: what a compute needs before it can start at X and is not loaded lazily.
//
// A few KiB: the control file as a template, the checkpoint's counters at X, PG_VERSION files, relation maps, two-phase
// files, the folders of databases, and which SLRU segments exist. Errors: kInvalid: X is not a record end that is kept.
// Threads: safe from any.

#pragma once

#include "pageserver/timeline.h"
#include "wire/page_service.h"

namespace helium::pageserver {

// Precondition: timeline.readable_lsn() >= lsn. The request_id is the caller's to set.
Result<wire::BootstrapReply> build_bootstrap(const Timeline& timeline, Lsn lsn);

}  // namespace helium::pageserver
