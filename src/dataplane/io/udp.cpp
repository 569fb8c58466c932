#include "dataplane/io/udp.h"

#include <fmt/format.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "dataplane/io/outgoing_train.h"

namespace vern {
namespace {

// How often a port that only v4 has free is given back for another. More fail together only on a host without
// ports.
constexpr int kPortTriesMax = 64;

const char* family_name(int family) { return family == AF_INET ? "IPv4" : "IPv6"; }

bool set_int(int fd, int level, int option, int value) {
    return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

// Above the limits of net.core.*mem_max where we may (CAP_NET_ADMIN), else as far as they allow.
void set_buffer(int fd, int forced, int plain, std::size_t bytes) {
    const int value = static_cast<int>(std::min<std::size_t>(bytes, std::size_t{1} << 30));
    if (!set_int(fd, SOL_SOCKET, forced, value)) set_int(fd, SOL_SOCKET, plain, value);
}

Result<void> set_mark(int fd, std::uint32_t mark) {
    if (::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0) return {};
    const int code = errno;
    if (code == EPERM)
        return fail("setting the fwmark needs CAP_NET_ADMIN: run as root or grant the capability", code);
    return fail_errno("setting the fwmark", code);
}

// What the train's metadata needs from the kernel, and no "don't fragment": an outer packet over the path MTU
// is to be fragmented, as the kernel's WireGuard lets it, since nobody would tell the inner sender.
bool set_packet_options(int fd, int family) {
    if (family == AF_INET)
        return set_int(fd, IPPROTO_IP, IP_PKTINFO, 1) && set_int(fd, IPPROTO_IP, IP_RECVTOS, 1) &&
               set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
    return set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) && set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) &&
           set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1) &&
           set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
}

Result<Fd> make_socket(int family, const UdpOptions& options) {
    Fd fd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
    if (!fd) return fail_errno(fmt::format("making a UDP socket for {}", family_name(family)), errno);
    if (!set_packet_options(fd.get(), family))
        return fail_errno(fmt::format("setting the options of a UDP socket for {}", family_name(family)),
                          errno);
    set_buffer(fd.get(), SO_RCVBUFFORCE, SO_RCVBUF, options.buffer_bytes);
    set_buffer(fd.get(), SO_SNDBUFFORCE, SO_SNDBUF, options.buffer_bytes);
    if (options.fwmark != 0) {
        if (auto marked = set_mark(fd.get(), options.fwmark); !marked) return tl::unexpected(marked.error());
    }
    return fd;
}

// Binds to the wildcard address; answers the port.
Result<std::uint16_t> bind_port(int fd, int family, std::uint16_t port) {
    SocketAddress address{};
    socklen_t bytes = family == AF_INET ? sizeof address.v4 : sizeof address.v6;
    address.any.sa_family = static_cast<sa_family_t>(family);
    (family == AF_INET ? address.v4.sin_port : address.v6.sin6_port) = htons(port);
    if (::bind(fd, &address.any, bytes) != 0) {
        const int code = errno;
        if (code == EADDRINUSE && port != 0)
            return fail(fmt::format("UDP port {} is already in use ({})", port, family_name(family)), code);
        if (code == EACCES)
            return fail(
                fmt::format("UDP port {} needs CAP_NET_BIND_SERVICE: run as root or take a port from 1024 on",
                            port),
                code);
        return fail_errno(fmt::format("binding UDP port {} ({})", port, family_name(family)), code);
    }
    if (::getsockname(fd, &address.any, &bytes) != 0) return fail_errno("getsockname", errno);
    return ntohs(family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
}

struct BoundPair {
    UdpSockets sockets;
    std::uint16_t port = 0;
};

// One worker's pair on one port. `share`: with SO_REUSEPORT.
Result<BoundPair> bind_pair(const UdpOptions& options, std::uint16_t port, bool with_v6, bool share) {
    BoundPair pair;
    for (const int family : {AF_INET, AF_INET6}) {
        if (family == AF_INET6 && !with_v6) continue;
        auto fd = make_socket(family, options);
        if (!fd) return tl::unexpected(fd.error());
        if (share && !set_int(fd->get(), SOL_SOCKET, SO_REUSEPORT, 1))
            return fail_errno("SO_REUSEPORT", errno);
        auto bound = bind_port(fd->get(), family, family == AF_INET ? port : pair.port);
        if (!bound) return tl::unexpected(bound.error());
        pair.port = *bound;
        (family == AF_INET ? pair.sockets.v4 : pair.sockets.v6) = std::move(*fd);
    }
    return pair;
}

// A pair that nobody shares: with SO_REUSEPORT alone, a port of another process that has it too would seem
// free.
Result<BoundPair> bind_exclusive_pair(const UdpOptions& options, bool with_v6) {
    for (int tries = 1;; ++tries) {
        auto pair = bind_pair(options, options.port, with_v6, false);
        const bool again =
            !pair && options.port == 0 && pair.error().code == EADDRINUSE && tries < kPortTriesMax;
        if (!again) return pair;
    }
}

bool kernel_has_v6() {
    const Fd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP));
    return fd || errno != EAFNOSUPPORT;
}

