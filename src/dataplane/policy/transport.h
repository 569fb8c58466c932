// What policy needs of an inner packet behind its IP header: which protocol it really is, its ports, and
// whether it is a fragment. Every byte is hostile: nothing is read that is not inside the packet, no length
// is believed before it was compared with what is left.
//
// IPv6 (RFC 8200, section 4): hop-by-hop options are read in the first place only; routing, destination
// options, fragment, AH (RFC 4302), HIP (RFC 7401), mobility (RFC 6275) and shim6 (RFC 5533) headers are
// walked and are never the end. Whatever else comes is that protocol: never TCP or UDP by guessing. IPv4 has
// no such chain: protocol 51 is protocol 51.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/base/counters.h"
#include "dataplane/base/inner_packet.h"

namespace vern::policy {

inline constexpr std::uint8_t kTcp = 6, kUdp = 17, kIcmp = 1, kIcmp6 = 58;
inline constexpr unsigned kExtensionHeadersMax = 8;

enum class Fragment : std::uint8_t {
    none,
    atomic,  // a fragment header on a whole packet (RFC 6946)
    first,   // has the transport header
    later,   // has none: nothing is known of it but whose it is
};

struct Transport {
    std::uint8_t protocol =
        0;  // of a later IPv6 fragment: 0, since only the first one's is binding (RFC 8200, section 4.5)
    Fragment fragment = Fragment::none;
    std::uint8_t tcp_flags = 0;
    std::uint8_t icmp_type = 0;
    std::uint8_t icmp_code = 0;
    bool icmp = false;  // ICMP over IPv4 or ICMPv6 over IPv6; crosswise they are protocols like any other
    std::uint16_t source_port = 0;  // TCP and UDP
    std::uint16_t destination_port = 0;
    std::uint16_t echo_id = 0;  // of echo requests and replies
    std::uint32_t offset = 0;   // of the transport header, from the IP header on
    // Fragments: of the datagram's payload behind the fragment header (IPv4: behind the IP header).
    std::uint32_t fragment_id = 0;
    std::uint32_t fragment_begin = 0;
    std::uint32_t fragment_end = 0;
    bool more_fragments = false;

    bool v6 = false;

    bool is_fragment() const noexcept { return fragment == Fragment::first || fragment == Fragment::later; }
    bool has_ports() const noexcept { return protocol == kTcp || protocol == kUdp; }
    bool echo_request() const noexcept;
    bool echo_reply() const noexcept;
    // Destination unreachable, packet too big, time exceeded, parameter problem. Not redirects, which are no
    // errors.
    bool icmp_error() const noexcept;
    bool icmp_redirect() const noexcept;
    // What rules match as the port: see Service.
    std::uint16_t service_port() const noexcept {
        if (icmp) return static_cast<std::uint16_t>(icmp_type << 8 | icmp_code);
        return destination_port;
    }
};

// nullopt when `out` is filled, else why the packet is refused.
std::optional<Counter> parse_transport(const InnerPacket& packet, Transport& out) noexcept;

// The packet that an ICMP error quotes, cut at any point behind its first 8 transport bytes (RFC 792; RFC
// 1812 and RFC 4443 quote more). False: it is not one whose flow could be told.
bool parse_quoted(const InnerPacket& error, const Transport& at, InnerPacket& packet,
                  Transport& out) noexcept;

}  // namespace vern::policy
