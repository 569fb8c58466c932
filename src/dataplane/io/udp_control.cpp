// Endpoints and trains' metadata to and from what sendmsg() and recvmsg() understand.
#include <netinet/udp.h>

#include <algorithm>
#include <cstring>

#include "dataplane/io/udp.h"

namespace vern {
namespace {

template <typename T>
IpAddress to_ip(const T& address) noexcept {
    if constexpr (sizeof(T) == 4)
        return IpAddress::v4(std::as_bytes(std::span(&address, 1)).template first<4>());
    else
        return IpAddress::v6(std::as_bytes(std::span(&address, 1)).template first<16>());
}

// Appends control messages to a buffer that is large enough for all that a send can carry.
class ControlWriter {
  public:
    explicit ControlWriter(std::span<std::byte, kSendControlBytes> out) noexcept : out_(out) {}

    template <typename T>
    void add(int level, int type, const T& value) noexcept {
        static_assert(CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(int)) +
                          CMSG_SPACE(sizeof(std::uint16_t)) <=
                      kSendControlBytes);
        const cmsghdr header{.cmsg_len = CMSG_LEN(sizeof value), .cmsg_level = level, .cmsg_type = type};
        std::memset(out_.data() + used_, 0, CMSG_SPACE(sizeof value));
        std::memcpy(out_.data() + used_, &header, sizeof header);
        std::memcpy(out_.data() + used_ + CMSG_LEN(0), &value, sizeof value);
        used_ += CMSG_SPACE(sizeof value);
    }
    std::size_t used() const noexcept { return used_; }

  private:
    std::span<std::byte, kSendControlBytes> out_;
    std::size_t used_ = 0;
};

// The source alone, with no interface: as in the kernel's WireGuard the routing table chooses the way out. An
// interface in the packet info would bind the packet to it, and with its route gone Linux takes every address
// for a neighbour on it. Link-local addresses mean nothing without one.
void add_source(ControlWriter& control, const Endpoint& to) noexcept {
    if (to.source.family != to.address.family) return;
    if (to.source.family == Family::v4) {
        in_pktinfo info{};
        std::memcpy(&info.ipi_spec_dst, to.source.bytes.data(), sizeof info.ipi_spec_dst);
        control.add(IPPROTO_IP, IP_PKTINFO, info);
    } else {
        in6_pktinfo info{};
        std::memcpy(&info.ipi6_addr, to.source.bytes.data(), sizeof info.ipi6_addr);
        if (is_link_local(to.source)) info.ipi6_ifindex = to.interface_index;
        control.add(IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
}

// The value of a control message, which the kernel writes at its own size. False: it is shorter than T.
template <typename T>
bool read_value(std::span<const std::byte> value, T& out) noexcept {
    if (value.size() < sizeof out) return false;
    std::memcpy(&out, value.data(), sizeof out);
    return true;
}

// ipi_spec_dst and not ipi_addr, which is what the packet was sent to: for one sent to a broadcast or
// multicast address spec_dst is the host's own address there, with which an answer may leave.
bool take_source_v4(std::span<const std::byte> value, UnderlayTrain& train) noexcept {
    in_pktinfo info;
    if (!read_value(value, info)) return false;
    if (info.ipi_spec_dst.s_addr == INADDR_ANY) return true;
    train.from.source = to_ip(info.ipi_spec_dst);
    train.from.interface_index = static_cast<std::uint32_t>(info.ipi_ifindex);
    return true;
}

// The address in IPv6's packet info is the packet's destination; a multicast address is no source.
bool take_source_v6(std::span<const std::byte> value, UnderlayTrain& train) noexcept {
    in6_pktinfo info;
    if (!read_value(value, info)) return false;
    if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr) || IN6_IS_ADDR_UNSPECIFIED(&info.ipi6_addr)) return true;
    train.from.source = to_ip(info.ipi6_addr);
    train.from.interface_index = info.ipi6_ifindex;
    return true;
}

// One byte from IPv4, an int from IPv6.
bool take_ecn(std::span<const std::byte> value, UnderlayTrain& train) noexcept {
    if (value.size() >= sizeof(int)) {
        int tos = 0;
        read_value(value, tos);
        train.ecn = static_cast<std::uint8_t>(tos & 3);
        return true;
    }
    if (value.empty()) return false;
    train.ecn = std::to_integer<std::uint8_t>(value[0]) & 3;
    return true;
}

bool take_segment_bytes(std::span<const std::byte> value, UnderlayTrain& train) noexcept {
    int size = 0;
    if (!read_value(value, size) || size <= 0) return false;
    train.segment_bytes = std::min(static_cast<std::size_t>(size), train.bytes.size());
    return true;
}

bool take_control(int level, int type, std::span<const std::byte> value, UnderlayTrain& train) noexcept {
    if (level == SOL_UDP && type == UDP_GRO) return take_segment_bytes(value, train);
    if (level == IPPROTO_IP && type == IP_PKTINFO) return take_source_v4(value, train);
    if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO) return take_source_v6(value, train);
    if (level == IPPROTO_IP && type == IP_TOS) return take_ecn(value, train);
    if (level == IPPROTO_IPV6 && type == IPV6_TCLASS) return take_ecn(value, train);
    return true;
}

