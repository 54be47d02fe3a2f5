// try_settings: asks PostgreSQL itself whether it takes the endpoint's settings, without starting it.
//
// `postgres -C` reads its configuration, as at a start, and ends. So an unknown name or a bad value is found before this
// compute takes the timeline over from one that runs. It takes a few tens of milliseconds: not done without settings.
// Files: settings_trial/ in the working directory, made and removed. Errors: kInvalid: PostgreSQL's own words; kIo.
// Threads: one caller at a time, while nobody else waits for children.

#pragma once

#include <string>

#include "base/result.h"
#include "compute/settings.h"

namespace helium::compute {

Status try_settings(const std::string& postgres_program, const SettingsInput& input);

}  // namespace helium::compute
