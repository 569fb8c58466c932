#include "dataplane/core/coalescer.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vern {

void Coalescer::add(const InnerPacket& packet, Outlet& outlet) noexcept {
    Candidate candidate;
    if (!examine(packet, candidate)) {
        if (open_ > 0) close_flows_of(packet, outlet);
        return write_plain(packet, outlet);
    }

    auto flow = open_ == 0 ? flows_.end() : std::find_if(flows_.begin(), flows_.end(), [&](const Flow& f) {
        return f.count > 0 && same_flow(f.first, candidate);
    });
    if (flow != flows_.end()) {
        if (candidate.joins && follows(*flow, candidate)) {
            if (!flow->first_verified) flow->first_verified = checksum_valid(flow->first);
            if (flow->first_verified && checksum_valid(candidate)) {
                append(*flow, candidate);
                // A short or pushed packet ends the superpacket: latency, and nothing may follow.
                if (candidate.last || candidate.payload_bytes < flow->first.payload_bytes ||
                    flow->count == Outlet::kWritePiecesMax) {
                    write(*flow, outlet);
                    --open_;
                }
                return;
            }
        }
        write(*flow, outlet);
        --open_;
    }
    if (!candidate.joins || candidate.last) return write_plain(packet, outlet);
    begin(candidate, outlet);
}

void Coalescer::flush(Outlet& outlet) noexcept {
    if (open_ == 0) return;
    for (Flow& flow : flows_) {
        if (flow.count > 0) write(flow, outlet);
    }
    open_ = 0;
}

// A packet that no superpacket holds may yet be of an open flow (a fragment, IPv4 options, a wrong length; in
// IPv6 whatever lies behind extension headers): it must not overtake what came before it.
void Coalescer::close_flows_of(const InnerPacket& packet, Outlet& outlet) noexcept {
    const auto protocol = static_cast<IpProtocol>(packet.protocol());
    const bool hidden = packet.v6 && protocol != IpProtocol::tcp && protocol != IpProtocol::udp;
    for (Flow& flow : flows_) {
        const InnerPacket& first = flow.first.packet;
        if (flow.count == 0 || first.v6 != packet.v6 || (flow.first.protocol != protocol && !hidden))
            continue;
        if (std::memcmp(first.source(), packet.source(), 2 * packet.address_bytes()) != 0) continue;
        write(flow, outlet);
        --open_;
    }
}

// False: not TCP or UDP, or in a form that no superpacket has.
bool Coalescer::examine(const InnerPacket& packet, Candidate& out) const noexcept {
    const auto protocol = static_cast<IpProtocol>(packet.protocol());
    if (!(protocol == IpProtocol::tcp && tcp_) && !(protocol == IpProtocol::udp && udp_)) return false;
    if (packet.is_fragment() || (!packet.v6 && packet.header_bytes != ip4::kHeaderBytes)) return false;
    const std::size_t transport_bytes = packet.length - packet.header_bytes;
    const std::byte* transport = packet.data + packet.header_bytes;
    std::size_t header = udp::kHeaderBytes;
    if (protocol == IpProtocol::tcp) {
        if (transport_bytes < tcp::kHeaderBytes) return false;
        header = tcp::header_bytes(transport);
        if (header < tcp::kHeaderBytes || header > transport_bytes) return false;
        const auto flags = std::to_integer<std::uint8_t>(transport[tcp::kFlags]);
        out.joins = (flags & ~tcp::kPsh) == tcp::kAck;
        out.last = (flags & tcp::kPsh) != 0;
    } else {
        if (transport_bytes < udp::kHeaderBytes || load_be16(transport + udp::kLength) != transport_bytes)
            return false;
        out.joins = load_be16(transport + udp::kChecksum) != 0;
    }
    out.packet = packet;
    out.protocol = protocol;
    out.header_bytes = packet.header_bytes + header;
    out.payload_bytes = packet.length - out.header_bytes;
    out.joins = out.joins && out.payload_bytes > 0;
    return true;
}

bool Coalescer::same_flow(const Candidate& a, const Candidate& b) noexcept {
    return a.packet.v6 == b.packet.v6 && a.protocol == b.protocol &&
           std::memcmp(a.transport(), b.transport(), 4) == 0 &&
           std::memcmp(a.packet.source(), b.packet.source(), 2 * a.packet.address_bytes()) == 0;
}

