#include "dataplane/policy/transport.h"

#include <utility>

namespace vern::policy {
namespace {

constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragmentHeader = 44, kAuthentication = 51,
                       kDestinationOptions = 60, kMobility = 135, kHip = 139, kShim6 = 140;
constexpr std::uint8_t kRoutingType0 = 0, kRoutingType2 = 2;
constexpr std::uint8_t kLooseSourceRoute = 131, kStrictSourceRoute = 137;
constexpr std::size_t kIcmpHeaderBytes = 8;  // of every message there is
constexpr std::size_t kQuotedBytes = 8;      // RFC 792

enum class Depth { whole, quoted };

std::uint8_t byte_at(const InnerPacket& packet, std::size_t at) noexcept {
    return std::to_integer<std::uint8_t>(packet.data[at]);
}

// The place where a fragment belongs must exist: nothing behind 65535 bytes, and all but the last are
// multiples of eight.
bool fragment_fits(const Transport& out) noexcept {
    return out.fragment_end <= 65535 && out.fragment_end > out.fragment_begin &&
           !(out.more_fragments && (out.fragment_end - out.fragment_begin) % 8 != 0);
}

void set_fragment(Transport& out, std::uint16_t offset_bytes, bool more, std::uint32_t id,
                  std::size_t bytes) noexcept {
    out.fragment = offset_bytes > 0 ? Fragment::later : Fragment::first;
    out.fragment_id = id;
    out.fragment_begin = offset_bytes;
    out.fragment_end = static_cast<std::uint32_t>(offset_bytes + bytes);
    out.more_fragments = more;
}

// A packet that names its own way: the destination that rules see is not where it ends.
bool has_source_route(const InnerPacket& packet) noexcept {
    for (std::size_t at = ip4::kHeaderBytes; at < packet.header_bytes;) {
        const std::uint8_t kind = byte_at(packet, at);
        if (kind == 0) return false;
        if (kind == 1) {
            ++at;
            continue;
        }
        if (kind == kLooseSourceRoute || kind == kStrictSourceRoute) return true;
        if (at + 1 >= packet.header_bytes) return false;
        const std::uint8_t bytes = byte_at(packet, at + 1);
        if (bytes < 2) return false;
        at += bytes;
    }
    return false;
}

std::optional<Counter> walk_v4(const InnerPacket& packet, Depth depth, Transport& out) noexcept {
    out.protocol = packet.protocol();
    out.offset = packet.header_bytes;
    if (packet.header_bytes > ip4::kHeaderBytes && has_source_route(packet))
        return Counter::policy_source_route;
    const std::uint16_t field = load_be16(packet.data + ip4::kFragment);
    if ((field & 0x3fff) == 0) return std::nullopt;
    set_fragment(out, static_cast<std::uint16_t>((field & 0x1fff) * 8), (field & 0x2000) != 0,
                 load_be16(packet.data + ip4::kId), packet.length - packet.header_bytes);
    if (depth == Depth::whole && !fragment_fits(out)) return Counter::policy_fragment_malformed;
    return std::nullopt;
}

// Length of the header at `at`, or 0 when it does not fit into the packet. In size_t: 256 * 8 does not fit
// the byte that it is told in.
std::size_t extension_bytes(const InnerPacket& packet, std::size_t at, std::uint8_t kind) noexcept {
    if (packet.length - at < 8) return 0;
    if (kind == kFragmentHeader) return 8;
    const std::size_t units = byte_at(packet, at + 1);
    const std::size_t bytes = kind == kAuthentication ? (units + 2) * 4 : (units + 1) * 8;
    return bytes <= packet.length - at ? bytes : 0;
}

std::optional<Counter> walk_v6(const InnerPacket& packet, Depth depth, Transport& out) noexcept {
    std::uint8_t kind = packet.protocol();
    std::size_t at = ip6::kHeaderBytes;
    bool fragmented = false;
    for (unsigned headers = 0;; ++headers) {
        switch (kind) {
            case kHopByHop:
            case kRouting:
            case kFragmentHeader:
            case kAuthentication:
            case kDestinationOptions:
            case kMobility:
            case kHip:
            case kShim6: break;
            default:
                out.protocol = kind;
                out.offset = static_cast<std::uint32_t>(at);
                return std::nullopt;
        }
        if (headers == kExtensionHeadersMax || (kind == kHopByHop && headers > 0))
            return Counter::policy_extension;
        const std::size_t bytes = extension_bytes(packet, at, kind);
        if (bytes == 0) return Counter::policy_extension;
        if (kind == kRouting) {
            // Type 0 is forbidden (RFC 5095). Of the others only type 2 ends at the node that it is sent to.
            const std::uint8_t type = byte_at(packet, at + 2);
            const bool goes_on = byte_at(packet, at + 3) > 0;
            if (type == kRoutingType0 || (goes_on && type != kRoutingType2))
                return Counter::policy_source_route;
        }
        if (kind == kFragmentHeader) {
            if (std::exchange(fragmented, true)) return Counter::policy_extension;
            const std::uint16_t field = load_be16(packet.data + at + 2);
            const auto begin = static_cast<std::uint16_t>(field & 0xfff8);
            if (begin == 0 && (field & 1) == 0) {
                out.fragment = Fragment::atomic;
            } else {
                set_fragment(out, begin, (field & 1) != 0, load_be32(packet.data + at + 4),
                             packet.length - at - 8);
                if (depth == Depth::whole && !fragment_fits(out)) return Counter::policy_fragment_malformed;
                if (out.fragment == Fragment::later) {
                    out.offset = static_cast<std::uint32_t>(at + 8);
                    return std::nullopt;
                }
            }
        }
        kind = byte_at(packet, at);
        at += bytes;
    }
}

std::optional<Counter> read_transport(const InnerPacket& packet, Depth depth, Transport& out) noexcept {
    const std::size_t left = packet.length - out.offset;
    const std::byte* at = packet.data + out.offset;
    out.icmp = out.protocol == (packet.v6 ? kIcmp6 : kIcmp);
    if (out.has_ports()) {
        const std::size_t least = depth == Depth::quoted ? kQuotedBytes
                                  : out.protocol == kTcp ? tcp::kHeaderBytes
                                                         : udp::kHeaderBytes;
        if (left < least) return Counter::policy_transport_short;
        out.source_port = load_be16(at);
        out.destination_port = load_be16(at + 2);
        if (out.protocol == kUdp || depth == Depth::quoted) return std::nullopt;
        const std::size_t header_bytes = tcp::header_bytes(at);
        if (header_bytes < tcp::kHeaderBytes || header_bytes > left) return Counter::policy_transport_short;
        out.tcp_flags = std::to_integer<std::uint8_t>(at[tcp::kFlags]);
    } else if (out.icmp) {
        if (left < kIcmpHeaderBytes) return Counter::policy_transport_short;
        out.icmp_type = std::to_integer<std::uint8_t>(at[0]);
        out.icmp_code = std::to_integer<std::uint8_t>(at[1]);
        if (out.echo_request() || out.echo_reply()) out.echo_id = load_be16(at + 4);
    }
    return std::nullopt;
}

std::optional<Counter> parse(const InnerPacket& packet, Depth depth, Transport& out) noexcept {
    out = {};
    out.v6 = packet.v6;
    if (const auto why = packet.v6 ? walk_v6(packet, depth, out) : walk_v4(packet, depth, out)) return why;
    return out.fragment == Fragment::later ? std::nullopt : read_transport(packet, depth, out);
}

}  // namespace

bool Transport::echo_request() const noexcept { return icmp && icmp_type == (v6 ? 128 : 8); }
bool Transport::echo_reply() const noexcept { return icmp && icmp_type == (v6 ? 129 : 0); }
bool Transport::icmp_error() const noexcept {
    if (!icmp) return false;
    return v6 ? icmp_type >= 1 && icmp_type <= 4 : icmp_type == 3 || icmp_type == 11 || icmp_type == 12;
}
bool Transport::icmp_redirect() const noexcept { return icmp && icmp_type == (v6 ? 137 : 5); }

std::optional<Counter> parse_transport(const InnerPacket& packet, Transport& out) noexcept {
    return parse(packet, Depth::whole, out);
}

bool parse_quoted(const InnerPacket& error, const Transport& at, InnerPacket& packet,
                  Transport& out) noexcept {
    const std::size_t begin = at.offset + kIcmpHeaderBytes;
    if (begin > error.length) return false;
    const std::size_t left = error.length - begin;
    packet.data = error.data + begin;
    packet.v6 = error.v6;
    packet.length = left;  // what the quoted header says of its length may be more than is quoted
    if (left < (error.v6 ? ip6::kHeaderBytes : ip4::kHeaderBytes)) return false;
    const std::uint8_t first = std::to_integer<std::uint8_t>(packet.data[0]);
    if (first >> 4 != (error.v6 ? 6 : 4)) return false;
    packet.header_bytes =
        error.v6 ? std::uint8_t{ip6::kHeaderBytes} : static_cast<std::uint8_t>((first & 15) * 4);
    if (packet.header_bytes < ip4::kHeaderBytes || packet.header_bytes > left) return false;
    return !parse(packet, Depth::quoted, out) && out.fragment != Fragment::later;
}

}  // namespace vern::policy
