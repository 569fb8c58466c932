#include "network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace vern::test {
namespace {

void check(bool fine, const std::string& what) {
    if (!fine) throw std::system_error(errno, std::generic_category(), what);
}

ifreq request_for(const std::string& name) {
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    return request;
}

void interface_ioctl(unsigned long operation, void* request, const std::string& what, int family = AF_INET) {
    const Fd socket(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    check(::ioctl(socket.get(), operation, request) == 0, what);
}

sockaddr_storage socket_address(const std::string& address, std::uint16_t port, socklen_t& bytes) {
    sockaddr_storage storage{};
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
    if (::inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        bytes = sizeof *v4;
    } else {
        check(::inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1, address);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        bytes = sizeof *v6;
    }
    return storage;
}

int patience_ms() { return static_cast<int>(std::chrono::milliseconds(kPatience).count()); }

}  // namespace

std::string enter_fresh_network() {
    if (::geteuid() != 0) return "not root: no network namespace of our own";
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) return "no /dev/net/tun";
    if (::unshare(CLONE_NEWNET) != 0) return "unshare(CLONE_NEWNET) is forbidden";
    set_up("lo", true);
    return {};
}

void set_up(const std::string& interface, bool up) {
    ifreq request = request_for(interface);
    interface_ioctl(SIOCGIFFLAGS, &request, "SIOCGIFFLAGS " + interface);
    const int flags = up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
    request.ifr_flags = static_cast<short>(flags);
    interface_ioctl(SIOCSIFFLAGS, &request, "SIOCSIFFLAGS " + interface);
}

void set_mtu(const std::string& interface, int mtu) {
    ifreq request = request_for(interface);
    request.ifr_mtu = mtu;
    interface_ioctl(SIOCSIFMTU, &request, "SIOCSIFMTU " + interface);
}

int transmit_queue(const std::string& interface) {
    ifreq request = request_for(interface);
    interface_ioctl(SIOCGIFTXQLEN, &request, "SIOCGIFTXQLEN " + interface);
    return request.ifr_qlen;
}

void add_v4(const std::string& interface, const std::string& address, int prefix_length) {
    ifreq request = request_for(interface);
    auto* value = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
    value->sin_family = AF_INET;
    check(::inet_pton(AF_INET, address.c_str(), &value->sin_addr) == 1, address);
    interface_ioctl(SIOCSIFADDR, &request, "SIOCSIFADDR " + interface);
    value->sin_addr.s_addr = htonl(~0U << (32 - prefix_length));
    interface_ioctl(SIOCSIFNETMASK, &request, "SIOCSIFNETMASK " + interface);
}

void add_v6(const std::string& interface, const std::string& address, int prefix_length) {
    struct {  // struct in6_ifreq of <linux/ipv6.h>, which does not go with <netinet/in.h>
        in6_addr address;
        std::uint32_t prefix_length;
        int interface_index;
    } request{};
    check(::inet_pton(AF_INET6, address.c_str(), &request.address) == 1, address);
    request.prefix_length = static_cast<std::uint32_t>(prefix_length);
    request.interface_index = static_cast<int>(::if_nametoindex(interface.c_str()));
    interface_ioctl(SIOCSIFADDR, &request, "SIOCSIFADDR " + interface, AF_INET6);
    // The kernel takes the address into use some time later, also where there is no duplicate to look for.
    socklen_t bytes = 0;
    const auto own = socket_address(address, 0, bytes);
    const Fd socket(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), bytes) != 0)
        check(errno == EADDRNOTAVAIL && std::chrono::steady_clock::now() < end, "address " + address);
}

void delete_interface(const std::string& interface) {
    struct {
        nlmsghdr header;
        ifinfomsg link;
    } request{};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_DELLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    request.link.ifi_index = static_cast<int>(::if_nametoindex(interface.c_str()));
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    check(::send(socket.get(), &request, sizeof request, 0) == sizeof request, "RTM_DELLINK");
    std::array<char, 4096> answer;
    check(::recv(socket.get(), answer.data(), answer.size(), 0) > 0, "RTM_DELLINK");
    check(::if_nametoindex(interface.c_str()) == 0, "RTM_DELLINK had no effect");
}

void set_sysctl(const std::string& name, const std::string& value) {
    std::ofstream file("/proc/sys/" + name);
    file << value << std::flush;
    check(file.good(), "sysctl " + name);
}

IpAddress ip(const std::string& text) {
    std::array<std::byte, 16> bytes{};
    if (::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1)
        return IpAddress::v4(std::span(bytes).first<4>());
    check(::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1, text);
    return IpAddress::v6(bytes);
}

Endpoint endpoint(const std::string& address, std::uint16_t port) {
    Endpoint endpoint;
    endpoint.address = ip(address);
    endpoint.port = port;
    return endpoint;
}

PlainSocket::PlainSocket(const std::string& address, std::uint16_t port) {
    socklen_t bytes = 0;
    const auto storage = socket_address(address, port, bytes);
    family_ = storage.ss_family;
    fd_.reset(::socket(family_, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    check(static_cast<bool>(fd_), "socket");
    const int on = 1;
    const int room = 16 << 20;
    const timeval limit{kPatience.count(), 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const bool v4 = family_ == AF_INET;
    ::setsockopt(fd_.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVTOS : IPV6_RECVTCLASS, &on,
                 sizeof on);
    check(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&storage), bytes) == 0, "bind " + address);
}

std::uint16_t PlainSocket::port() const {
    sockaddr_in6 address{};
    socklen_t bytes = sizeof address;
    check(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &bytes) == 0, "getsockname");
    return ntohs(address.sin6_port);  // at the same place in both families
}