bool take_sender(const SocketAddress& from, Endpoint& endpoint) noexcept {
    if (from.any.sa_family == AF_INET) {
        endpoint.address = to_ip(from.v4.sin_addr);
        endpoint.port = ntohs(from.v4.sin_port);
        return true;
    }
    if (from.any.sa_family != AF_INET6 || IN6_IS_ADDR_V4MAPPED(&from.v6.sin6_addr)) return false;
    endpoint.address = to_ip(from.v6.sin6_addr);
    endpoint.port = ntohs(from.v6.sin6_port);
    endpoint.scope_id = is_link_local(endpoint.address) ? from.v6.sin6_scope_id : 0;
    return true;
}

}  // namespace

socklen_t to_socket_address(const Endpoint& endpoint, SocketAddress& out) noexcept {
    if (endpoint.address.family == Family::v4) {
        out.v4 = {};
        out.v4.sin_family = AF_INET;
        out.v4.sin_port = htons(endpoint.port);
        std::memcpy(&out.v4.sin_addr, endpoint.address.bytes.data(), sizeof out.v4.sin_addr);
        return sizeof out.v4;
    }
    if (endpoint.address.family != Family::v6) return 0;
    out.v6 = {};
    out.v6.sin6_family = AF_INET6;
    out.v6.sin6_port = htons(endpoint.port);
    out.v6.sin6_scope_id = endpoint.scope_id;
    std::memcpy(&out.v6.sin6_addr, endpoint.address.bytes.data(), sizeof out.v6.sin6_addr);
    return sizeof out.v6;
}

std::size_t build_send_control(const Endpoint& to, std::size_t segment_bytes, bool segmented,
                               std::uint8_t tos, std::span<std::byte, kSendControlBytes> control) noexcept {
    ControlWriter writer(control);
    add_source(writer, to);
    if (tos != 0) {
        const bool v4 = to.address.family == Family::v4;
        writer.add(v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, static_cast<int>(tos));
    }
    if (segmented) writer.add(SOL_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(segment_bytes));
    return writer.used();
}

bool parse_receive(const SocketAddress& from, std::span<const std::byte> control, int message_flags,
                   UnderlayTrain& train) noexcept {
    train.from = {};
    train.ecn = 0;
    train.segment_bytes = train.bytes.size();
    // Without its control data a train of several datagrams would look like one.
    if ((message_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return false;
    if (!take_sender(from, train.from)) return false;
    while (control.size() >= sizeof(cmsghdr)) {
        cmsghdr header;
        std::memcpy(&header, control.data(), sizeof header);
        if (header.cmsg_len < CMSG_LEN(0) || header.cmsg_len > control.size()) return false;
        const auto value = control.subspan(CMSG_LEN(0), header.cmsg_len - CMSG_LEN(0));
        if (!take_control(header.cmsg_level, header.cmsg_type, value, train)) return false;
        control = control.subspan(std::min<std::size_t>(CMSG_ALIGN(header.cmsg_len), control.size()));
    }
    return true;
}

}  // namespace vern