bool enable_gro(const Underlay& underlay) {
    for (const auto& worker : underlay.workers) {
        for (const int fd : {worker.v4.get(), worker.v6.get()}) {
            if (fd >= 0 && !set_int(fd, SOL_UDP, UDP_GRO, 1)) return false;
        }
    }
    return true;
}

// Asking for the option's value changes nothing: the size is given with every send.
bool gso_known(const UdpSockets& sockets) {
    int value = 0;
    socklen_t bytes = sizeof value;
    return ::getsockopt(sockets.v4.get(), SOL_UDP, UDP_SEGMENT, &value, &bytes) == 0;
}

void negotiate_offloads(Underlay& underlay, const UdpOptions& options) {
    underlay.gro.on = options.gro && enable_gro(underlay);
    if (!underlay.gro.on)
        underlay.gro.reason =
            options.gro ? "this kernel has no UDP_GRO (needs Linux 5.0)" : "turned off by --offload";
    underlay.gso.on = options.gso && gso_known(underlay.workers.front());
    if (!underlay.gso.on)
        underlay.gso.reason =
            options.gso ? "this kernel has no UDP_SEGMENT (needs Linux 4.18)" : "turned off by --offload";
}

int socket_for(const UdpSockets& sockets, const Endpoint& to) noexcept {
    return to.address.family == Family::v4   ? sockets.v4.get()
           : to.address.family == Family::v6 ? sockets.v6.get()
                                             : -1;
}

}  // namespace

Result<Underlay> open_underlay(const UdpOptions& options) {
    Underlay underlay;
    underlay.v6.on = kernel_has_v6();
    if (!underlay.v6.on) underlay.v6.reason = "this kernel has no IPv6";

    auto first = bind_exclusive_pair(options, underlay.v6.on);
    if (!first) return tl::unexpected(first.error());
    underlay.port = first->port;
    if (options.workers <= 1) {
        underlay.workers.push_back(std::move(first->sockets));
    } else {
        first->sockets = {};  // the port was free: now all workers on it, each with SO_REUSEPORT
        for (unsigned i = 0; i < options.workers; ++i) {
            auto pair = bind_pair(options, underlay.port, underlay.v6.on, true);
            if (!pair) return tl::unexpected(pair.error());
            underlay.workers.push_back(std::move(pair->sockets));
        }
    }
    negotiate_offloads(underlay, options);
    return underlay;
}

Result<void> set_fwmark(const Underlay& underlay, std::uint32_t fwmark) {
    for (const auto& worker : underlay.workers) {
        for (const int fd : {worker.v4.get(), worker.v6.get()}) {
            if (fd < 0) continue;
            if (auto marked = set_mark(fd, fwmark); !marked) return marked;
        }
    }
    return {};
}

Result<void> send_datagram(const UdpSockets& sockets, const Endpoint& to, std::span<const std::byte> data,
                           std::size_t segment_bytes, std::uint8_t tos, bool& source_refused) noexcept {
    source_refused = false;
    const int fd = socket_for(sockets, to);
    if (fd < 0) return fail("no socket for the endpoint's address family", EAFNOSUPPORT);
    OutgoingTrain train;
    train.to = to;
    train.data = const_cast<std::byte*>(data.data());  // sendmsg() only reads, but an iovec cannot say so
    train.bytes = data.size();
    train.segment_bytes = segment_bytes == 0 ? data.size() : segment_bytes;
    train.segmented = train.segment_bytes < train.bytes;
    train.tos = tos;
    OutgoingMessage storage;
    do {
        msghdr message;
        storage.fill(message, train, train.sent_bytes);
        if (::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            train.sent_bytes += storage.payload.iov_len;
            continue;
        }
        const int code = errno;
        const auto remedy = remedy_for(code, train.segmented, train.to.source.family != Family::none);
        if (!train.apply(remedy)) return fail_errno("sending to the underlay", code);
        source_refused |= remedy == SendRemedy::without_source;
    } while (!train.done());
    return {};
}

}  // namespace vern
