#include "dataplane/policy/reject.h"

#include <algorithm>
#include <cstring>

#include "dataplane/policy/flow_state.h"

namespace vern::policy {
namespace {

constexpr std::size_t kIcmpHeaderBytes = 8;
constexpr std::size_t kIp4ErrorMax = 576;  // RFC 1812, section 4.3.2.3
constexpr std::byte kTtl{64};

bool one_host(const std::byte* address, bool v6) noexcept {
    const auto first = std::to_integer<unsigned>(address[0]);
    if (!v6) return first != 0 && first < 224;  // neither "this network" nor multicast, reserved or broadcast
    static constexpr std::byte kUnspecified[16]{};
    return first != 0xff && std::memcmp(address, kUnspecified, 16) != 0;
}

// The IP header back to the sender; the length and an IPv4 checksum come when all is there.
InnerPacket begin(const InnerPacket& to, std::uint8_t protocol, std::byte* at) noexcept {
    InnerPacket out;
    out.data = at;
    out.v6 = to.v6;
    out.header_bytes = to.v6 ? std::uint8_t{ip6::kHeaderBytes} : std::uint8_t{ip4::kHeaderBytes};
    std::memset(at, 0, out.header_bytes);
    const std::size_t source = to.v6 ? ip6::kSource : ip4::kSource;
    std::memcpy(at + source, to.destination(), to.address_bytes());
    std::memcpy(at + source + to.address_bytes(), to.source(), to.address_bytes());
    if (to.v6) {
        at[0] = std::byte{0x60};
        at[ip6::kNextHeader] = static_cast<std::byte>(protocol);
        at[ip6::kHopLimit] = kTtl;
    } else {
        at[0] = std::byte{0x45};
        store_be16(at + ip4::kFragment, ip4::kDontFragment);
        at[ip4::kTtl] = kTtl;
        at[ip4::kProtocol] = static_cast<std::byte>(protocol);
    }
    return out;
}

std::size_t finish(InnerPacket& packet, std::uint8_t protocol, std::size_t transport_bytes,
                   std::size_t checksum_at) noexcept {
    packet.length = packet.header_bytes + transport_bytes;
    if (packet.v6) {
        store_be16(packet.data + ip6::kPayloadLength, static_cast<std::uint16_t>(transport_bytes));
    } else {
        store_be16(packet.data + ip4::kTotalLength, static_cast<std::uint16_t>(packet.length));
        packet.write_ip4_checksum();
    }
    std::byte* transport = packet.data + packet.header_bytes;
    const std::uint64_t pseudo = protocol == kIcmp ? 0 : packet.pseudo_header_sum(protocol, transport_bytes);
    const auto sum =
        static_cast<std::uint16_t>(~checksum_fold(checksum_add(pseudo, transport, transport_bytes)));
    std::memcpy(transport + checksum_at, &sum, 2);
    return packet.length;
}

std::size_t write_reset(const InnerPacket& packet, const Transport& transport, std::byte* out) noexcept {
    const std::byte* segment = packet.data + transport.offset;
    InnerPacket answer = begin(packet, kTcp, out);
    std::byte* reset = out + answer.header_bytes;
    std::memset(reset, 0, tcp::kHeaderBytes);
    store_be16(reset, transport.destination_port);
    store_be16(reset + 2, transport.source_port);
    reset[tcp::kOffset] = std::byte{tcp::kHeaderBytes / 4 << 4};
    if ((transport.tcp_flags & tcp::kAck) != 0) {
        std::memcpy(reset + tcp::kSequence, segment + tcp::kAcknowledgment, 4);
        reset[tcp::kFlags] = std::byte{tcp::kRst};
    } else {
        const std::size_t taken = packet.length - transport.offset - tcp::header_bytes(segment) +
                                  ((transport.tcp_flags & tcp::kSyn) != 0 ? 1 : 0) +
                                  ((transport.tcp_flags & tcp::kFin) != 0 ? 1 : 0);
        store_be32(reset + tcp::kAcknowledgment,
                   load_be32(segment + tcp::kSequence) + static_cast<std::uint32_t>(taken));
        reset[tcp::kFlags] = std::byte{tcp::kRst | tcp::kAck};
    }
    return finish(answer, kTcp, tcp::kHeaderBytes, tcp::kChecksum);
}

std::size_t write_error(const InnerPacket& packet, std::byte* out) noexcept {
    const std::uint8_t protocol = packet.v6 ? kIcmp6 : kIcmp;
    InnerPacket answer = begin(packet, protocol, out);
    std::byte* error = out + answer.header_bytes;
    std::memset(error, 0, kIcmpHeaderBytes);
    error[0] = packet.v6 ? std::byte{1} : std::byte{3};
    error[1] = packet.v6 ? std::byte{1} : std::byte{13};
    const std::size_t most =
        (packet.v6 ? kRejectBytesMax : kIp4ErrorMax) - answer.header_bytes - kIcmpHeaderBytes;
    const std::size_t quoted = std::min(packet.length, most);
    std::memcpy(error + kIcmpHeaderBytes, packet.data, quoted);
    return finish(answer, protocol, kIcmpHeaderBytes + quoted, 2);
}

}  // namespace

std::size_t write_reject(const InnerPacket& packet, const Transport& transport,
                         std::span<std::byte, kRejectBytesMax> out) noexcept {
    if (!one_host(packet.source(), packet.v6) || !one_host(packet.destination(), packet.v6)) return 0;
    if (transport.fragment == Fragment::later || transport.icmp_error() || transport.icmp_redirect())
        return 0;
    if (transport.protocol != kTcp) return write_error(packet, out.data());
    if ((transport.tcp_flags & tcp::kRst) != 0 || transport.is_fragment()) return 0;
    return write_reset(packet, transport, out.data());
}

}  // namespace vern::policy
