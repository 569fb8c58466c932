// Cutting a superpacket from the TUN device into the packets that it stands for (what a NIC does for TSO and
// USO). Headers, and what completes a step of the AEAD's, are written into the place where the packet will be
// sealed; the rest of the payload stays where it is, for the AEAD to read there. Also completes the checksum
// of single packets where the kernel left it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "dataplane/base/inner_packet.h"
#include "dataplane/core/train.h"

namespace vern {

class Segmenter {
  public:
    // Looks at headers only. nullopt: the virtio header and the packet do not fit together; nothing may be
    // sent of it.
    static std::optional<Segmenter> plan(const InnerPacket& packet, const VnetHeader& header) noexcept;

    std::size_t count() const noexcept { return count_; }
    // What write() changes of the packet, as offsets into it: the checksum at `at`, over what is there from
    // `begin` on; of a superpacket (`cut`) also fields of the header of `protocol` that begins there.
    struct Rewrites {
        bool checksum;
        bool cut;
        std::uint8_t protocol;
        std::size_t begin, at;
    };
    Rewrites rewrites() const noexcept {
        return {.checksum = kind_ != Kind::plain,
                .cut = kind_ == Kind::tcp || kind_ == Kind::udp,
                .protocol = static_cast<std::uint8_t>(kind_ == Kind::tcp ? IpProtocol::tcp : IpProtocol::udp),
                .begin = transport_at_,
                .at = checksum_at_};
    }
    // Bytes of packet `i`; all but the last are equally long.
    std::size_t size(std::size_t i) const noexcept { return header_bytes_ + payload_bytes(i); }
    // Where packet `i` is, with its checksums: `front` bytes at `to`, which has room for all, and the others,
    // if any, at `rest`. A multiple of kFrontStep unless it is all.
    struct Parts {
        std::size_t front;
        const std::byte* rest;
    };
    static constexpr std::size_t kFrontStep = 64;  // what the AEAD wants (aead::SealJob::front)
    Parts write_front(std::size_t i, std::byte* to) const noexcept;
    // All of it to size(i) bytes at `to`.
    void write(std::size_t i, std::byte* to) const noexcept;

  private:
    enum class Kind { plain, plain_checksum, tcp, udp };
    std::size_t payload_bytes(std::size_t i) const noexcept {
        return i + 1 < count_ ? segment_ : packet_.length - header_bytes_ - segment_ * (count_ - 1);
    }
    void finish_tcp(InnerPacket& packet, std::size_t i, std::uint64_t payload) const noexcept;
    void finish_udp(InnerPacket& packet, std::uint64_t payload) const noexcept;
    void finish_checksum(const InnerPacket& packet, IpProtocol protocol, std::byte* at,
                         std::uint64_t payload) const noexcept;

    InnerPacket packet_;
    Kind kind_ = Kind::plain;
    std::size_t transport_at_ = 0;  // offset of the TCP or UDP header (or of where the checksum begins)
    std::size_t checksum_at_ = 0;   // offset of the checksum
    std::size_t header_bytes_ = 0;  // in front of the payload that is cut; 0 for a plain packet
    std::size_t segment_ = 0;       // payload bytes a packet
    std::size_t count_ = 1;
};

}  // namespace vern
