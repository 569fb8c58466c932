// Inner packets as the tunnel sees them: typed views over IPv4, IPv6, TCP and UDP headers in memory that is
// hostile until checked.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "dataplane/base/address.h"
#include "dataplane/base/checksum.h"

namespace vern {

inline std::uint16_t load_be16(const std::byte* at) noexcept {
    std::uint16_t value;
    std::memcpy(&value, at, 2);
    return std::endian::native == std::endian::little ? __builtin_bswap16(value) : value;
}
inline std::uint32_t load_be32(const std::byte* at) noexcept {
    std::uint32_t value;
    std::memcpy(&value, at, 4);
    return std::endian::native == std::endian::little ? __builtin_bswap32(value) : value;
}
inline void store_be16(std::byte* at, std::uint16_t value) noexcept {
    if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap16(value);
    std::memcpy(at, &value, 2);
}
inline void store_be32(std::byte* at, std::uint32_t value) noexcept {
    if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap32(value);
    std::memcpy(at, &value, 4);
}

enum class IpProtocol : std::uint8_t { tcp = 6, udp = 17 };

// Where the fields are. IPv4 addresses stand in the header at 12 and 16, IPv6 addresses at 8 and 24.
namespace ip4 {
inline constexpr std::size_t kHeaderBytes = 20, kTos = 1, kTotalLength = 2, kId = 4, kFragment = 6, kTtl = 8,
                             kProtocol = 9, kChecksum = 10, kSource = 12, kDestination = 16;
inline constexpr std::uint16_t kDontFragment = 0x4000;
}  // namespace ip4
namespace ip6 {
inline constexpr std::size_t kHeaderBytes = 40, kPayloadLength = 4, kNextHeader = 6, kHopLimit = 7,
                             kSource = 8, kDestination = 24;
}
namespace tcp {
inline constexpr std::size_t kHeaderBytes = 20, kSequence = 4, kAcknowledgment = 8, kOffset = 12, kFlags = 13,
                             kChecksum = 16;
inline constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10, kUrg = 0x20,
                              kCwr = 0x80;
// With options; as the header says, which may be less than there is or more than arrived.
inline std::size_t header_bytes(const std::byte* header) noexcept {
    return (std::to_integer<std::size_t>(header[kOffset]) >> 4) * 4;
}
}  // namespace tcp
namespace udp {
inline constexpr std::size_t kHeaderBytes = 8, kDestinationPort = 2, kLength = 4, kChecksum = 6;
}

// The IP header of a packet, checked: version known, header whole, the length it claims within what is there.
struct InnerPacket {
    std::byte* data = nullptr;
    std::size_t length = 0;  // as the header says: what follows is padding
    bool v6 = false;
    std::uint8_t header_bytes = 0;  // of the IP header alone: 20..60, or 40 (extension headers are payload)

    // nullopt: neither IPv4 nor IPv6, cut short, or lying about its length.
    static std::optional<InnerPacket> parse(std::span<std::byte> bytes) noexcept {
        if (bytes.size() < ip4::kHeaderBytes) return std::nullopt;
        const auto version = std::to_integer<unsigned>(bytes[0]) >> 4;
        InnerPacket packet;
        packet.data = bytes.data();
        if (version == 4) {
            packet.header_bytes = static_cast<std::uint8_t>((std::to_integer<unsigned>(bytes[0]) & 0x0f) * 4);
            packet.length = load_be16(&bytes[ip4::kTotalLength]);
        } else if (version == 6) {
            if (bytes.size() < ip6::kHeaderBytes) return std::nullopt;
            packet.v6 = true;
            packet.header_bytes = ip6::kHeaderBytes;
            packet.length = ip6::kHeaderBytes + load_be16(&bytes[ip6::kPayloadLength]);
        } else {
            return std::nullopt;
        }
        if (packet.header_bytes < ip4::kHeaderBytes || packet.length < packet.header_bytes ||
            packet.length > bytes.size())
            return std::nullopt;
        return packet;
    }

    const std::byte* source() const noexcept { return data + (v6 ? ip6::kSource : ip4::kSource); }
    const std::byte* destination() const noexcept {
        return data + (v6 ? ip6::kDestination : ip4::kDestination);
    }
    std::size_t address_bytes() const noexcept { return v6 ? 16 : 4; }

    // The protocol behind the IP header itself; extension headers are not walked.
    std::uint8_t protocol() const noexcept {
        return std::to_integer<std::uint8_t>(data[v6 ? ip6::kNextHeader : ip4::kProtocol]);
    }
    bool is_fragment() const noexcept { return !v6 && (load_be16(data + ip4::kFragment) & 0x3fff) != 0; }

    std::uint8_t tos() const noexcept {
        return v6 ? static_cast<std::uint8_t>(load_be16(data) >> 4)
                  : std::to_integer<std::uint8_t>(data[ip4::kTos]);
    }
    std::uint8_t ecn() const noexcept { return tos() & 3; }

    // The caller has checked that the packet speaks ECN.
    void set_ecn(std::uint8_t bits) noexcept {
        if (v6) {
            data[1] = (data[1] & std::byte{0xcf}) | static_cast<std::byte>(bits << 4);
            return;
        }
        const std::uint16_t before = load_be16(data);
        data[ip4::kTos] = (data[ip4::kTos] & std::byte{0xfc}) | static_cast<std::byte>(bits);
        // RFC 1624: the header checksum follows the one word that changed.
        std::uint32_t sum = static_cast<std::uint16_t>(~load_be16(data + ip4::kChecksum));
        sum += static_cast<std::uint16_t>(~before) + static_cast<std::uint32_t>(load_be16(data));
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        store_be16(data + ip4::kChecksum, static_cast<std::uint16_t>(~sum));
    }

    // Sum of the pseudo header for a transport of `transport_bytes`, in memory order.
    std::uint64_t pseudo_header_sum(std::uint8_t transport_protocol,
                                    std::size_t transport_bytes) const noexcept {
        std::uint64_t sum = checksum_add(0, source(), 2 * address_bytes());
        std::byte rest[8]{};
        store_be32(rest, static_cast<std::uint32_t>(transport_bytes));
        rest[7] = static_cast<std::byte>(transport_protocol);
        return checksum_add(sum, rest, sizeof rest);
    }

    void write_ip4_checksum() noexcept {
        std::memset(data + ip4::kChecksum, 0, 2);
        const auto sum = static_cast<std::uint16_t>(~checksum_fold(checksum_add(0, data, header_bytes)));
        std::memcpy(data + ip4::kChecksum, &sum, 2);
    }
    bool ip4_checksum_valid() const noexcept {
        return checksum_fold(checksum_add(0, data, header_bytes)) == 0xffff;
    }
};

}  // namespace vern
