#include "dataplane/core/segmenter.h"

#include <algorithm>

namespace vern {
namespace {

void store_checksum(std::byte* at, std::uint64_t sum) noexcept {
    auto checksum = static_cast<std::uint16_t>(~checksum_fold(sum));
    // Zero means "no checksum" in UDP; in one's complement 0xffff is the same number everywhere.
    if (checksum == 0) checksum = 0xffff;
    std::memcpy(at, &checksum, 2);
}

// Whole steps that hold the first `bytes`, or all.
std::size_t front_bytes(std::size_t bytes, std::size_t all) noexcept {
    return std::min((bytes + Segmenter::kFrontStep - 1) / Segmenter::kFrontStep * Segmenter::kFrontStep, all);
}

}  // namespace

// The header length in the virtio header is not used: on forwarded packets it is wrong. Where the transport
// begins is taken from the checksum fields, which a superpacket always has, so IPv6 extension headers need no
// walking.
std::optional<Segmenter> Segmenter::plan(const InnerPacket& packet, const VnetHeader& header) noexcept {
    Segmenter plan;
    plan.packet_ = packet;
    const std::uint8_t gso = header.gso_type & static_cast<std::uint8_t>(~VnetHeader::kGsoEcn);
    if ((header.flags & VnetHeader::kNeedsChecksum) != 0) {
        plan.transport_at_ = header.checksum_start;
        plan.checksum_at_ = std::size_t{header.checksum_start} + header.checksum_offset;
        if (plan.transport_at_ < packet.header_bytes || plan.checksum_at_ + 2 > packet.length)
            return std::nullopt;
        plan.kind_ = Kind::plain_checksum;
    }
    if (gso == VnetHeader::kGsoNone) return plan;

    if (plan.kind_ != Kind::plain_checksum || header.gso_size == 0) return std::nullopt;
    if (!packet.v6 && (plan.transport_at_ != packet.header_bytes || packet.is_fragment()))
        return std::nullopt;
    const std::byte* transport = packet.data + plan.transport_at_;
    if (gso == VnetHeader::kGsoTcp4 || gso == VnetHeader::kGsoTcp6) {
        if (packet.v6 != (gso == VnetHeader::kGsoTcp6) || header.checksum_offset != tcp::kChecksum)
            return std::nullopt;
        if (plan.transport_at_ + tcp::kHeaderBytes > packet.length) return std::nullopt;
        const std::size_t tcp_bytes = tcp::header_bytes(transport);
        if (tcp_bytes < tcp::kHeaderBytes) return std::nullopt;
        plan.header_bytes_ = plan.transport_at_ + tcp_bytes;
        plan.kind_ = Kind::tcp;
    } else if (gso == VnetHeader::kGsoUdp) {
        if (header.checksum_offset != udp::kChecksum) return std::nullopt;
        plan.header_bytes_ = plan.transport_at_ + udp::kHeaderBytes;
        plan.kind_ = Kind::udp;
    } else {
        return std::nullopt;
    }
    if (plan.header_bytes_ >= packet.length) return std::nullopt;
    plan.segment_ = header.gso_size;
    plan.count_ = (packet.length - plan.header_bytes_ + plan.segment_ - 1) / plan.segment_;
    return plan;
}

void Segmenter::write(std::size_t i, std::byte* to) const noexcept {
    const Parts parts = write_front(i, to);
    std::memcpy(to + parts.front, parts.rest, size(i) - parts.front);
}

Segmenter::Parts Segmenter::write_front(std::size_t i, std::byte* to) const noexcept {
    if (kind_ == Kind::plain) return {0, packet_.data};
    if (kind_ == Kind::plain_checksum) {
        const std::size_t front = front_bytes(checksum_at_ + 2, packet_.length);
        std::memcpy(to, packet_.data, front);
        store_checksum(to + checksum_at_,
                       checksum_add(0, packet_.data + transport_at_, packet_.length - transport_at_));
        return {front, packet_.data + front};
    }
    InnerPacket out = packet_;
    out.data = to;
    out.length = size(i);
    const std::byte* const payload = packet_.data + header_bytes_ + i * segment_;
    const std::size_t front = front_bytes(header_bytes_, out.length), with_header = front - header_bytes_;
    std::memcpy(to, packet_.data, header_bytes_);
    std::memcpy(to + header_bytes_, payload, with_header);
    if (out.v6) {
        store_be16(to + ip6::kPayloadLength, static_cast<std::uint16_t>(out.length - ip6::kHeaderBytes));
    } else {
        store_be16(to + ip4::kTotalLength, static_cast<std::uint16_t>(out.length));
        store_be16(to + ip4::kId, static_cast<std::uint16_t>(load_be16(to + ip4::kId) + i));
        out.write_ip4_checksum();
    }
    const std::uint64_t sum = checksum_add(0, payload, payload_bytes(i));
    if (kind_ == Kind::tcp)
        finish_tcp(out, i, sum);
    else
        finish_udp(out, sum);
    return {front, payload + with_header};
}

void Segmenter::finish_tcp(InnerPacket& packet, std::size_t i, std::uint64_t payload) const noexcept {
    std::byte* header = packet.data + transport_at_;
    store_be32(header + tcp::kSequence,
               load_be32(header + tcp::kSequence) + static_cast<std::uint32_t>(i * segment_));
    // CWR belongs to the first packet only, FIN and PSH to the last.
    if (i > 0) header[tcp::kFlags] &= static_cast<std::byte>(~tcp::kCwr & 0xff);
    if (i + 1 < count_) header[tcp::kFlags] &= static_cast<std::byte>(~(tcp::kFin | tcp::kPsh) & 0xff);
    finish_checksum(packet, IpProtocol::tcp, header + tcp::kChecksum, payload);
}

void Segmenter::finish_udp(InnerPacket& packet, std::uint64_t payload) const noexcept {
    std::byte* header = packet.data + transport_at_;
    store_be16(header + udp::kLength, static_cast<std::uint16_t>(packet.length - transport_at_));
    finish_checksum(packet, IpProtocol::udp, header + udp::kChecksum, payload);
}

// `payload`: the sum of what is behind the header, whose length is even.
void Segmenter::finish_checksum(const InnerPacket& packet, IpProtocol protocol, std::byte* at,
                                std::uint64_t payload) const noexcept {
    std::memset(at, 0, 2);
    const std::uint64_t pseudo =
        packet.pseudo_header_sum(static_cast<std::uint8_t>(protocol), packet.length - transport_at_);
    store_checksum(at, checksum_add(add_carry(pseudo, payload), packet.data + transport_at_,
                                    header_bytes_ - transport_at_));
}

}  // namespace vern
