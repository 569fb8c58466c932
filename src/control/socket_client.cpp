#include "control/socket_client.h"

#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>

#include "control/text.h"
#include "control/unix_address.h"

namespace vern {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kAnswerBytesMax = std::size_t{1} << 30;

Result<void> wait_for(int fd, short events, Clock::time_point deadline) {
    while (true) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        if (left.count() <= 0) return fail("the daemon does not answer", ETIMEDOUT);
        pollfd entry{.fd = fd, .events = events, .revents = 0};
        const int ready = ::poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return fail_errno("poll", errno);
    }
}

Result<void> send_all(int fd, std::string_view text, Clock::time_point deadline) {
    while (!text.empty()) {
        const ssize_t put = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        if (put >= 0) {
            text.remove_prefix(static_cast<std::size_t>(put));
        } else if (errno == EAGAIN) {
            if (auto ready = wait_for(fd, POLLOUT, deadline); !ready) return ready;
        } else if (errno == EPIPE) {
            return {};  // it has said why, perhaps: read that
        } else if (errno != EINTR) {
            return fail_errno("cannot send to the daemon", errno);
        }
    }
    return {};
}

Result<void> receive_whole(int fd, SecretText& answer, Clock::time_point deadline,
                           bool (*is_whole)(std::string_view)) {
    std::array<char, 64 * 1024> chunk;
    while (!is_whole(answer)) {
        const ssize_t got = ::recv(fd, chunk.data(), chunk.size(), 0);
        if (got == 0) return fail("the daemon ended the connection", EPROTO);
        if (got > 0) {
            answer.append(chunk.data(), static_cast<std::size_t>(got));
            if (answer.size() > kAnswerBytesMax) return fail("the daemon's answer has no end", EMSGSIZE);
        } else if (errno == EAGAIN) {
            if (auto ready = wait_for(fd, POLLIN, deadline); !ready) return ready;
        } else if (errno != EINTR) {
            return fail_errno("cannot read from the daemon", errno);
        }
    }
    sodium_memzero(chunk.data(), chunk.size());
    return {};
}

}  // namespace

Result<SocketClient> SocketClient::connect(std::string_view name, std::chrono::milliseconds timeout,
                                           std::string_view directory) {
    if (!is_interface_name(name)) return fail("'" + printable(name, 32) + "' cannot be an interface's name");
    const std::string path = std::string(directory) + "/" + std::string(name) + ".sock";
    const auto address = unix_address(path);
    if (!address) return tl::unexpected(address.error());
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail_errno("socket", errno);
    const auto deadline = Clock::now() + timeout;
    while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return fail_errno(path, errno);
        // Its queue is full, and a Unix socket cannot be polled for a place in it.
        if (Clock::now() >= deadline) return fail(path + ": the daemon does not answer", ETIMEDOUT);
        ::poll(nullptr, 0, 10);
    }
    return SocketClient(std::move(fd), timeout);
}

Result<SecretText> SocketClient::exchange(std::string_view request, bool (*is_whole)(std::string_view)) {
    const auto deadline = Clock::now() + timeout_;
    if (auto sent = send_all(fd_.get(), request, deadline); !sent) return tl::unexpected(sent.error());
    SecretText answer;
    if (auto received = receive_whole(fd_.get(), answer, deadline, is_whole); !received)
        return tl::unexpected(received.error());
    return answer;
}

std::vector<std::string> socket_names(std::string_view directory) {
    constexpr std::string_view kSuffix = ".sock";
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(std::string(directory).c_str()), &::closedir);
    while (const dirent* entry = listing ? ::readdir(listing.get()) : nullptr) {
        std::string_view name = entry->d_name;
        if (!name.ends_with(kSuffix)) continue;
        name.remove_suffix(kSuffix.size());
        if (!is_interface_name(name)) continue;
        // One that we may not speak to is there all the same.
        const auto client = SocketClient::connect(name, std::chrono::seconds(1), directory);
        if (client || client.error().code == EACCES) names.emplace_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace vern
