#include "control/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "control/secret_text.h"
#include "dataplane/io/fd.h"

namespace vern {
namespace {

std::string size_text(std::size_t bytes) {
    return bytes % (1 << 20) == 0 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} KiB", bytes >> 10);
}

}  // namespace

// Straight into the text: nothing of a secret stays elsewhere.
template <typename String>
Result<String> read_all(int fd, std::size_t bytes_max, const std::string& shown) {
    constexpr std::size_t kPiece = 64 * 1024;
    String text;
    // Room for all of a file at once; of a pipe nobody knows how much there will be.
    struct stat info {};
    if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        text.reserve(std::min(static_cast<std::size_t>(info.st_size), bytes_max) + kPiece);
    for (;;) {
        const std::size_t had = text.size();
        text.resize(had + kPiece);
        const ssize_t got = ::read(fd, text.data() + had, kPiece);
        if (got < 0 && errno != EINTR) return fail_errno(shown, errno);
        text.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got == 0) return text;
        if (text.size() > bytes_max) return fail(shown + ": larger than " + size_text(bytes_max), EFBIG);
    }
}
template Result<std::string> read_all(int, std::size_t, const std::string&);
template Result<SecretText> read_all(int, std::size_t, const std::string&);

Result<std::string> read_input(const std::string& path, std::size_t bytes_max) {
    const bool standard_input = path == "-";
    const std::string shown = standard_input ? "standard input" : path;
    const Fd fd(standard_input ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                               : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno(shown, errno);
    return read_all<std::string>(fd.get(), bytes_max, shown);
}

Result<void> write_all(int fd, std::string_view text, const std::string& shown) {
    while (!text.empty()) {
        const ssize_t put = ::write(fd, text.data(), text.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_errno("write " + shown, errno);
        text.remove_prefix(static_cast<std::size_t>(put));
    }
    return {};
}

void keep_standard_streams() noexcept {
    int fd = 0;
    while (fd >= 0 && fd <= STDERR_FILENO) fd = ::open("/dev/null", O_RDONLY);  // the lowest that is free
    if (fd > STDERR_FILENO) ::close(fd);
}

Result<void> make_directories(const std::string& path, mode_t mode) {
    for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
        const std::string part = path.substr(0, slash);
        if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) return fail_errno("mkdir " + part, errno);
        if (slash == std::string::npos) return {};
    }
}

}  // namespace vern
