// Inner packets that can be told apart: every payload begins with an id no other packet has, and all the rest
// of it follows from that id, so a changed byte shows. A superpacket's segments are packets of their own,
// with consecutive ids.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/core/train.h"

namespace vern::sim {

inline constexpr std::size_t kPayloadMin = 16;
inline constexpr std::uint8_t kOtherProtocol = 253;  // RFC 3692: for experiments

using HostId = std::uint8_t;
inline constexpr HostId kNobody = 0xff;

// One direction of a conversation, and what the next packet of it needs.
struct Flow {
    std::uint32_t id = 0;
    HostId source = 0;       // the host whose stack sends
    HostId destination = 0;  // the host it is meant for
    bool v6 = false;
    bool spoofed = false;  // from an address that is not the sender's
    std::uint8_t protocol = kOtherProtocol;
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    std::array<std::byte, 16> from{};
    std::array<std::byte, 16> to{};
    bool dont_fragment = true;
    std::uint32_t sequence = 0;      // of packets
    std::uint32_t tcp_sequence = 0;  // of bytes
    std::uint16_t ip_id = 0;
    std::int64_t last_delivered = -1;  // sequence
    std::uint32_t last_epoch = 0;
};

struct Shape {
    std::uint64_t first_id = 0;
    std::size_t segments = 1;
    std::size_t payload = kPayloadMin;  // bytes a segment
    std::size_t last_payload = kPayloadMin;
    std::uint8_t ecn = 0;
    bool push = false;
    bool partial_checksum = false;  // left to "the hardware", as superpackets always are
    bool no_checksum = false;       // UDP over IPv4 only
    bool options = false;           // IPv4 only: four bytes of them
};

std::size_t header_bytes(const Flow& flow, const Shape& shape) noexcept;
// Builds the packet and moves the flow on.
VnetHeader build(Flow& flow, const Shape& shape, std::vector<std::byte>& out);

void write_payload(std::span<std::byte> payload, std::uint64_t id) noexcept;
std::optional<std::uint64_t> payload_id(std::span<const std::byte> payload) noexcept;
bool payload_intact(std::span<const std::byte> payload, std::uint64_t id) noexcept;

// A packet (or one segment of a superpacket) as found on the other side.
struct Found {
    bool v6 = false;
    std::uint8_t protocol = 0;
    std::uint8_t ecn = 0;
    std::uint16_t source_port = 0, destination_port = 0;
    const std::byte* from = nullptr;
    const std::byte* to = nullptr;
    std::span<const std::byte> payload;
};
// Reads a packet without the core's own parser, checks lengths and checksums, and takes a superpacket apart.
// Returns what is wrong, or nothing.
std::string take_apart(std::span<const std::byte> packet, const VnetHeader& header, std::vector<Found>& out);

}  // namespace vern::sim
