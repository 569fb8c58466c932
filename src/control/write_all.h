// A whole text into a file, whatever pieces the kernel takes it in. Blocks.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "crypto/error.h"

namespace vern {

// `path` is for the error.
inline Result<void> write_all(int fd, std::string_view text, const std::string& path) {
    while (!text.empty()) {
        const ssize_t put = ::write(fd, text.data(), text.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_errno("write " + path, errno);
        text.remove_prefix(static_cast<std::size_t>(put));
    }
    return {};
}

}  // namespace vern
