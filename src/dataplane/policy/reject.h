// The answer to a packet that a rule rejects, so that the sender need not wait for a timeout: TCP gets a
// reset (RFC 9293, section 3.10.7.1), all else "communication administratively prohibited" (ICMP 3/13, RFC
// 1812; ICMPv6 1/1, RFC 4443). It goes back to where the packet came from: that of a packet from a peer into
// the tunnel, that of one from the TUN device to the TUN device.
#pragma once

#include <cstddef>
#include <span>

#include "dataplane/base/inner_packet.h"
#include "dataplane/policy/transport.h"

namespace vern::policy {

inline constexpr std::size_t kRejectBytesMax =
    1280;  // IPv6 errors quote up to its smallest MTU, IPv4 ones up to 576

// How long the answer in `out` (kRejectBytesMax) is; 0: nothing is to be answered (resets, ICMP errors,
// fragments that tell nothing, and what went to or came from more or less than one host: RFC 1122,
// section 3.2.2).
std::size_t write_reject(const InnerPacket& packet, const Transport& transport,
                         std::span<std::byte, kRejectBytesMax> out) noexcept;

}  // namespace vern::policy
