// What every daemon does: block signals, wait for SIGTERM or SIGINT, stop cleanly.
//
// Call block_stop_signals() first thing in main, before any thread is started, so that all of them inherit
// the mask. wait_for_stop() then returns when somebody wants the daemon to end. SIGPIPE is ignored.

#pragma once

#include <chrono>

namespace helium {

void block_stop_signals();

// Waits for SIGTERM, SIGINT or SIGQUIT; returns the signal's number.
int wait_for_stop();
// Returns 0 when `timeout` passed without one.
int wait_for_stop(std::chrono::milliseconds timeout);

}  // namespace helium
