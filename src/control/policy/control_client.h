// Asks a running daemon about its policy (control.h). Blocks for no longer than its timeout.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "crypto/error.h"

namespace vern::policy {

// The answer to one request. Errors: nobody there, no right to ask, or what the daemon says is wrong.
Result<nlohmann::json> ask_daemon(std::string_view interface, const nlohmann::json& request);

// The only interface that a daemon of ours runs, or the error that there is none or several.
Result<std::string> only_interface();

}  // namespace vern::policy
