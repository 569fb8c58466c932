// What a configuration file says of keys, ports and peers, and a daemon that gets it.
#pragma once

#include "config_file.h"
#include "dataplane/core/config.h"
#include "steps.h"

namespace vern::cli {

// Looks up those endpoints that `change`, made of the file, does not have yet, being names. As wg(8), what
// may be temporary is tried again WG_ENDPOINT_RESOLUTION_RETRIES times. Errors have file and line.
Result<void> resolve_endpoints(const ConfigFile& file, const Steps& steps, DeviceChange& change);

// Whole or not at all. Errors say what of the file is at fault.
Result<void> give_settings(const ConfigFile& file, const Steps& steps, const DeviceChange& change);

}  // namespace vern::cli
