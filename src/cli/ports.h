// Who has a port on this machine.

#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "io/net.h"

namespace helium::cli {

bool is_port_free(const HostPort& address);

// "'nginx' (pid 4711)", or nothing when it cannot be seen (another user's process, another container).
std::optional<std::string> port_owner(uint16_t port);

// kInvalid when somebody listens there: names who has the port and what we want it for.
Status check_port_free(const HostPort& address, std::string_view purpose);

}  // namespace helium::cli
