#include "control/input_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "dataplane/io/fd.h"

namespace vern {
namespace {

std::string size_text(std::size_t bytes) {
    return bytes % (1 << 20) == 0 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} KiB", bytes >> 10);
}

}  // namespace

Result<std::string> read_input(const std::string& path, std::size_t bytes_max) {
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
        if (text.size() > bytes_max) return fail(shown + ": larger than " + size_text(bytes_max), EFBIG);
    }
    return text;
}

}  // namespace vern
