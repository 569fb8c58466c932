// IP addresses, prefixes and endpoints, as values. Text forms are in control (the packet path prints
// nothing).
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace vern {

enum class Family : std::uint8_t { none = 0, v4 = 4, v6 = 6 };

// Network order; an IPv4 address is in the first four bytes, the rest is zero. IPv4-mapped IPv6 addresses are
// never stored: they become v4.
struct IpAddress {
    std::array<std::byte, 16> bytes{};
    Family family = Family::none;

    static IpAddress v4(std::span<const std::byte, 4> octets) noexcept {
        IpAddress address;
        std::memcpy(address.bytes.data(), octets.data(), 4);
        address.family = Family::v4;
        return address;
    }
    static IpAddress v6(std::span<const std::byte, 16> octets) noexcept {
        IpAddress address;
        std::memcpy(address.bytes.data(), octets.data(), 16);
        address.family = Family::v6;
        return address;
    }
    std::span<const std::byte> octets() const noexcept {
        return std::span(bytes).first(family == Family::v4 ? 4 : family == Family::v6 ? 16 : 0);
    }
    friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
};

// fe80::/10: an address of one link, which says nothing without its interface.
inline bool is_link_local(const IpAddress& address) noexcept {
    return address.family == Family::v6 && address.bytes[0] == std::byte{0xfe} &&
           (address.bytes[1] & std::byte{0xc0}) == std::byte{0x80};
}

struct Prefix {
    IpAddress address;        // host bits are zero
    std::uint8_t length = 0;  // 0..32 or 0..128
    friend auto operator<=>(const Prefix&, const Prefix&) = default;
};

inline bool contains(const Prefix& prefix, const IpAddress& address) noexcept {
    if (prefix.address.family != address.family) return false;
    for (unsigned bit = 0; bit < prefix.length; bit += 8) {
        const unsigned bits = std::min(8U, prefix.length - bit);
        const auto mask = static_cast<std::byte>(0xff << (8 - bits));
        if (((prefix.address.bytes[bit / 8] ^ address.bytes[bit / 8]) & mask) != std::byte{0}) return false;
    }
    return true;
}

// Where a peer is, and the local address it was last heard on ("sticky source": answers leave from there). 48
// bytes.
struct Endpoint {
    IpAddress address;                  // family none: not known
    IpAddress source;                   // family none: the routing table chooses
    std::uint16_t port = 0;             // host order
    std::uint32_t scope_id = 0;         // of a link-local IPv6 address, else 0
    std::uint32_t interface_index = 0;  // that `source` was seen on, 0 with no source

    bool known() const noexcept { return address.family != Family::none; }
    void clear_source() noexcept {
        source = {};
        interface_index = 0;
    }
    friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

}  // namespace vern
