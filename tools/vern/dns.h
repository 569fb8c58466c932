// Name servers and search domains for as long as the tunnel is up, by resolvconf(8) where it is installed,
// else by resolvectl(1).
#pragma once

#include <string>

#include "control/wg_config.h"
#include "steps.h"

namespace vern::cli {

// Nothing to do without DNS in the file; an error that says so when neither program is there.
Result<void> set_dns(Steps& steps, const std::string& interface, const WgConfig& config);
Result<void> unset_dns(Steps& steps, const std::string& interface, const WgConfig& config);

}  // namespace vern::cli
