#include "control/daemonize.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace vern {

Result<Background> Background::begin() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe", errno);
    Fd read_end(ends[0]), write_end(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) return fail_errno("fork", errno);
    if (child == 0) {
        ::setsid();
        return Background(std::move(write_end));
    }
    write_end.reset();
    char ready = 0;
    if (::read(read_end.get(), &ready, 1) == 1) ::_exit(EXIT_SUCCESS);
    int status = 0;
    ::waitpid(child, &status, 0);
    ::_exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EXIT_FAILURE);
}

void Background::ready() noexcept {
    if (const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC)); null) {
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), fd);
    }
    [[maybe_unused]] const int changed = ::chdir("/");
    [[maybe_unused]] const auto written = ::write(pipe_.get(), "1", 1);
    pipe_.reset();
}

void notify_service_manager(std::string_view state) noexcept {
    const char* path = std::getenv("NOTIFY_SOCKET");
    if (!path || (path[0] != '/' && path[0] != '@')) return;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::size_t length = std::strlen(path);
    if (length >= sizeof address.sun_path) return;
    std::memcpy(address.sun_path, path, length);
    if (path[0] == '@') address.sun_path[0] = '\0';  // an abstract name
    const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) return;
    ::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL,
             reinterpret_cast<const sockaddr*>(&address),
             static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

}  // namespace vern
