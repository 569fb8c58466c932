#include "control/policy/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "control/policy/language.h"
#include "dataplane/io/fd.h"

namespace vern::policy {

Result<std::string> read_policy_file(const std::string& path) {
    const bool standard_input = path == "-";
    const std::string shown = standard_input ? "standard input" : path;
    const Fd fd(standard_input ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                               : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno(shown, errno);
    std::string text;
    std::array<char, 64 * 1024> chunk;
    ssize_t got = 0;
    while ((got = ::read(fd.get(), chunk.data(), chunk.size())) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(shown, errno);
        text.append(chunk.data(), static_cast<std::size_t>(got));
        if (text.size() > kPolicyBytesMax) return fail(shown + ": larger than 8 MiB", EFBIG);
    }
    return text;
}

}  // namespace vern::policy
