// Our own datagrams, when routing sends them back into the tunnel: to a peer whose endpoint is inside of it,
// because somebody said so or a packet was forged. Sealed once more they would come back again, for ever. The
// kernel's WireGuard sees the loop by the route; here a datagram is known by where it goes and by what it
// begins with, its type and the random index of its session.
//
// Fixed memory; the last datagram of each slot is remembered, so one that comes back after others have taken
// its slot goes round once more.
//
// Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/base/address.h"
#include "dataplane/base/inner_packet.h"

namespace vern {

class LoopGuard {
  public:
    // Datagrams that begin like `message`, with a WireGuard header, leave for `to`.
    void sent(const Endpoint& to, std::span<const std::byte> message) noexcept {
        if (message.size() < kStartBytes) return;
        const std::uint64_t mark =
            mark_of(to.address.bytes.data(), to.address.octets().size(), to.port, message.data());
        std::atomic<std::uint64_t>& slot = slots_[mark % kSlots];
        // Mostly it is there, and then the line stays in every worker's cache.
        if (slot.load(std::memory_order_relaxed) != mark) slot.store(mark, std::memory_order_relaxed);
    }

    // A packet from the TUN device.
    bool is_own(const InnerPacket& packet) const noexcept {
        if (packet.protocol() != static_cast<std::uint8_t>(IpProtocol::udp)) return false;
        if (packet.is_fragment() && (load_be16(packet.data + ip4::kFragment) & 0x1fff) != 0) return false;
        if (packet.length < packet.header_bytes + udp::kHeaderBytes + kStartBytes) return false;
        const std::byte* const header = packet.data + packet.header_bytes;
        const std::uint64_t mark =
            mark_of(packet.destination(), packet.address_bytes(), load_be16(header + udp::kDestinationPort),
                    header + udp::kHeaderBytes);
        return slots_[mark % kSlots].load(std::memory_order_relaxed) == mark;
    }

  private:
    static constexpr std::size_t kSlots = 1024;
    static constexpr std::size_t kStartBytes = 8;  // type, reserved bytes and index

    // Never 0, which is an empty slot.
    static std::uint64_t mark_of(const std::byte* address, std::size_t address_bytes, std::uint16_t port,
                                 const std::byte* start) noexcept {
        std::array<std::uint64_t, 3> words{};
        std::memcpy(words.data(), address, address_bytes);
        std::memcpy(&words[2], start, kStartBytes);
        std::uint64_t mark = port + 1U;
        for (const std::uint64_t word : words) {
            mark = (mark ^ word) * 0x9e3779b97f4a7c15;  // odd, of the golden ratio: Fibonacci hashing
            mark ^= mark >> 32;
        }
        return mark | std::uint64_t{1} << 63;
    }

    std::array<std::atomic<std::uint64_t>, kSlots> slots_{};
};

}  // namespace vern
