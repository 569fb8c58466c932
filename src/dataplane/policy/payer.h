// Whose account it is that a flow or a fragmented datagram is on: of the peer that began it; where no peer
// did (this host, a network behind it), another one of the peer that it goes to. So nobody uses up what is a
// peer's by sending to it.
#pragma once

#include <cstdint>

#include "dataplane/base/inner_packet.h"

namespace vern::policy {

enum class Payer : std::uint64_t {};
constexpr Payer begun_by(std::uint64_t serial) noexcept { return Payer{serial * 2}; }
constexpr Payer begun_towards(std::uint64_t serial) noexcept { return Payer{serial * 2 + 1}; }

// Tells which peer's a packet's source address is: its serial, or 0 where it is no peer's.
struct SourceOwner {
    const void* context = nullptr;
    std::uint64_t (*serial_of)(const void* context, const InnerPacket& packet) noexcept = nullptr;
};

}  // namespace vern::policy
