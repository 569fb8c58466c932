// What `vern save` writes, for `vern down` with SaveConfig as well.
#pragma once

#include "config_file.h"

namespace vern::cli {

// The device's present keys, peers and addresses, and the file's own settings and hooks, into the file.
Result<void> save_config(const ConfigFile& file);

}  // namespace vern::cli
