// The ways in which `vern show` prints what a daemon says of its interface.
#pragma once

#include <ctime>
#include <string>
#include <string_view>

#include "control/json.h"
#include "dataplane/core/config.h"

namespace vern::cli {

struct ShownInterface {
    std::string name;
    DeviceStatus device;
    nlohmann::json vern;  // the daemon's own status; null for other implementations. Members may be missing.
};

// For people. `now` is for "3 minutes ago"; keys stay hidden unless `show_keys`; `colour`: with terminal
// escapes.
struct PrettyOptions {
    std::time_t now = 0;
    bool show_keys = false;
    bool colour = false;
};
std::string pretty(const ShownInterface& shown, const PrettyOptions& options);

// For scripts, as `wg show INTERFACE FIELD` prints it, byte for byte. Each line begins with `line_start` (the
// interface's name and a tab, for `all`). False: no such field.
bool print_field(const ShownInterface& shown, std::string_view field, std::string_view line_start,
                 std::string& out);

// Keys only with `show_keys`.
nlohmann::json to_json(const ShownInterface& shown, bool show_keys);

}  // namespace vern::cli
