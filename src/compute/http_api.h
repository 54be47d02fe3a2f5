// The compute's management API and metrics. Routes and answers: docs/protocols/compute_spec.md.
// Ownership: the compute outlives the server. Threads: handlers run on the server's.

#pragma once

#include <memory>

#include "compute/compute.h"
#include "http/server.h"

namespace helium::compute {

// The registry whose metrics are read from the compute at each scrape.
std::shared_ptr<prometheus::Registry> make_metrics(const Compute& compute);
void add_routes(http::Server& server, Compute& compute);

}  // namespace helium::compute
