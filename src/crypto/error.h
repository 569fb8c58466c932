// Errors as values: one sentence for the operator that says what is wrong and, where it helps, what to do.
// Never carries key material. Used on the slow path only; the packet path answers with counters
// (dataplane/base/counters.h).
#pragma once

#include <cerrno>
#include <string>
#include <system_error>
#include <tl/expected.hpp>
#include <utility>

namespace vern {

struct Error {
    std::string message;
    int code = EINVAL;  // errno value for the UAPI's `errno=` line and for exit statuses
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(std::string message, int code = EINVAL) {
    return tl::unexpected<Error>(Error{std::move(message), code});
}

// "open /dev/net/tun: Permission denied": for failed system calls.
inline tl::unexpected<Error> fail_errno(const std::string& what, int code) {
    return fail(what + ": " + std::generic_category().message(code), code);
}

}  // namespace vern
