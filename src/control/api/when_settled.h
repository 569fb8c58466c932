// Answers that tell of a change of identities: what they say is true when they are sent.
#pragma once

#include <functional>
#include <utility>

#include "control/api/message.h"
#include "control/identity/identities.h"

namespace vern::api {

// The answer of `say`, when what has changed until now is in force and on the disk, as far as that works.
inline Response when_settled(const identity::Identities& identities, std::function<Response()> say) {
    auto answer = [&identities, say = std::move(say)] {
        if (!identities.in_force())
            return error_response(
                500, "not-in-force",
                "done, but not in force: rules could not be compiled, and will be tried again");
        return say();
    };
    if (!identities.pending()) return answer();
    Response response;
    response.later = std::move(answer);
    return response;
}

// Whom an answer was to call bound, and who ended while it waited.
inline Response over_response(const identity::Identities& identities, std::uint64_t id) {
    return error_response(403, "ended",
                          "the identity ended before rules knew it: " + identities.why_over(id));
}

}  // namespace vern::api