bool Coalescer::follows(const Flow& flow, const Candidate& next) noexcept {
    const std::byte* a = flow.first.packet.data;
    const std::byte* b = next.packet.data;
    if (flow.first.header_bytes != next.header_bytes || next.payload_bytes > flow.first.payload_bytes ||
        flow.bytes + next.payload_bytes > kTrainBytesMax)
        return false;
    if (next.packet.v6) {
        // The length field counts what follows the fixed header, so the superpacket may be 40 bytes longer;
        // kTrainBytesMax is the tighter bound.
        if (std::memcmp(a, b, 4) != 0 || a[ip6::kHopLimit] != b[ip6::kHopLimit]) return false;
    } else {
        const std::uint16_t fragment = load_be16(a + ip4::kFragment);
        if (a[ip4::kTos] != b[ip4::kTos] || a[ip4::kTtl] != b[ip4::kTtl] ||
            fragment != load_be16(b + ip4::kFragment))
            return false;
        if (!(fragment & ip4::kDontFragment) &&
            load_be16(b + ip4::kId) != static_cast<std::uint16_t>(load_be16(a + ip4::kId) + flow.count))
            return false;
    }
    if (next.protocol == IpProtocol::udp) return true;
    const std::byte* x = flow.first.transport();
    const std::byte* y = next.transport();
    return load_be32(y + tcp::kSequence) == flow.next_sequence &&
           std::memcmp(x + tcp::kAcknowledgment, y + tcp::kAcknowledgment, 5) == 0 &&
           std::memcmp(x + tcp::kOffset + 2, y + tcp::kOffset + 2, 2) == 0 &&  // window
           std::memcmp(x + tcp::kHeaderBytes, y + tcp::kHeaderBytes,
                       next.header_bytes - next.packet.header_bytes - tcp::kHeaderBytes) == 0;
}

bool Coalescer::checksum_valid(const Candidate& candidate) noexcept {
    const InnerPacket& packet = candidate.packet;
    if (!packet.v6 && !packet.ip4_checksum_valid()) return false;
    const std::size_t bytes = packet.length - packet.header_bytes;
    const std::uint64_t sum = packet.pseudo_header_sum(static_cast<std::uint8_t>(candidate.protocol), bytes);
    return checksum_fold(checksum_add(sum, candidate.transport(), bytes)) == 0xffff;
}

void Coalescer::append(Flow& flow, const Candidate& next) noexcept {
    flow.pieces[flow.count++] = {next.packet.data + next.header_bytes, next.payload_bytes};
    flow.bytes += next.payload_bytes;
    flow.next_sequence += static_cast<std::uint32_t>(next.payload_bytes);
    if (next.last)
        flow.first.packet.data[flow.first.packet.header_bytes + tcp::kFlags] |=
            static_cast<std::byte>(tcp::kPsh);
}

void Coalescer::begin(const Candidate& first, Outlet& outlet) noexcept {
    auto flow = std::find_if(flows_.begin(), flows_.end(), [](const Flow& f) { return f.count == 0; });
    if (flow == flows_.end()) {
        flow = flows_.begin() + static_cast<std::ptrdiff_t>(next_victim_);
        next_victim_ = (next_victim_ + 1) % kFlows;
        write(*flow, outlet);
        --open_;
    }
    ++open_;
    flow->first = first;
    flow->bytes = first.packet.length;
    flow->count = 1;
    flow->first_verified = false;
    flow->pieces[0] = {first.packet.data, first.packet.length};
    if (first.protocol == IpProtocol::tcp)
        flow->next_sequence =
            load_be32(first.transport() + tcp::kSequence) + static_cast<std::uint32_t>(first.payload_bytes);
}

// Turns the first packet's header into that of the superpacket; a packet that stayed alone goes as it came.
void Coalescer::write(Flow& flow, Outlet& outlet) noexcept {
    const std::size_t count = std::exchange(flow.count, 0);
    InnerPacket& packet = flow.first.packet;
    if (count == 1) return write_plain(packet, outlet);

    packet.length = flow.bytes;
    const std::size_t transport_bytes = flow.bytes - packet.header_bytes;
    if (packet.v6) {
        store_be16(packet.data + ip6::kPayloadLength, static_cast<std::uint16_t>(transport_bytes));
    } else {
        store_be16(packet.data + ip4::kTotalLength, static_cast<std::uint16_t>(flow.bytes));
        packet.write_ip4_checksum();
    }
    const bool is_tcp = flow.first.protocol == IpProtocol::tcp;
    std::byte* transport = packet.data + packet.header_bytes;
    if (!is_tcp) store_be16(transport + udp::kLength, static_cast<std::uint16_t>(transport_bytes));
    const std::uint16_t pseudo = checksum_fold(
        packet.pseudo_header_sum(static_cast<std::uint8_t>(flow.first.protocol), transport_bytes));
    std::memcpy(transport + (is_tcp ? tcp::kChecksum : udp::kChecksum), &pseudo, 2);

    VnetHeader header;
    header.flags = VnetHeader::kNeedsChecksum;
    header.gso_type = !is_tcp ? VnetHeader::kGsoUdp : packet.v6 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4;
    header.header_bytes = static_cast<std::uint16_t>(flow.first.header_bytes);
    header.gso_size = static_cast<std::uint16_t>(flow.first.payload_bytes);
    header.checksum_start = packet.header_bytes;
    header.checksum_offset = static_cast<std::uint16_t>(is_tcp ? tcp::kChecksum : udp::kChecksum);
    outlet.write(header, std::span(flow.pieces).first(count));
}

void Coalescer::write_plain(const InnerPacket& packet, Outlet& outlet) noexcept {
    const iovec piece{packet.data, packet.length};
    outlet.write(VnetHeader{}, {&piece, 1});
}

}  // namespace vern
