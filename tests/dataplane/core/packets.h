// Inner packets for the tests, and checksums by the plainest routine there is: independent of
// dataplane/base/checksum.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/base/inner_packet.h"
#include "dataplane/core/train.h"

namespace vern::test {

using Bytes = std::vector<std::byte>;

inline IpAddress v4(unsigned a, unsigned b, unsigned c, unsigned d) {
    const std::byte octets[4] = {std::byte(a), std::byte(b), std::byte(c), std::byte(d)};
    return IpAddress::v4(octets);
}
inline IpAddress v6(std::initializer_list<unsigned> groups) {
    std::byte octets[16]{};
    std::size_t at = 0;
    for (const unsigned group : groups) {
        octets[at++] = std::byte(group >> 8);
        octets[at++] = std::byte(group & 0xff);
    }
    return IpAddress::v6(octets);
}

// RFC 1071, a byte pair at a time, in host order.
inline std::uint16_t slow_sum(std::span<const std::byte> bytes, std::uint64_t sum = 0) {
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
        const auto high = std::to_integer<std::uint64_t>(bytes[i]);
        const auto low = i + 1 < bytes.size() ? std::to_integer<std::uint64_t>(bytes[i + 1]) : 0;
        sum += high << 8 | low;
    }
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

struct PacketSpec {
    bool v6 = false;
    IpAddress from = v4(10, 0, 0, 1);
    IpAddress to = v4(10, 0, 0, 2);
    std::uint8_t protocol = 6;
    std::uint8_t tos = 0;
    std::uint8_t ttl = 64;
    std::uint16_t id = 1000;
    std::uint16_t fragment = 0x4000;  // flags and offset: DF
    std::uint16_t source_port = 4000;
    std::uint16_t destination_port = 5000;
    std::uint32_t sequence = 100000;
    std::uint32_t acknowledgment = 7777;
    std::uint8_t flags = tcp::kAck;
    std::uint16_t window = 501;
    Bytes ip_options;   // multiple of 4
    Bytes tcp_options;  // multiple of 4
    Bytes extension;    // IPv6 extension header, its next header byte set by build()
    std::size_t payload = 100;
    unsigned seed = 0;  // of the payload
};

inline std::byte payload_byte(unsigned seed, std::size_t i) {
    return static_cast<std::byte>((i * 31 + seed * 17 + (i >> 8) * 7) & 0xff);
}

inline std::uint64_t slow_pseudo(std::span<const std::byte> packet, std::uint8_t protocol,
                                 std::size_t bytes) {
    const bool is_v6 = std::to_integer<unsigned>(packet[0]) >> 4 == 6;
    return std::uint64_t{slow_sum(packet.subspan(is_v6 ? 8 : 12, is_v6 ? 32 : 8))} + protocol +
           (bytes >> 16) + (bytes & 0xffff);
}

// Sum over a transport and its pseudo header: 0xffff when its checksum is right.
inline std::uint16_t slow_transport_sum(std::span<const std::byte> packet, std::size_t transport_at,
                                        std::uint8_t protocol) {
    const auto transport = packet.subspan(transport_at);
    return slow_sum(transport, slow_pseudo(packet, protocol, transport.size()));
}
inline std::uint16_t slow_ip_sum(std::span<const std::byte> packet) {
    return slow_sum(packet.first((std::to_integer<std::size_t>(packet[0]) & 15) * 4));
}

inline std::size_t transport_at(const PacketSpec& spec) {
    return spec.v6 ? 40 + spec.extension.size() : 20 + spec.ip_options.size();
}
inline std::size_t header_bytes(const PacketSpec& spec) {
    return transport_at(spec) + (spec.protocol == 6    ? 20 + spec.tcp_options.size()
                                 : spec.protocol == 17 ? 8
                                                       : 0);
}

// A whole packet with right checksums.
inline Bytes build(const PacketSpec& spec) {
    Bytes packet(header_bytes(spec) + spec.payload);
    std::byte* ip = packet.data();
    if (spec.v6) {
        store_be32(ip, 0x60000000U | std::uint32_t{spec.tos} << 20 | 0x12345);
        store_be16(ip + 4, static_cast<std::uint16_t>(packet.size() - 40));
        ip[6] = std::byte(spec.extension.empty() ? spec.protocol : 60);  // destination options
        ip[7] = std::byte(spec.ttl);
        std::memcpy(ip + 8, spec.from.bytes.data(), 16);
        std::memcpy(ip + 24, spec.to.bytes.data(), 16);
        if (!spec.extension.empty()) {
            std::memcpy(ip + 40, spec.extension.data(), spec.extension.size());
            ip[40] = std::byte(spec.protocol);
        }
    } else {
        ip[0] = std::byte(0x45 + spec.ip_options.size() / 4);
        ip[1] = std::byte(spec.tos);
        store_be16(ip + 2, static_cast<std::uint16_t>(packet.size()));
        store_be16(ip + 4, spec.id);
        store_be16(ip + 6, spec.fragment);
        ip[8] = std::byte(spec.ttl);
        ip[9] = std::byte(spec.protocol);
        std::memcpy(ip + 12, spec.from.bytes.data(), 4);
        std::memcpy(ip + 16, spec.to.bytes.data(), 4);
        if (!spec.ip_options.empty()) std::memcpy(ip + 20, spec.ip_options.data(), spec.ip_options.size());
        store_be16(ip + 10, static_cast<std::uint16_t>(~slow_ip_sum(packet)));
    }
    const std::size_t at = transport_at(spec);
    std::byte* transport = ip + at;
    for (std::size_t i = 0; i < spec.payload; ++i)
        packet[header_bytes(spec) + i] = payload_byte(spec.seed, i);
    if (spec.protocol == 6 || spec.protocol == 17) {
        store_be16(transport, spec.source_port);
        store_be16(transport + 2, spec.destination_port);
    }
    if (spec.protocol == 6) {
        store_be32(transport + 4, spec.sequence);
        store_be32(transport + 8, spec.acknowledgment);
        transport[12] = std::byte((20 + spec.tcp_options.size()) / 4 << 4);
        transport[13] = std::byte(spec.flags);
        store_be16(transport + 14, spec.window);
        if (!spec.tcp_options.empty())
            std::memcpy(transport + 20, spec.tcp_options.data(), spec.tcp_options.size());
        store_be16(transport + 16, static_cast<std::uint16_t>(~slow_transport_sum(packet, at, 6)));
    } else if (spec.protocol == 17) {
        store_be16(transport + 4, static_cast<std::uint16_t>(packet.size() - at));
        const auto sum = static_cast<std::uint16_t>(~slow_transport_sum(packet, at, 17));
        store_be16(transport + 6, sum == 0 ? std::uint16_t{0xffff} : sum);
    }
    return packet;
}

inline Bytes udp_packet(const IpAddress& from, const IpAddress& to, std::size_t payload, unsigned seed = 0,
                        std::uint8_t tos = 0) {
    PacketSpec spec;
    spec.v6 = from.family == Family::v6;
    spec.from = from;
    spec.to = to;
    spec.protocol = 17;
    spec.payload = payload;
    spec.seed = seed;
    spec.tos = tos;
    return build(spec);
}

// The virtio header that a kernel would put before a superpacket of `spec`, and the partial checksum that it
// leaves in the packet.
inline VnetHeader superpacket_header(const PacketSpec& spec, std::uint16_t gso_size) {
    VnetHeader header;
    header.flags = VnetHeader::kNeedsChecksum;
    header.gso_type = spec.protocol == 17 ? VnetHeader::kGsoUdp
                      : spec.v6           ? VnetHeader::kGsoTcp6
                                          : VnetHeader::kGsoTcp4;
    header.header_bytes = static_cast<std::uint16_t>(header_bytes(spec));
    header.gso_size = gso_size;
    header.checksum_start = static_cast<std::uint16_t>(transport_at(spec));
    header.checksum_offset = spec.protocol == 17 ? 6 : 16;
    return header;
}
inline void leave_partial_checksum(Bytes& packet, const PacketSpec& spec) {
    const std::size_t at = transport_at(spec);
    const std::uint16_t pseudo = slow_sum({}, slow_pseudo(packet, spec.protocol, packet.size() - at));
    store_be16(packet.data() + at + (spec.protocol == 17 ? 6 : 16), pseudo);
}

inline Bytes random_bytes(std::mt19937_64& random, std::size_t n) {
    Bytes bytes(n);
    for (auto& byte : bytes) byte = static_cast<std::byte>(random() & 0xff);
    return bytes;
}

}  // namespace vern::test
