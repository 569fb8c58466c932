// The files behind `vern up`, `down`, `save` and `check`.
#pragma once

#include <string>
#include <string_view>

#include "control/wg_config.h"

namespace vern::cli {

struct ConfigFile {
    std::string path;       // absolute, links followed
    std::string shown;      // the same for messages: as given
    std::string interface;  // its name without ".conf"
    WgConfig config;
};

// Where `operand` (a name, looked for in /etc/wireguard and /etc/vern, or a path) is, and the interface it is
// for.
Result<ConfigFile> locate_config(std::string_view operand);
// The same with what is in it; warns on standard error when others may read it, and of what the parser found
// odd.
Result<ConfigFile> load_config(std::string_view operand);
// To look at only: any file, whatever its name; "-" is standard input.
Result<ConfigFile> read_config(std::string_view operand);

// Puts `text` in the place of the file, whole or not at all, readable by its owner only.
Result<void> replace_file(const std::string& path, std::string_view text);

}  // namespace vern::cli
