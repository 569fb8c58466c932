#include "packet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "rng.h"

namespace vern::sim {
namespace {

constexpr std::uint64_t kSalt = 0x7665726e2073696d;
constexpr std::uint8_t kTcp = 6, kUdp = 17;

void put16(std::byte* at, std::size_t value) noexcept {
    at[0] = static_cast<std::byte>(value >> 8 & 0xff);
    at[1] = static_cast<std::byte>(value & 0xff);
}
void put32(std::byte* at, std::uint32_t value) noexcept {
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}
std::uint16_t get16(const std::byte* at) noexcept {
    return static_cast<std::uint16_t>(std::to_integer<unsigned>(at[0]) << 8 |
                                      std::to_integer<unsigned>(at[1]));
}

// RFC 1071, the slow and obvious way: independent of the core's.
std::uint32_t sum16(std::uint32_t sum, std::span<const std::byte> bytes) noexcept {
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += get16(&bytes[i]);
    if (bytes.size() % 2 != 0) sum += std::to_integer<std::uint32_t>(bytes.back()) << 8;
    return sum;
}
std::uint16_t fold(std::uint32_t sum) noexcept {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}
std::uint32_t pseudo(std::span<const std::byte> addresses, std::uint8_t protocol,
                     std::size_t bytes) noexcept {
    return sum16(0, addresses) + protocol + static_cast<std::uint32_t>(bytes);
}

}  // namespace

void write_payload(std::span<std::byte> payload, std::uint64_t id) noexcept {
    std::memcpy(payload.data(), &id, 8);
    std::uint64_t word = mix(id ^ kSalt);
    for (std::size_t at = 8; at < payload.size();
         at += 8, word = word * 6364136223846793005 + 1442695040888963407)
        std::memcpy(&payload[at], &word, std::min<std::size_t>(8, payload.size() - at));
}

std::optional<std::uint64_t> payload_id(std::span<const std::byte> payload) noexcept {
    if (payload.size() < kPayloadMin) return std::nullopt;
    std::uint64_t id, check;
    std::memcpy(&id, payload.data(), 8);
    std::memcpy(&check, &payload[8], 8);
    if (check != mix(id ^ kSalt)) return std::nullopt;
    return id;
}

bool payload_intact(std::span<const std::byte> payload, std::uint64_t id) noexcept {
    std::uint64_t word = mix(id ^ kSalt);
    for (std::size_t at = 8; at < payload.size();
         at += 8, word = word * 6364136223846793005 + 1442695040888963407) {
        if (std::memcmp(&payload[at], &word, std::min<std::size_t>(8, payload.size() - at)) != 0)
            return false;
    }
    return true;
}

std::size_t header_bytes(const Flow& flow, const Shape& shape) noexcept {
    const std::size_t ip = flow.v6 ? 40 : shape.options ? 24 : 20;
    return ip + (flow.protocol == kTcp ? 20 : flow.protocol == kUdp ? 8 : 0);
}

VnetHeader build(Flow& flow, const Shape& shape, std::vector<std::byte>& out) {
    const std::size_t headers = header_bytes(flow, shape);
    const std::size_t ip = flow.v6 ? 40 : shape.options ? 24 : 20;
    const std::size_t payload = (shape.segments - 1) * shape.payload + shape.last_payload;
    out.assign(headers + payload, std::byte{0});
    std::byte* const p = out.data();
    const std::size_t address_bytes = flow.v6 ? 16 : 4;
    std::byte* const addresses = p + (flow.v6 ? 8 : 12);
    std::memcpy(addresses, flow.from.data(), address_bytes);
    std::memcpy(addresses + address_bytes, flow.to.data(), address_bytes);
    if (flow.v6) {
        p[0] = std::byte{0x60};
        p[1] = static_cast<std::byte>(shape.ecn << 4);
        put16(p + 4, out.size() - 40);
        p[6] = static_cast<std::byte>(flow.protocol);
        p[7] = std::byte{64};
    } else {
        p[0] = static_cast<std::byte>(0x40 | ip / 4);
        p[1] = static_cast<std::byte>(shape.ecn);
        put16(p + 2, out.size());
        put16(p + 4, flow.ip_id);
        flow.ip_id = static_cast<std::uint16_t>(flow.ip_id + shape.segments);
        put16(p + 6, flow.dont_fragment ? 0x4000 : 0);
        p[8] = std::byte{64};
        p[9] = static_cast<std::byte>(flow.protocol);
        std::fill_n(p + 20, ip - 20, std::byte{1});  // no-operation options
        put16(p + 10, static_cast<std::uint16_t>(~fold(sum16(0, {p, ip}))));
    }
    for (std::size_t i = 0; i < shape.segments; ++i) {
        const std::size_t bytes = i + 1 < shape.segments ? shape.payload : shape.last_payload;
        write_payload({p + headers + i * shape.payload, bytes}, shape.first_id + i);
    }
    flow.sequence += static_cast<std::uint32_t>(shape.segments);

    VnetHeader header;
    std::byte* const transport = p + ip;
    const std::size_t transport_bytes = out.size() - ip;
    std::size_t checksum_at = 0;
    if (flow.protocol == kTcp) {
        put32(transport + 4, flow.tcp_sequence);
        put32(transport + 8, 1);
        transport[12] = std::byte{0x50};
        transport[13] = shape.push ? std::byte{0x18} : std::byte{0x10};
        put16(transport + 14, 1024);
        flow.tcp_sequence += static_cast<std::uint32_t>(payload);
        checksum_at = 16;
    } else if (flow.protocol == kUdp) {
        put16(transport + 4, transport_bytes);
        checksum_at = 6;
    } else {
        return header;
    }
    put16(transport, flow.source_port);
    put16(transport + 2, flow.destination_port);
    const std::uint32_t sum = pseudo({addresses, 2 * address_bytes}, flow.protocol, transport_bytes);
    if (shape.partial_checksum || shape.segments > 1) {
        put16(transport + checksum_at, fold(sum));
        header.flags = VnetHeader::kNeedsChecksum;
        header.checksum_start = static_cast<std::uint16_t>(ip);
        header.checksum_offset = static_cast<std::uint16_t>(checksum_at);
    } else if (!shape.no_checksum) {
        const auto checksum = static_cast<std::uint16_t>(~fold(sum16(sum, {transport, transport_bytes})));
        put16(transport + checksum_at, checksum == 0 ? 0xffff : checksum);
    }
    if (shape.segments > 1) {
        header.gso_type = flow.protocol == kUdp ? VnetHeader::kGsoUdp
                          : flow.v6             ? VnetHeader::kGsoTcp6
                                                : VnetHeader::kGsoTcp4;
        header.gso_size = static_cast<std::uint16_t>(shape.payload);
        header.header_bytes = static_cast<std::uint16_t>(headers);
    }
    return header;
}

std::string take_apart(std::span<const std::byte> packet, const VnetHeader& header, std::vector<Found>& out) {
    if (packet.size() < 20) return "shorter than an IP header";
    Found found;
    const unsigned version = std::to_integer<unsigned>(packet[0]) >> 4;
    found.v6 = version == 6;
    if (version != 4 && (version != 6 || packet.size() < 40)) return fmt::format("IP version {}", version);
    const std::size_t ip = found.v6 ? 40 : (std::to_integer<std::size_t>(packet[0]) & 15) * 4;
    const std::size_t claimed = found.v6 ? 40U + get16(&packet[4]) : get16(&packet[2]);
    if (claimed != packet.size())
        return fmt::format("header says {} bytes, {} are there", claimed, packet.size());
    if (!found.v6 && fold(sum16(0, packet.first(ip))) != 0xffff) return "wrong IPv4 header checksum";
    found.protocol = std::to_integer<std::uint8_t>(packet[found.v6 ? 6 : 9]);
    found.ecn = static_cast<std::uint8_t>(found.v6 ? std::to_integer<unsigned>(packet[1]) >> 4 & 3
                                                   : std::to_integer<unsigned>(packet[1]) & 3);
    const auto addresses = packet.subspan(found.v6 ? 8 : 12, found.v6 ? 32 : 8);
    found.from = addresses.data();
    found.to = addresses.data() + addresses.size() / 2;

    const auto transport = packet.subspan(ip);
    std::size_t transport_header = 0;
    if (found.protocol == kTcp || found.protocol == kUdp) {
        transport_header = found.protocol == kTcp ? 20 : 8;
        if (transport.size() < transport_header) return "shorter than a transport header";
        found.source_port = get16(transport.data());
        found.destination_port = get16(&transport[2]);
        if (found.protocol == kUdp && get16(&transport[4]) != transport.size()) return "wrong UDP length";
        const std::uint16_t stored = get16(&transport[found.protocol == kTcp ? 16 : 6]);
        const std::uint32_t sum = pseudo(addresses, found.protocol, transport.size());
        if ((header.flags & VnetHeader::kNeedsChecksum) != 0) {
            if (stored != fold(sum)) return "wrong partial checksum";
            if (header.checksum_start != ip || header.checksum_offset != (found.protocol == kTcp ? 16 : 6))
                return "checksum fields wrong";
        } else if ((found.protocol != kUdp || stored != 0) && fold(sum16(sum, transport)) != 0xffff) {
            return "wrong transport checksum";
        }
    }
    std::span<const std::byte> payload = transport.subspan(transport_header);
    const std::size_t segment = header.gso_type == VnetHeader::kGsoNone ? payload.size() : header.gso_size;
    if (segment == 0) return "no payload";
    const std::uint8_t expected_type = found.protocol == kUdp ? VnetHeader::kGsoUdp
                                       : found.v6             ? VnetHeader::kGsoTcp6
                                                              : VnetHeader::kGsoTcp4;
    if (header.gso_type != VnetHeader::kGsoNone && header.gso_type != expected_type)
        return fmt::format("GSO type {}", header.gso_type);
    for (; !payload.empty(); payload = payload.subspan(std::min(segment, payload.size()))) {
        found.payload = payload.first(std::min(segment, payload.size()));
        out.push_back(found);
    }
    return {};
}

}  // namespace vern::sim
