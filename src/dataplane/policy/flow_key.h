// By what a flow is known.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vern::policy {

// Orientation as in rules.h: the same for both directions of a flow.
struct FlowKey {
    std::array<std::byte, 16> remote{};  // IPv4 in the first four bytes
    std::array<std::byte, 16> local{};
    std::uint16_t remote_port = 0;  // ICMP echo: the identifier, in both
    std::uint16_t local_port = 0;
    std::uint8_t protocol = 0;
    // ICMP echo: 1 when the remote side asks, 2 when the local side does; else 0. Both may ping each other
    // with one identifier, and a request must never pass for the answer to one.
    std::uint8_t asks = 0;
    bool v6 = false;

    // All but the addresses. From single fields: a key is mostly asked just after it was written field by
    // field, and a load over several stores waits until all of them have left the store buffer.
    std::uint64_t rest() const noexcept {
        return std::uint64_t{remote_port} << 48 | std::uint64_t{local_port} << 32 |
               std::uint64_t{protocol} << 16 | std::uint64_t{asks} << 8 | (v6 ? 1U : 0U);
    }
    friend bool operator==(const FlowKey& a, const FlowKey& b) noexcept {
        std::array<std::uint64_t, 4> left, right;  // std::array would be compared byte by byte
        std::memcpy(&left[0], a.remote.data(), 16);
        std::memcpy(&left[2], a.local.data(), 16);
        std::memcpy(&right[0], b.remote.data(), 16);
        std::memcpy(&right[2], b.local.data(), 16);
        std::uint64_t differ = a.rest() ^ b.rest();
        for (std::size_t i = 0; i < left.size(); ++i) differ |= left[i] ^ right[i];
        return differ == 0;
    }
};

}  // namespace vern::policy
