#include "bench_socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace vern::cli::bench {
namespace {

constexpr std::size_t kLineMax = 256;
constexpr int kUdpBufferBytes = 8 << 20;
constexpr int kBacklog = 32;

Result<Fd> open_socket(const SocketAddress& address, int type) {
    Fd fd(::socket(address.family(), type | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("socket", errno);
    return fd;
}

void set_option(int fd, int level, int option, int value) noexcept {
    (void)::setsockopt(fd, level, option, &value,
                       sizeof value);  // each of them is an improvement, none is needed
}

Result<Fd> open_udp(const SocketAddress& address) {
    auto fd = open_socket(address, SOCK_DGRAM | SOCK_NONBLOCK);
    if (!fd) return fd;
    for (const auto& [by_right, by_limit] :
         {std::pair(SO_RCVBUFFORCE, SO_RCVBUF), std::pair(SO_SNDBUFFORCE, SO_SNDBUF)}) {
        if (::setsockopt(fd->get(), SOL_SOCKET, by_right, &kUdpBufferBytes, sizeof kUdpBufferBytes) != 0) {
            set_option(fd->get(), SOL_SOCKET, by_limit, kUdpBufferBytes);
        }
    }
    return fd;
}

int milliseconds_until(Clock::time_point until) noexcept {
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

bool wait_for(int fd, short events, Clock::time_point until) noexcept {
    pollfd waiting{fd, events, 0};
    int ready = 0;
    do {
        ready = ::poll(&waiting, 1, milliseconds_until(until));
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

}  // namespace

std::string SocketAddress::host() const {
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(get(), length, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0) return "?";
    return text.data();
}

std::uint16_t SocketAddress::port() const noexcept {
    if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

Result<SocketAddress> resolve(const std::string& host, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* found = nullptr;
    if (const int status = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
        status != 0) {
        return fail(host + ": " + ::gai_strerror(status));
    }
    SocketAddress address;
    address.length = found->ai_addrlen;
    std::copy_n(reinterpret_cast<const char*>(found->ai_addr), found->ai_addrlen,
                reinterpret_cast<char*>(&address.storage));
    ::freeaddrinfo(found);
    return address;
}

Result<Fd> listen_tcp(const SocketAddress& address) {
    auto fd = open_socket(address, SOCK_STREAM | SOCK_NONBLOCK);
    if (!fd) return fd;
    set_option(fd->get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(fd->get(), address.get(), address.length) != 0 || ::listen(fd->get(), kBacklog) != 0) {
        return fail_errno("listen on " + address.host() + " port " + std::to_string(address.port()), errno);
    }
    return fd;
}

Result<Fd> connect_tcp(const SocketAddress& address, milliseconds patience) {
    auto fd = open_socket(address, SOCK_STREAM | SOCK_NONBLOCK);
    if (!fd) return fd;
    const std::string what = "connect to " + address.host() + " port " + std::to_string(address.port());
    if (::connect(fd->get(), address.get(), address.length) != 0) {
        if (errno != EINPROGRESS) return fail_errno(what, errno);
        if (!wait_for(fd->get(), POLLOUT, Clock::now() + patience)) return fail_errno(what, ETIMEDOUT);
        int error = 0;
        socklen_t size = sizeof error;
        ::getsockopt(fd->get(), SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) return fail_errno(what, error);
    }
    (void)::fcntl(fd->get(), F_SETFL, ::fcntl(fd->get(), F_GETFL) & ~O_NONBLOCK);
    set_option(fd->get(), IPPROTO_TCP, TCP_NODELAY, 1);
    return fd;
}

Result<Accepted> accept_tcp(int listener, Clock::time_point until) {
    while (wait_for(listener, POLLIN, until)) {
        Accepted accepted;
        accepted.from.length = sizeof accepted.from.storage;
        accepted.fd.reset(::accept4(listener, reinterpret_cast<sockaddr*>(&accepted.from.storage),
                                    &accepted.from.length, SOCK_CLOEXEC));
        if (accepted.fd) {
            set_option(accepted.fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
            return accepted;
        }
        if (errno == EBADF || errno == EINVAL || errno == EMFILE || errno == ENFILE)
            return fail_errno("accept", errno);
    }
    return fail("nobody connected in time", ETIMEDOUT);
}

void set_patience(int fd, milliseconds patience) {
    const timeval value{.tv_sec = patience.count() / 1000, .tv_usec = patience.count() % 1000 * 1000};
    (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof value);
    (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value);
}

Result<Fd> bind_udp(const SocketAddress& address) {
    auto fd = open_udp(address);
    if (fd && ::bind(fd->get(), address.get(), address.length) != 0) {
        return fail_errno("bind UDP " + address.host() + " port " + std::to_string(address.port()), errno);
    }
    return fd;
}

Result<Fd> connect_udp(const SocketAddress& address) {
    auto fd = open_udp(address);
    if (fd && ::connect(fd->get(), address.get(), address.length) != 0)
        return fail_errno("connect UDP to " + address.host(), errno);
    return fd;
}

bool wait_readable(int fd, Clock::time_point until) { return wait_for(fd, POLLIN, until); }

Result<void> LineConnection::write(std::string_view line) {
    std::string text(line);
    text += '\n';
    for (std::size_t done = 0; done < text.size();) {
        const ssize_t sent = ::send(fd_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return fail_errno("the other side", errno);
        done += static_cast<std::size_t>(sent);
    }
    return {};
}

Result<std::string> LineConnection::read(Clock::time_point until) {
    std::string line;
    while (line.size() < kLineMax) {
        if (!wait_for(fd_.get(), POLLIN, until)) return fail("the other side does not answer", ETIMEDOUT);
        char next = 0;
        const ssize_t count = ::recv(fd_.get(), &next, 1, MSG_DONTWAIT);
        if (count == 0) return fail("the other side has closed the connection", ECONNRESET);
        if (count < 0 && errno != EINTR && errno != EAGAIN) return fail_errno("the other side", errno);
        if (count < 0) continue;
        if (next == '\n') return line;
        line += next;
    }
    return fail("the other side does not speak this protocol", EPROTO);
}

}  // namespace vern::cli::bench
