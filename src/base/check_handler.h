// For the simulation: a CHECK that fails throws there, instead of ending the process with all other schedules.

#pragma once

#include <string>

namespace helium {

struct CheckFailed {
  std::string what;
};
// From now on, in this process, failed CHECKs throw CheckFailed. Never in a daemon.
void throw_on_failed_check();

}  // namespace helium
