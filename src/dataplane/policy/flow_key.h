// By what a flow is known.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

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
    friend bool operator==(const FlowKey&, const FlowKey&) = default;
};

}  // namespace vern::policy
