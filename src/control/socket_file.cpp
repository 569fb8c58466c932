#include "control/socket_file.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "control/files.h"
#include "control/text.h"
#include "control/unix_address.h"

namespace vern {
namespace {

bool is_socket(const std::string& path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

// A socket file that nobody listens on is what a killed daemon left behind.
Result<void> clear_stale(const std::string& path, const sockaddr_un& address) {
    if (!is_socket(path)) return {};
    const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!probe) return fail_errno("socket", errno);
    const int status = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (status == 0 || errno == EAGAIN) {  // EAGAIN: alive, its queue is full
        return fail(path + ": another daemon serves this interface", EADDRINUSE);
    }
    if (errno != ECONNREFUSED) return fail_errno("connect " + path, errno);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("unlink " + path, errno);
    return {};
}

// Made beside its place and moved there when it listens: wg takes a socket that refuses it for one that a
// killed daemon has left, and removes it.
Result<Fd> listen_at(const std::string& path) {
    const auto address = unix_address(path);
    if (!address) return tl::unexpected(address.error());
    if (auto cleared = clear_stale(path, *address); !cleared) return tl::unexpected(cleared.error());
    const std::string beside = path + ".new";
    const auto address_beside = unix_address(beside);
    if (!address_beside) return tl::unexpected(address_beside.error());
    ::unlink(beside.c_str());
    Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!listener) return fail_errno("socket", errno);
    // bind() gives the file the descriptor's mode: no moment in which others could connect, and the umask is
    // left alone.
    if (::fchmod(listener.get(), 0600) != 0) return fail_errno("fchmod " + path, errno);
    if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&*address_beside), sizeof *address_beside) !=
        0) {
        return fail_errno("bind " + path, errno);
    }
    if (::listen(listener.get(), SOMAXCONN) != 0 || ::rename(beside.c_str(), path.c_str()) != 0) {
        const int code = errno;
        ::unlink(beside.c_str());
        return fail_errno("listen " + path, code);
    }
    return listener;
}

Result<Fd> adopt(int fd) {
    Fd listener(fd);
    int listening = 0;
    socklen_t length = sizeof listening;
    if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0 || listening == 0) {
        return fail("descriptor " + std::to_string(fd) + " is not a listening socket", ENOTSOCK);
    }
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return fail_errno("fcntl", errno);
    }
    return listener;
}

}  // namespace

Result<SocketFile> SocketFile::open(std::string_view name, std::string_view directory, int adopt_fd) {
    Fd adopted(adopt_fd);
    if (!is_interface_name(name)) return fail("'" + printable(name, 32) + "' cannot be an interface's name");
    const std::string directory_path(directory);
    std::string path = directory_path + "/" + std::string(name) + ".sock";
    if (adopt_fd < 0) {
        if (auto made = make_directories(directory_path, 0755); !made) return tl::unexpected(made.error());
    }
    auto listener = adopt_fd < 0 ? listen_at(path) : adopt(adopted.release());
    if (!listener) return tl::unexpected(listener.error());
    return SocketFile(std::move(path), std::move(*listener));
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : path_(std::move(other.path_)),
      listener_(std::move(other.listener_)),
      identity_(std::exchange(other.identity_, std::nullopt)) {}

SocketFile::~SocketFile() {
    if (identity_ && !removed()) ::unlink(path_.c_str());
}

std::optional<SocketFile::Identity> SocketFile::identity_of(const std::string& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return std::nullopt;
    return Identity{status.st_dev, status.st_ino};
}

bool SocketFile::removed() const { return identity_ && identity_of(path_) != identity_; }

// The group first: a mode that lets the group in must not let in another one.
Result<void> SocketFile::share(mode_t mode, std::optional<gid_t> group) const {
    if (group && ::lchown(path_.c_str(), static_cast<uid_t>(-1), *group) != 0)
        return fail_errno("chown " + path_, errno);
    if (::chmod(path_.c_str(), mode) != 0) return fail_errno("chmod " + path_, errno);
    return {};
}

}  // namespace vern
