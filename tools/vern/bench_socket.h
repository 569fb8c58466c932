// Sockets of `vern bench`: addresses by name, TCP connections that carry lines, and UDP sockets with room for
// a burst.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "crypto/error.h"
#include "dataplane/io/fd.h"

namespace vern::cli::bench {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;

    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
    int family() const noexcept { return storage.ss_family; }
    std::string host() const;  // numeric, without the port
    std::uint16_t port() const noexcept;
};

// The first address of a host's name or number.
Result<SocketAddress> resolve(const std::string& host, std::uint16_t port);

Result<Fd> listen_tcp(const SocketAddress& address);
Result<Fd> connect_tcp(const SocketAddress& address, milliseconds patience);
struct Accepted {
    Fd fd;
    SocketAddress from;
};
Result<Accepted> accept_tcp(int listener, Clock::time_point until);
// Sends and receives on this socket give up after this time without progress.
void set_patience(int fd, milliseconds patience);

// Non-blocking; buffers as large as the host allows (beyond its limit with CAP_NET_ADMIN), so that a burst is
// not lost at the end.
Result<Fd> bind_udp(const SocketAddress& address);
Result<Fd> connect_udp(const SocketAddress& address);

// True when `fd` can be read before `until`.
bool wait_readable(int fd, Clock::time_point until);

// A TCP connection that carries lines of words. What comes after a line is left in the socket.
class LineConnection {
  public:
    explicit LineConnection(Fd fd) : fd_(std::move(fd)) {}
    int fd() const noexcept { return fd_.get(); }
    Result<void> write(std::string_view line);  // without the end of line
    Result<std::string> read(Clock::time_point until);
    Fd release() && noexcept { return std::move(fd_); }

  private:
    Fd fd_;
};

}  // namespace vern::cli::bench