void PlainSocket::set_tos(int tos) {
    const bool v4 = family_ == AF_INET;
    check(::setsockopt(fd_.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &tos,
                       sizeof tos) == 0,
          "tos");
}

void PlainSocket::send(const std::string& address, std::uint16_t port, std::span<const std::byte> bytes) {
    socklen_t address_bytes = 0;
    const auto to = socket_address(address, port, address_bytes);
    check(::sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&to),
                   address_bytes) >= 0,
          "sendto " + address);
}

void PlainSocket::send_train(const std::string& address, std::uint16_t port, std::span<const std::byte> bytes,
                             int segment) {
    check(::setsockopt(fd_.get(), SOL_UDP, UDP_SEGMENT, &segment, sizeof segment) == 0, "UDP_SEGMENT");
    send(address, port, bytes);
    segment = 0;
    check(::setsockopt(fd_.get(), SOL_UDP, UDP_SEGMENT, &segment, sizeof segment) == 0, "UDP_SEGMENT");
}

std::optional<PlainSocket::Datagram> PlainSocket::receive() {
    Datagram datagram;
    datagram.bytes.resize(65536);
    sockaddr_storage from{};
    iovec payload{datagram.bytes.data(), datagram.bytes.size()};
    alignas(8) std::array<std::byte, 256> control;
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &payload;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto got = ::recvmsg(fd_.get(), &message, 0);
    if (got < 0) return {};
    datagram.bytes.resize(static_cast<std::size_t>(got));
    std::array<char, INET6_ADDRSTRLEN> text{};
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&from);
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&from);
    const void* source = family_ == AF_INET ? static_cast<const void*>(&v4->sin_addr) : &v6->sin6_addr;
    datagram.from = ::inet_ntop(family_, source, text.data(), text.size());
    datagram.port = ntohs(v6->sin6_port);
    for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
        const bool tos = at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_TOS;
        const bool traffic_class = at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_TCLASS;
        if (tos || traffic_class) datagram.tos = *CMSG_DATA(at);  // the low byte of an int is first here
    }
    return datagram;
}

Tap::Tap(const std::string& name, const std::string& address, int prefix_length)
    : name_(name), fd_(::open("/dev/net/tun", O_RDWR | O_CLOEXEC)) {
    ifreq request = request_for(name);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    check(::ioctl(fd_.get(), TUNSETIFF, &request) == 0, "TUNSETIFF " + name);
    set_sysctl("net/ipv4/neigh/" + name + "/mcast_solicit", "1000");
    add_v4(name, address, prefix_length);
    set_up(name, true);
}

void Tap::resolve(const std::string& neighbour) {
    arpreq request{};
    auto* address = reinterpret_cast<sockaddr_in*>(&request.arp_pa);
    address->sin_family = AF_INET;
    check(::inet_pton(AF_INET, neighbour.c_str(), &address->sin_addr) == 1, neighbour);
    request.arp_ha.sa_family = ARPHRD_ETHER;
    request.arp_ha.sa_data[0] = 2;
    request.arp_flags = ATF_COM | ATF_PERM;
    name_.copy(request.arp_dev, sizeof request.arp_dev - 1);
    interface_ioctl(SIOCSARP, &request, "SIOCSARP");
}

std::optional<std::vector<std::byte>> Tap::next_udp_payload() {
    constexpr std::size_t kEthernet = 14;
    constexpr std::size_t kHeaders = kEthernet + 20 + 8;
    std::vector<std::byte> frame(65536 + kEthernet);
    while (true) {
        pollfd ready{fd_.get(), POLLIN, 0};
        if (::poll(&ready, 1, patience_ms()) <= 0) return {};
        const auto got = ::read(fd_.get(), frame.data(), frame.size());
        const bool v4 = frame[12] == std::byte{8} && frame[13] == std::byte{0};
        if (got < static_cast<ssize_t>(kHeaders) || !v4 || frame[kEthernet + 9] != std::byte{IPPROTO_UDP})
            continue;
        return std::vector<std::byte>(frame.begin() + kHeaders, frame.begin() + got);
    }
}

std::vector<std::byte> pattern(std::size_t count, unsigned seed) {
    std::vector<std::byte> bytes(count);
    unsigned state = seed * 2654435761U + 1;
    for (auto& byte : bytes) {
        state = state * 1664525U + 1013904223U;
        byte = static_cast<std::byte>(state >> 24);
    }
    return bytes;
}

bool passes_in_child_without(Denied denied, int code, const std::function<bool()>& body) {
    const pid_t child = ::fork();
    check(child >= 0, "fork");
    if (child == 0) {
        const auto call =
            static_cast<std::uint32_t>(denied == Denied::socket_v6 ? SYS_socket : SYS_io_uring_setup);
        const auto refuse = SECCOMP_RET_ERRNO | (static_cast<std::uint32_t>(code) & SECCOMP_RET_DATA);
        // The first argument matters for socket() only.
        const auto other = static_cast<std::uint8_t>(denied == Denied::socket_v6 ? 1 : 0);
        std::array<sock_filter, 6> filter{{
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, other),
            BPF_STMT(BPF_RET | BPF_K, refuse),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        }};
        const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
        const bool set = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
        ::_exit(set && body() ? 0 : 1);
    }
    int status = 0;
    check(::waitpid(child, &status, 0) == child, "waitpid");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace vern::test
