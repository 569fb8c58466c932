// Asks a running daemon by its control API. Blocks, for no longer than `timeout`. Any thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "control/api/message.h"
#include "control/api/server.h"
#include "control/json.h"
#include "crypto/error.h"

namespace vern::api {

// Compiling a policy of a hundred thousand rules takes its seconds.
inline constexpr std::chrono::seconds kPatience{60};

struct Answer {
    unsigned status = 0;
    std::string body;
};

// `target`: path and query (with_query()). Errors: nobody there, no right to connect, no answer in time.
Result<Answer> exchange(std::string_view interface, Method method, std::string_view target,
                        std::string_view body = {}, std::chrono::milliseconds timeout = kPatience,
                        std::string_view directory = kDirectory);

// What a 2xx says. Anything else is the error that the daemon has told, in its sentence; EBADMSG: what was
// handed in is not taken.
Result<nlohmann::json> ask(std::string_view interface, Method method, std::string_view target,
                           std::string_view body = {}, std::string_view directory = kDirectory);

// The only interface that a daemon of ours runs, or the error that there is none or several.
Result<std::string> only_interface(std::string_view directory = kDirectory);

}  // namespace vern::api
